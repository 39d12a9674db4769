"""Make prompts from examples; each prompt is made once while it is cached. Unusable videos are set aside with a
reason."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from video_opd.data.manifest import resolve_video
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.decoding_workers import DecodingWorkers
from video_opd.data.video.picture_folder import find_timeline, read_video
from video_opd.data.video.video_io import Frames, VideoBudget
from video_opd.data.video.video_sampling import fit_size, sample_frames
from video_opd.data.video.whole_video import require_whole
from video_opd.errors import DataError, EngineError, QueryError, UserError
from video_opd.types import Example, Prompt

_log = logging.getLogger(__name__)


def require_folder(videos: Path) -> None:
    """Refuse a missing folder of videos once, and not for every video.

    Raises:
        DataError: there is none.
    """
    if not videos.is_dir():
        raise DataError(
            f"videos folder {videos}: no such folder",
            reason="the manifest's video paths start from there",
            remedy="give the folder that holds the videos",
        )


def refuse_tight_budget(videos: Path, examples: Sequence[Example], budget: VideoBudget) -> None:
    """Refuse, before a model is loaded, a manifest whose longest video does not fit the budget.

    A video that cannot be read says nothing here; it is set aside when its turn comes.

    Raises:
        EngineError: its frames would have less than a token each.
    """
    if not examples:
        return
    longest = max(examples, key=lambda example: example.shown_s)
    with contextlib.suppress(DataError):
        timeline = find_timeline(resolve_video(videos, longest), longest.frame_rate)
        fit_size(len(sample_frames(timeline, budget, longest.clip)), 1, 1, budget)


def render(
    renderer: PromptRenderer, video: Path, example: Example, decode: Callable[..., Frames] | None = None
) -> Prompt:
    """Decode a video and render the prompt of an example.

    Args:
        decode: in place of `read_video`, where someone remembers frames or knows the rate of folders.

    Raises:
        DataError: the video cannot be used, or ends before its row says.
        EngineError: the frames do not fit the budget.
    """
    budget = replace(renderer.budget, pixels_per_token_side=renderer.pixels_per_token_side)
    rate = () if example.frame_rate is None else (example.frame_rate,)
    frames = (decode or read_video)(video, budget, example.clip, *rate)
    step_s = max(1 / budget.fps, frames.duration_s / len(frames.times_s))
    require_whole(video, example, frames.video_duration_s, step_s, frames.duration_s)
    return renderer(example, frames)


class PromptMemory:
    """A cache of the most recently used prompts of one renderer and one folder; several sources may share it.

    An example is told by its video, its clip, its frame rate and its query, so that runs with other annotations, or
    with the same query in another manifest, share what was decoded; the prompt given back carries the example that was
    asked for.

    Args:
        capacity: prompts kept; one of 8,192 video tokens is about 200 MB of patches.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._prompts: OrderedDict[tuple[object, ...], Prompt] = OrderedDict()
        self._cost: dict[tuple[object, ...], tuple[float, float]] = {}

    def __contains__(self, example: Example) -> bool:
        return _memory_key(example) in self._prompts

    def recall(self, example: Example) -> Prompt | None:
        """The prompt of an example, if it is in the cache."""
        key = _memory_key(example)
        if key not in self._prompts:
            return None
        self._prompts.move_to_end(key)
        prompt = self._prompts[key]
        return prompt if prompt.example == example else replace(prompt, example=example)

    def keep(self, prompt: Prompt) -> None:
        """Add a prompt; if there is no room, remove the least recently used one."""
        if self.capacity:
            self._prompts[_memory_key(prompt.example)] = prompt
            if len(self._prompts) > self.capacity:
                self._prompts.popitem(last=False)

    def note_cost(self, example: Example, seconds: float, cpu_seconds: float) -> None:
        """Note what it took to decode and render an example."""
        self._cost[_memory_key(example)] = seconds, cpu_seconds

    def cost(self, examples: Iterable[Example]) -> tuple[float, float]:
        """Wall and CPU seconds it took, whenever and on whatever thread that was; 0 for what never was done. So a
        prompt that is remembered costs in a comparison what it cost at first."""
        known = [self._cost.get(_memory_key(example), (0.0, 0.0)) for example in examples]
        return sum(seconds for seconds, _ in known), sum(cpu_seconds for _, cpu_seconds in known)


def _memory_key(example: Example) -> tuple[object, ...]:
    return example.video, example.clip, example.frame_rate, example.query


class PromptSource:
    """Renders prompts from the videos of one folder.

    Args:
        memory: where prompts are kept; none are where not given.
        workers: examples that are decoded ahead at the same time, each in a process of its own where `in_processes` is
            set.
        max_bad_share: of `num_examples`; more unusable videos than that end the run.
        share_is_called: where that share is set, and
        check: what to do about such videos, for the sentence that is said then.
        frames_kept: videos whose frames are kept for the next question about them, the ones decoded last.
        in_processes: decode in processes, with limits on time and memory.
        denser: sources of the same videos with other budgets; their prompts come with those of this source.
    """

    def __init__(
        self,
        videos: Path,
        renderer: PromptRenderer,
        *,
        num_examples: int,
        memory: PromptMemory | None = None,
        workers: int = 0,
        max_bad_share: float = 0.0,
        share_is_called: str = "data.max_bad_share",
        check: str = "run `video-opd data check --videos … --decode` on the manifest, mend it",
        frames_kept: int = 0,
        in_processes: bool = False,
        denser: Sequence[PromptSource] = (),
    ) -> None:
        self.videos, self.renderer = videos, renderer
        self.num_examples, self.max_bad_share, self.denser = num_examples, max_bad_share, denser
        self.share_is_called, self.check = share_is_called, check
        self.memory = memory or PromptMemory(0)
        self.set_aside: dict[str, str] = {}
        """Id and reason of every example whose video or query could not be used."""
        self.damaged_videos: dict[str, int] = {}
        """Videos that were used with damaged pictures, and how many the decoder said that it painted over."""
        self._any_fits, self._only_videos = False, True
        self._processes = DecodingWorkers() if in_processes else None
        decode = self._processes.read_video if self._processes else None
        self._decode = lru_cache(frames_kept)(decode or read_video) if frames_kept else decode
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode") if workers else None
        self._coming: dict[str, Future[Prompt]] = {}

    @property
    def is_decoding_ahead(self) -> bool:
        """Whether threads decode the next examples."""
        return self._pool is not None

    def render(self, example: Example) -> Prompt:
        """Decode and render one example, now.

        Raises:
            DataError: the video cannot be used.
        """
        # A decoder has threads of its own, which only the process's clock sees; beside other work it sees that too.
        clock = time.process_time if self._pool is None else time.thread_time
        began, cpu_began = time.perf_counter(), clock()
        prompt = render(self.renderer, resolve_video(self.videos, example), example, self._decode)
        cpu_s = clock() - cpu_began + (self._processes.take_cpu_seconds() if self._processes else 0.0)
        self.memory.note_cost(example, time.perf_counter() - began, cpu_s)
        return prompt

    def prefetch(self, examples: Iterable[Example]) -> None:
        """Start decoding the next examples."""
        examples = [example for example in examples if example.id not in self.set_aside]
        for source in self.denser:
            source.prefetch(examples)
        if self._pool is None:
            return
        for example in examples:
            if example not in self.memory and example.id not in self._coming:
                self._coming[example.id] = self._pool.submit(self.render, example)

    def prompts(self, examples: Sequence[Example]) -> list[Prompt]:
        """The prompts of those examples whose video and query can be used, in order; the others are set aside.

        Raises:
            EngineError: more than `max_bad_share` of all examples have been set aside, or none has yet come out within
                the budget: then that is at fault, and no example.
        """
        usable = []
        for example in examples:
            if example.id in self.set_aside:
                continue
            try:
                prompt = self._prompt(example)
                if self.denser:
                    prompt = replace(prompt, denser=tuple(source._prompt(example) for source in self.denser))
                usable.append(prompt)
                self._any_fits = True
                if prompt.num_concealed:
                    self.damaged_videos[example.video] = prompt.num_concealed
            except (DataError, EngineError) as error:
                if isinstance(error, EngineError) and not self._any_fits:
                    raise
                self.set_aside[example.id] = f"{error.cause}: {error.reason}"
                for source in self.denser:
                    source._coming.pop(example.id, None)
                self._only_videos &= not isinstance(error, QueryError)
        self._refuse_if_too_many()
        return usable

    def cost(self, examples: Sequence[Example]) -> tuple[float, float]:
        """Wall and CPU seconds it took to decode and render some examples; see `PromptMemory.cost`."""
        costs = [source.memory.cost(examples) for source in (self, *self.denser)]
        return sum(seconds for seconds, _ in costs), sum(cpu_seconds for _, cpu_seconds in costs)

    def leave_out(self, id: str, reason: str) -> None:
        """Set an example aside whose prompt cannot be trained on.

        Raises:
            EngineError: more than `max_bad_share` of all examples have been set aside.
        """
        self.set_aside[id] = reason
        if len(self.set_aside) > self.max_bad_share * self.num_examples:
            raise EngineError(
                f"{len(self.set_aside)} of {self.num_examples} examples are set aside, the last one {id}: {reason}",
                reason=f"more than {self.share_is_called} {self.max_bad_share:g} is no longer the training that was "
                "asked for",
                remedy=f"lower video.max_tokens, set training.gradient_checkpointing, or raise {self.share_is_called}",
            )

    def _prompt(self, example: Example) -> Prompt:
        remembered = self.memory.recall(example)
        if remembered is not None:
            return remembered
        coming = self._coming.pop(example.id, None)
        prompt = coming.result() if coming is not None else self.render(example)
        self.memory.keep(prompt)
        return prompt

    def _refuse_if_too_many(self) -> None:
        if len(self.set_aside) > self.max_bad_share * self.num_examples:
            first_id, first_reason = next(iter(self.set_aside.items()))
            what = "have no usable video" if self._only_videos else "cannot be asked"
            raise EngineError(
                f"{len(self.set_aside)} of {self.num_examples} examples {what}, the first {first_id}: {first_reason}",
                reason=f"more than {self.share_is_called} {self.max_bad_share:g} means a wrong folder or a broken "
                "download",
                remedy=f"{self.check}, or raise {self.share_is_called}",
            )

    def _say_damaged(self) -> None:
        if self.damaged_videos:
            count, (video, pictures) = len(self.damaged_videos), next(iter(self.damaged_videos.items()))
            _log.warning(
                "%d video%s used with damaged pictures that the decoder painted over, such as %s (%d picture%s)",
                count, " was" if count == 1 else "s were", video, pictures, "" if pictures == 1 else "s",
            )  # fmt: skip

    def close(self) -> None:
        """Stop the decoding threads. Report in one line the examples that failed there and were never used, and in one
        the videos that are damaged and were used."""
        for source in self.denser:
            source.close()
        self._say_damaged()
        if self._processes is not None:
            self._processes.close()
        if self._pool is None:
            return
        self._pool.shutdown(wait=True, cancel_futures=True)
        failed = {id: error for id, coming in self._coming.items() if not coming.cancelled()
                  and (error := coming.exception()) is not None and not isinstance(error, CancelledError)}  # fmt: skip
        self._coming.clear()
        if not failed:
            return
        bugs = (id for id, error in failed.items() if not isinstance(error, UserError))
        first = next(bugs, next(iter(failed)))
        error = failed[first]
        _log.warning(
            "%d example%s decoded ahead in vain, such as %s: %s",
            len(failed), " was" if len(failed) == 1 else "s were", first, error,
            exc_info=None if isinstance(error, UserError) else error,
        )  # fmt: skip
