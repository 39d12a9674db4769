"""Examples become prompts, once each while they are remembered; unusable videos are set aside with their reason."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from video_opd.data.manifest import resolve_video
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video import read_frames
from video_opd.errors import DataError, EngineError, UserError
from video_opd.vocabulary import Example, Prompt

_log = logging.getLogger(__name__)


def require_folder(videos: Path) -> None:
    """Say that there is no videos folder once, and not for every video.

    Raises:
        DataError: there is none.
    """
    if not videos.is_dir():
        raise DataError(
            f"videos folder {videos}: no such folder",
            reason="the manifest's video paths start from there",
            remedy="give the folder that holds the videos",
        )


def render(renderer: PromptRenderer, video: Path, example: Example) -> Prompt:
    """Decode a video and put an example's question about it.

    Raises:
        DataError: the video cannot be used.
        EngineError: the frames do not fit the budget.
    """
    budget = replace(renderer.budget, pixels_per_token_side=renderer.pixels_per_token_side)
    return renderer(example, read_frames(video, budget, example.clip))


class PromptSource:
    """Renders prompts from the videos of one folder.

    Args:
        remember: prompts kept in memory; a prompt of 8,192 video tokens is about 200 MB of patches.
        workers: threads that decode ahead.
        max_bad_share: of `num_examples`; more unusable videos than that end the run.
    """

    def __init__(
        self,
        videos: Path,
        renderer: PromptRenderer,
        *,
        num_examples: int,
        remember: int = 0,
        workers: int = 0,
        max_bad_share: float = 0.0,
    ) -> None:
        self.videos, self.renderer = videos, renderer
        self.num_examples, self.max_bad_share, self.capacity = num_examples, max_bad_share, remember
        self.set_aside: dict[str, str] = {}
        """Id and reason of every example whose video could not be used."""
        self._remembered: OrderedDict[str, Prompt] = OrderedDict()
        self._cpu_seconds: dict[str, float] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode") if workers else None
        self._coming: dict[str, Future[Prompt]] = {}

    def render(self, example: Example) -> Prompt:
        """Decode and render one example, now.

        Raises:
            DataError: the video cannot be used.
        """
        began = time.thread_time()
        prompt = render(self.renderer, resolve_video(self.videos, example), example)
        self._cpu_seconds[example.id] = time.thread_time() - began
        return prompt

    def cpu_seconds(self, example: Example) -> float:
        """What it took to decode and render an example, whenever and on whatever thread that was done; 0 if it never
        was. So a prompt that is remembered costs in a comparison what it cost at first."""
        return self._cpu_seconds.get(example.id, 0.0)

    def prefetch(self, examples: Iterable[Example]) -> None:
        """Start decoding what will be asked for next."""
        if self._pool is None:
            return
        for example in examples:
            if (
                example.id not in self._remembered
                and example.id not in self._coming
                and example.id not in self.set_aside
            ):
                self._coming[example.id] = self._pool.submit(self.render, example)

    def prompts(self, examples: Sequence[Example]) -> list[Prompt]:
        """The prompts of those examples whose video can be used, in order; the others are set aside.

        Raises:
            EngineError: more than `max_bad_share` of all examples have been set aside.
        """
        usable = []
        for example in examples:
            if example.id in self.set_aside:
                continue
            try:
                usable.append(self._prompt(example))
            except DataError as error:
                self.set_aside[example.id] = f"{error.cause}: {error.reason}"
        self._refuse_if_too_many()
        return usable

    def _prompt(self, example: Example) -> Prompt:
        if example.id in self._remembered:
            self._remembered.move_to_end(example.id)
            return self._remembered[example.id]
        coming = self._coming.pop(example.id, None)
        prompt = coming.result() if coming is not None else self.render(example)
        if self.capacity:
            self._remembered[example.id] = prompt
            if len(self._remembered) > self.capacity:
                self._remembered.popitem(last=False)
        return prompt

    def _refuse_if_too_many(self) -> None:
        if len(self.set_aside) > self.max_bad_share * self.num_examples:
            first_id, first_reason = next(iter(self.set_aside.items()))
            raise EngineError(
                f"{len(self.set_aside)} of {self.num_examples} examples have no usable video, the first {first_id}: "
                f"{first_reason}",
                reason=f"more than data.max_bad_share = {self.max_bad_share} means a wrong folder or a broken download",
                remedy="run `video-opd data check` on the manifest, mend it, or raise data.max_bad_share",
            )

    def close(self) -> None:
        """Stop the decoding threads, and tell of what failed on them and was never asked for."""
        if self._pool is None:
            return
        self._pool.shutdown(wait=True, cancel_futures=True)
        while self._coming:
            id, coming = self._coming.popitem()
            error = None if coming.cancelled() else coming.exception()
            if error is not None:
                bug = None if isinstance(error, UserError) else error
                _log.warning("example %s was decoded ahead in vain: %s", id, error, exc_info=bug)
