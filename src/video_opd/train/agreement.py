"""What is decided once for a whole batch before a step: how much is in it, and whether the step is taken.

In a job of several processes the first one decides, on what all of them have told it (`RankedLearner`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple


class BatchCount(NamedTuple):
    """The answers of a whole batch, those that a method masks left out."""

    trained: int
    """Tokens that are in the loss."""
    scheduled: int
    """These and the tokens of suspended examples."""
    answers: int
    """Answers, suspended ones included."""


def count_batch(trained: Iterable[int], suspended: Iterable[int]) -> BatchCount:
    """Count the answers of the whole batch, and their tokens.

    Args:
        trained: tokens of every answer in the loss.
        suspended: tokens of every answer that a gate left out.
    """
    in_loss, left_out = list(trained), list(suspended)
    return BatchCount(
        trained=sum(in_loss), scheduled=sum(in_loss) + sum(left_out), answers=len(in_loss) + len(left_out)
    )


def should_step(count: BatchCount) -> bool:
    """Whether the optimiser takes a step: only where something in the whole batch is trained on."""
    return count.trained > 0


def are_all_finite(values: Iterable[float]) -> bool:
    """Whether the losses, or the norm of the gradient, are finite everywhere."""
    return all(map(math.isfinite, values))
