"""What is decided once for a whole batch before a step: what it is divided by, and whether it is taken.

In a job of several processes the first one decides, on what all of them have told it (`RankedLearner`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple


class TokenCount(NamedTuple):
    """Answer tokens of a whole batch."""

    trained: int
    """Tokens that are in the loss."""
    scheduled: int
    """These and the tokens of suspended examples: what the summed gradient is divided by."""


def count_tokens(trained: Iterable[int], suspended: Iterable[int]) -> TokenCount:
    """Count the answer tokens of the whole batch.

    Args:
        trained: tokens in the loss, by micro-batch.
        suspended: tokens of the answers that a gate left out, by answer.
    """
    in_loss = sum(trained)
    return TokenCount(trained=in_loss, scheduled=in_loss + sum(suspended))


def should_step(tokens: TokenCount) -> bool:
    """Whether the optimiser takes a step: only where something in the whole batch is trained on."""
    return tokens.trained > 0


def are_all_finite(values: Iterable[float]) -> bool:
    """Whether the losses, or the norm of the gradient, are finite everywhere."""
    return all(map(math.isfinite, values))
