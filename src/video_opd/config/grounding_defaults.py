"""The tables [prompt], [video] and [answers] of a recipe: how a model is asked, which is saved beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from video_opd.settings import MoreThanZero, NotNegative, Positive, Settings


class PromptSettings(Settings):
    """The form of the question."""

    template: str = "timelens"
    """Name of a built-in template."""
    user: str | None = None
    """The user's turn in your own words, with {video} and {query} once each. The form of the answer remains that of the
    template, so choose a thinking template for answers with thinking."""


class VideoSettings(Settings):
    """How much of a video a prompt holds."""

    fps: MoreThanZero = 2.0
    """Frames per second that the model sees, up to max_frames."""
    max_frames: Annotated[Positive, Field(multiple_of=2)] = 768
    """Largest number of frames in a prompt, an even number; a longer video is sampled at a lower rate."""
    max_tokens: Positive = 8192
    """Largest number of video tokens in a prompt; checked against the output of the processor."""
    max_frame_tokens: Positive = 768
    """Largest number of tokens of one temporal group (two frames)."""
    min_frames: Annotated[Positive, Field(multiple_of=2)] | None = None
    """Least number of frames in a prompt, an even number, such as 4; a shorter video is sampled at a higher rate, if it
    has the frames. Not set: 2."""
    min_frame_tokens: Positive | None = None
    """Least number of tokens of one temporal group, such as 4: smaller frames are enlarged, and frames have the sizes
    that qwen_vl_utils gives them. max_tokens is not exceeded for it: a video with too many frames is refused. Not set:
    frames are not enlarged."""

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave later keys out where they are not set, so that files are those of earlier versions."""
        later = ("min_frames", "min_frame_tokens")
        values: dict[str, Any] = dump(self)
        return {key: value for key, value in values.items() if key not in later or value is not None}


class AnswerSettings(Settings):
    """Limits of an answer."""

    max_new_tokens: Positive = 64
    """Largest number of tokens in an answer; a longer answer is cut off and counts as truncated."""


def refuse_greedy(temperature: float) -> float:
    """Refuse a temperature of 0.

    Raises:
        ValueError: says why.
    """
    if temperature == 0:
        raise ValueError(
            "temperature 0 is greedy: it samples nothing, and its log-probs are not defined; give more than 0, such as "
            "0.9, or leave it out for 1"
        )
    return temperature


class RolloutSettings(AnswerSettings):
    """The table [answers] of a recipe: limits of an answer, and how the answers to train on are sampled."""

    temperature: Annotated[NotNegative, AfterValidator(refuse_greedy)] | None = None
    """The logits of the student, of the teacher and of a reference are divided by it when answers to train on are
    sampled and scored; not set: 1. It has no effect on sft, on evaluations, on the scores of a curriculum or on the
    measurement of the reverse KL (schedule.probe_every): these are greedy, or at temperature 1."""
    top_p: Annotated[MoreThanZero, Field(le=1)] | None = None
    """Sample answers to train on from the fewest most probable tokens whose probabilities add up to at least this; not
    set: from all tokens. Log-probs are still those of all tokens."""
    top_k: Positive | None = None
    """Sample answers to train on from that many most probable tokens; not set: from all tokens. Log-probs are still
    those of all tokens."""

    @property
    def is_truncated(self) -> bool:
        """Whether tokens cannot be sampled that have a probability."""
        return self.top_k is not None or self.top_p not in (None, 1)

    @property
    def how_sampled(self) -> str:
        """How answers to train on are sampled, for a sentence."""
        if self.temperature in (None, 1) and not self.is_truncated:
            return "from the untruncated policy at temperature 1"
        parts = {"top_p": self.top_p, "top_k": self.top_k}
        truncation = "".join(f", {name} = {value:g}" for name, value in parts.items() if value is not None)
        return f"at temperature {self.temperature or 1:g}{truncation}"


class SideQuestionSettings(PromptSettings):
    """Questions of another kind, with one-word answers, asked before and after: they show what training forgets."""

    file: Path | None = None
    """JSON lines of id, video, question, answer, duration; videos as in `data.videos`. None: those of the tiny
    world."""
    template: str = "tiny-before"
    """Name of a built-in template; the question takes the place of {query}."""


class GroundingDefaults(Settings):
    """The default prompt and frames of a model. They are saved beside its weights as `grounding.json`, so that a
    student is evaluated with the prompt and the frames of its training, unless the user gives others."""

    prompt: PromptSettings = PromptSettings()
    video: VideoSettings = VideoSettings()
    answers: AnswerSettings = AnswerSettings()


GROUNDING_FILE = "grounding.json"
