"""The table [training] of a recipe."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import model_validator

from video_opd.settings import Count, Flag, Momentum, MoreThanZero, NotNegative, Positive, Settings


class TrainingSettings(Settings):
    """The optimiser and its batches."""

    steps: Positive | None = None
    """Optimiser steps; not set: one pass over the training examples."""
    batch_size: Positive = 32
    """Prompts per step."""
    micro_batch_size: Positive = 1
    """Prompts that are read together; this changes memory and speed, never the gradient."""
    micro_batch_tokens: Positive | None = None
    """Prompt tokens that are read together at most, padding included, instead of a number of prompts; prompts of like
    length go together. A longer prompt is read alone."""
    gradient_checkpointing: Flag | Literal["auto"] | None = None
    """Compute a layer's activations again in the backward pass instead of keeping them: half of the memory, a tenth
    more time, the same gradient but for rounding. `auto`: only where a step does not fit the device otherwise; it is
    decided when a run begins, and is in the recipe of its folder. Not set: no."""
    answer_together: Positive | Literal["auto"] | None = None
    """Prompts of a process that are answered in one token loop, whatever the micro-batches are; this changes memory and
    speed, never the gradient. With gradient_checkpointing their readings are kept; without it every prompt is read a
    second time, for the gradient. `auto`: on a GPU as many as fit, where that saves time; it is decided when a run
    begins, and is in the recipe of its folder. Not set: `auto` on a GPU; on a CPU every micro-batch is answered by
    itself."""
    updates_per_batch: Positive = 1
    """Optimiser updates per batch. More than one uses the importance ratio; its largest value is logged as max_ratio.
    Its bounds are method.ratio_cap, or method.clip of grpo."""
    learning_rate: MoreThanZero = 1e-6
    """Learning rate of AdamW after the warm-up."""
    warmup_steps: Count = 0
    """Steps over which the learning rate rises linearly to its full size."""
    warmup_share: Momentum | None = None
    """The warm-up as a share of all steps, rounded up, in place of warmup_steps: 0.03 of 79 steps is 3."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the learning rate decays to 0 between the warm-up and the last step."""
    weight_decay: NotNegative = 0.0
    """Weight decay of AdamW, for matrices and convolution kernels; norms, biases and embeddings have none."""
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """Decay rates of AdamW, for the mean of the gradients and of their squares."""
    clip_norm: MoreThanZero = 1.0
    """Largest norm of the gradient; a larger one is scaled down to it."""
    normalise: Literal["tokens", "examples", "constant"] | None = None
    """What the summed loss of a batch, and so its gradient, is divided by before the gradient is clipped. `tokens`: the
    batch's answer tokens. `examples`: its answers, so that a long answer weighs more than a short one. `constant`:
    normalise_by. Suspended examples count; answers that mask_truncated leaves out do not. Not set: tokens."""
    normalise_by: MoreThanZero | None = None
    """The constant of normalise = constant, for all steps. Not set: the answers of a full batch."""

    @model_validator(mode="after")
    def _check_parts(self) -> TrainingSettings:
        if self.warmup_steps and self.warmup_share:
            raise ValueError(
                f"training.warmup_steps = {self.warmup_steps} and training.warmup_share = {self.warmup_share:g} both "
                "give the length of the warm-up; set one of them, and the other to 0"
            )
        if self.normalise_by is not None and self.normalise != "constant":
            raise ValueError(
                f"training.normalise_by = {self.normalise_by:g} is the constant of training.normalise = constant; set "
                "that, or leave it out"
            )
        return self

    def count_warmup_steps(self, total_steps: int) -> int:
        """Count the steps of the warm-up; a share is rounded up, as in transformers (`get_warmup_steps`).

        Args:
            total_steps: of the run.
        """
        return math.ceil(total_steps * self.warmup_share) if self.warmup_share else self.warmup_steps

    @property
    def most_together(self) -> int:
        """Prompts of a process that are answered together at most, once `auto` is settled; 0: no two micro-batches."""
        return self.answer_together if isinstance(self.answer_together, int) and self.answer_together > 1 else 0
