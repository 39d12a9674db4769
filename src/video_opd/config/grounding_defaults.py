"""The tables [prompt], [video] and [answers] of a recipe: how a model is asked, which is saved beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from video_opd.settings import MoreThanZero, Positive, Settings


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


class AnswerSettings(Settings):
    """Limits of an answer."""

    max_new_tokens: Positive = 64
    """Largest number of tokens in an answer; a longer answer is cut off and counts as truncated."""


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
