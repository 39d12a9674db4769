"""The table [training] of a recipe."""

from __future__ import annotations

from typing import Literal

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
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the learning rate decays to 0 between the warm-up and the last step."""
    weight_decay: NotNegative = 0.0
    """Weight decay of AdamW, for matrices and convolution kernels; norms, biases and embeddings have none."""
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """Decay rates of AdamW, for the mean of the gradients and of their squares."""
    clip_norm: MoreThanZero = 1.0
    """Largest norm of the gradient; a larger one is scaled down to it."""

    @property
    def most_together(self) -> int:
        """Prompts of a process that are answered together at most, once `auto` is settled; 0: no two micro-batches."""
        return self.answer_together if isinstance(self.answer_together, int) and self.answer_together > 1 else 0
