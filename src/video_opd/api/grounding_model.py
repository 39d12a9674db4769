"""`video_opd.load` and what it gives: a model that is asked when something happens in a video."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypedDict, Unpack, overload

from video_opd.config import GroundingDefaults
from video_opd.config.recipe_file import load_grounding_defaults
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.decoding_workers import DecodingWorkers
from video_opd.data.video.video_io import Frames
from video_opd.errors import ConfigurationError, QueryError, require_path
from video_opd.eval.how_asked import explain_tiny_on_real
from video_opd.eval.load_to_ask import load_to_ask
from video_opd.eval.several_queries import begin_together, render_together
from video_opd.grounding import Reason, parse_answer
from video_opd.policy.description import require_device
from video_opd.policy.device import choose_precision, find_device
from video_opd.policy.load import Policy
from video_opd.policy.location import check_device_name, resolve_model
from video_opd.suggestions import suggest
from video_opd.types import Example, Prompt, Sampling, Span

_log = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16")

QUERIES_AT_ONCE = 8
"""Queries about one video that are answered together. Each needs a copy of the video's keys and values."""


class HowToAsk(TypedDict, total=False):
    """How a model is asked, where it differs from what travels with the model."""

    template: str
    """Name of a prompt preset."""
    user: str
    """The user's turn in your own words, with {video} and {query} once each."""
    fps: float
    """Frames per second looked at."""
    max_frames: int
    """Most frames of a prompt, an even number."""
    max_tokens: int
    """Most video tokens of a prompt."""
    max_new_tokens: int
    """Most tokens of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundedAnswer:
    """What a model answered to one query about one video."""

    query: str
    answer: str
    """The text that the model wrote."""
    spans: tuple[Span, ...]
    """The spans that the text names, in seconds, the most important one first."""
    reason: Reason | None
    """Why there is no span; None exactly when there is one."""
    duration: float
    """Seconds of the video, or of the clip of it that was looked at."""
    num_video_tokens: int
    """Video tokens in the prompt."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GroundingModel:
    """A frozen model with its prompt: ask it with `ground`."""

    name: str
    policy: Policy
    """The model itself, with its three verbs read, answer and score."""
    renderer: PromptRenderer
    """What makes a prompt of a query and frames."""
    how: GroundingDefaults
    """How it is asked: prompt, frames, length of an answer."""
    precision: str
    """`float32` or `bfloat16`: the type of its weights."""
    workers: DecodingWorkers = field(default_factory=DecodingWorkers)
    """The process that decodes videos, with limits. It starts with the first video and ends with the model."""

    def __post_init__(self) -> None:
        weakref.finalize(self, self.workers.close)

    def __repr__(self) -> str:
        """In one line: the fields would print the whole network."""
        device = self.policy.model.device
        return f"GroundingModel(name={self.name!r}, device='{device}', precision={self.precision!r})"

    @overload
    def ground(  # type: ignore[overload-overlap]  # a str is a sequence of str too, and comes first
        self,
        video: str | Path,
        query: str,
        *,
        clip: tuple[float, float] | None = None,
        frame_rate: float | None = None,
    ) -> GroundedAnswer: ...

    @overload
    def ground(
        self,
        video: str | Path,
        query: Sequence[str],
        *,
        clip: tuple[float, float] | None = None,
        frame_rate: float | None = None,
    ) -> list[GroundedAnswer]: ...

    def ground(
        self,
        video: str | Path,
        query: str | Sequence[str],
        *,
        clip: tuple[float, float] | None = None,
        frame_rate: float | None = None,
    ) -> GroundedAnswer | list[GroundedAnswer]:
        """Ask when something happens in a video.

        The video is decoded once for all queries. Where the prompt has the video before the query, as most presets
        have it, the model also reads the video once for all of them; `shares_video` says whether it does.

        Args:
            video: a video file, or a folder of numbered pictures.
            query: what to look for, in words; or several queries about the same video.
            clip: (start_s, end_s): look only at this part of the video. Answers count from its start.
            frame_rate: pictures per second of a folder of pictures.

        Returns:
            One answer, or for a sequence of queries a list of answers in the same order.

        Raises:
            UserError: the video cannot be read, or a query has no words.
        """
        queries = _list_queries(query)
        if not queries:
            return []
        place, part = make_named_path(Path(video)), _make_clip(clip)
        examples = [
            Example(
                id=f"query-{number}", video=place.name, query=one, spans=(), duration=None, clip=part,
                frame_rate=frame_rate,
            )
            for number, one in enumerate(queries)
        ]  # fmt: skip
        if warning := explain_tiny_on_real([self.name], place.parent, examples):
            _log.warning("%s", warning)
        answers = self.answer_examples(Path(video), examples)
        return answers[0] if isinstance(query, str) else answers

    def answer_examples(self, video: Path, examples: Sequence[Example]) -> list[GroundedAnswer]:
        """Answer the queries of several examples, all with the same video, clip and frame rate, without a warning.

        Raises:
            UserError: the video cannot be read, or a query has no words.
        """
        prompts, duration_s = self._make_prompts(video, examples)
        answers = []
        for prompt, text in zip(prompts, self._write_answers(prompts), strict=True):
            parsed = parse_answer(text)
            answers.append(
                GroundedAnswer(
                    query=prompt.example.query,
                    answer=text,
                    spans=parsed.spans,
                    reason=parsed.reason,
                    duration=duration_s,
                    num_video_tokens=prompt.num_video_tokens,
                )
            )
        return answers

    @property
    def shares_video(self) -> bool:
        """Whether several queries about one video share the reading of it: the video stands before the query."""
        user = self.renderer.template.user
        return user.index("{video}") < user.index("{query}")

    def _make_prompts(self, video: Path, examples: Sequence[Example]) -> tuple[list[Prompt], float]:
        """One prompt an example, all with the same frames, and the seconds that these stand for."""
        frames = self._read_frames(video, examples[0].clip, examples[0].frame_rate)
        if frames.num_concealed:
            _log.warning("%s: the decoder painted over damaged pictures (%d)", video, frames.num_concealed)
        examples = [replace(example, duration=frames.duration_s) for example in examples]
        return render_together(self.renderer, examples, frames), frames.duration_s

    def _read_frames(self, video: Path, clip: Span | None, frame_rate: float | None) -> Frames:
        budget = replace(self.renderer.budget, pixels_per_token_side=self.renderer.pixels_per_token_side)
        return self.workers.read_video(video, budget, clip, frame_rate)

    def _write_answers(self, prompts: Sequence[Prompt]) -> list[str]:
        """The greedy answers, as text."""
        sampling = Sampling(max_new_tokens=self.how.answers.max_new_tokens, greedy=True)
        read_to_end, texts = begin_together(self.policy, prompts), []
        for start in range(0, len(prompts), QUERIES_AT_ONCE):
            reading = read_to_end(prompts[start : start + QUERIES_AT_ONCE])
            texts += [group.answers[0].text for group in self.policy.answer(reading, sampling=sampling)]
        return texts


def load(
    name: str | Path,
    *,
    device: str = "auto",
    precision: Literal["float32", "bfloat16"] | None = None,
    **how: Unpack[HowToAsk],
) -> GroundingModel:
    """Load a model to ask it.

    Args:
        name: `tiny-student` or `tiny-teacher`, a model folder, a run folder (its newest checkpoint is taken), or a name
            on the Hugging Face hub.
        device: `auto` (a CUDA device if there is one), `cpu`, `cuda`, `cuda:1` …
        precision: type of the weights; by default bfloat16 on CUDA and float32 elsewhere.
        how: how the model is asked, where it differs from what travels with the model: `template`, `user`, `fps`,
            `max_frames`, `max_tokens`, `max_new_tokens`.

    Raises:
        ConfigurationError: the model, the device or the template does not exist.
    """
    require_path("name", name)
    name = str(name)
    if precision not in (None, *PRECISIONS):
        raise ConfigurationError(
            f"precision = {precision!r}", reason="no precision has that name", remedy=f"use {' or '.join(PRECISIONS)}"
        )
    where = find_device(check_device_name(device))
    require_device(where)
    defaults = _replace_values(load_grounding_defaults(resolve_model(name, weights=False)), how)
    held = precision or choose_precision(where)
    policy, renderer = load_to_ask(
        name, defaults, device=where, precision=held, warn=lambda sentence: _log.warning("%s", sentence)
    )
    return GroundingModel(name=name, policy=policy, renderer=renderer, how=defaults, precision=held)


def make_named_path(video: Path) -> Path:
    """A path of the video that has a name; the folder `.` has none."""
    return video.absolute() if video.is_dir() else video


def _list_queries(query: str | Sequence[str]) -> list[str]:
    """The queries, which must be texts."""
    if isinstance(query, str):
        return [query]
    queries = list(query) if isinstance(query, Iterable) and not isinstance(query, bytes) else [query]
    if wrong := [one for one in queries if not isinstance(one, str)]:
        raise QueryError(
            f"the query {wrong[0]!r}",
            reason="a query is a text, and this is none",
            remedy="give a str, or a list of them",
        )
    return queries


def _make_clip(clip: tuple[float, float] | None) -> Span | None:
    """The part of the video to look at, which must be two numbers."""
    if clip is None:
        return None
    try:
        start_s, end_s = clip
        return Span(float(start_s), float(end_s))
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"clip = {clip!r}", reason="it is not two times in seconds", remedy="write clip=(START, END)"
        ) from None


def _replace_values(defaults: GroundingDefaults, how: HowToAsk) -> GroundingDefaults:
    """The defaults with some values replaced, checked as those of a recipe are."""
    tables, names = defaults.model_dump(), tuple(HowToAsk.__annotations__)
    for key, value in how.items():
        if key not in names:
            raise ConfigurationError(
                f"{key} = {value!r}",
                reason="it is no way to ask a model",
                remedy=suggest(key, names, f"use one of {', '.join(names)}"),
            )
        table = {"template": "prompt", "user": "prompt", "max_new_tokens": "answers"}.get(key, "video")
        tables[table][key] = value
    if "template" in how and "user" not in how:
        tables["prompt"]["user"] = None
    return _validate(tables)


def _validate(tables: dict[str, object]) -> GroundingDefaults:
    from pydantic import ValidationError

    from video_opd.config.recipe_file import refusal

    try:
        return GroundingDefaults.model_validate(tables)
    except ValidationError as error:
        raise refusal("how the model is asked", error) from None
