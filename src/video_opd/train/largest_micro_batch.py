"""The largest micro-batch that a recipe allows: what one process reads and writes at once."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from video_opd.config import Recipe
from video_opd.policy.families import Clock
from video_opd.policy.model_shape import ModelShape

MARKER_TOKENS = 10
"""Text tokens that a temporal group brings along, where its time stands before it."""
QUESTION_TOKENS = 200
"""Text tokens of a prompt beside the markers; a long template has as many."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one process reads and writes at once, at most."""

    prompts: int
    tokens: int
    """Of all prompts of a micro-batch, padding included."""
    patches: int
    """Of all their videos."""
    answers: int
    """Of all prompts."""
    answer_tokens: int
    """Of one answer."""
    num_pieces: int
    """Micro-batches of a step."""
    together: int = 0
    """Prompts that are answered together, where they are several micro-batches; else 0."""

    @property
    def rows(self) -> int:
        """Answer tokens of a micro-batch."""
        return self.answers * self.answer_tokens


@dataclass(frozen=True, kw_only=True)
class PromptSize:
    """The largest prompt over a clip."""

    tokens: int
    visual: int
    """Video tokens among them."""
    groups: int
    """Temporal groups of the clip."""


def size_prompt(recipe: Recipe, shape: ModelShape, seconds: float | None = None) -> PromptSize:
    """The largest prompt over a clip that a recipe allows.

    Args:
        recipe: its limits.
        shape: of the model that reads it.
        seconds: of the clip, if known; a short one does not fill the budget.
    """
    video = recipe.video
    frames = (
        video.max_frames
        if seconds is None
        else min(video.max_frames, max(video.min_frames or 2, ceil(seconds * video.fps)))
    )
    groups = ceil(frames / shape.family.frames_per_group)
    visual = min(video.max_tokens, groups * video.max_frame_tokens)
    markers = MARKER_TOKENS * min(groups, visual) if shape.family.clock is Clock.MARKERS else 0
    return PromptSize(tokens=visual + markers + QUESTION_TOKENS, visual=visual, groups=min(groups, visual))


def choose_load(recipe: Recipe, shape: ModelShape, *, num_processes: int, longest_s: float | None = None) -> Load:
    """The largest micro-batch that a recipe allows.

    Args:
        recipe: its limits.
        shape: of the student.
        num_processes: share a batch.
        longest_s: of the clips, if known; shorter ones do not fill the budget.
    """
    size_of_prompt = size_prompt(recipe, shape, longest_s)
    training, visual, prompt = recipe.training, size_of_prompt.visual, size_of_prompt.tokens
    share = ceil(training.batch_size / num_processes)
    size = training.micro_batch_size
    if training.micro_batch_tokens is not None:
        size = max(1, training.micro_batch_tokens // prompt)
    size = min(size, share)
    count = getattr(recipe.method, "num_answers", 1)
    together = share if training.most_together >= share else training.most_together // size * size
    return Load(
        prompts=size,
        tokens=size * prompt,
        patches=size * visual * shape.patches_per_token,
        answers=size * count,
        answer_tokens=recipe.answers.max_new_tokens,
        num_pieces=ceil(share / size),
        together=together if together > size else 0,
    )
