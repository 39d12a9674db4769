"""Reductions over answer tokens: the only place where per-token quantities become one number.

Shapes: B answers, T answer tokens (right-padded), V vocabulary. Everything here is a pure function of aligned tensors.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def masked_sum(values: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Sum over the answers' tokens; padding is ignored, also if it is not finite."""
    return values.masked_fill(~answer_mask, 0.0).sum()


def masked_mean(values: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Mean over the answers' tokens; 0 when there are none."""
    return masked_sum(values, answer_mask) / answer_mask.sum().clamp(min=1)
