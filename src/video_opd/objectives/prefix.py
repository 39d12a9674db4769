"""How far along an answer the teacher still has something to say: the prefix that is worth supervising.

After "Prefix Teach, Suffix Fade" (arXiv 2605.13643): on a long trajectory that is not its own the teacher comes to
prefer none of what the student might say next, and what it says from there on teaches nothing. The paper looks for the
fall sentence by sentence; the reasoning of a grounding answer has few sentences, so here it is looked for token by
token.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NUM_CANDIDATES = 8
"""K: the student's most probable tokens, among which the teacher is to have a preference."""
LEAST_PREFIX = 8
"""Tokens that are always supervised."""
LEAST_SUFFIX = 4
"""Tokens that must follow a change point: one odd token at the end is no fall."""


def teacher_margin(
    student_distribution: Float[Tensor, "B T V"],
    teacher_distribution: Float[Tensor, "B T V"],
    num_candidates: int = NUM_CANDIDATES,
) -> Float[Tensor, "B T"]:
    """How decidedly the teacher chooses among what the student would say, in nats; >= 0 and without gradient.

    Of the student's `num_candidates` most probable tokens, the teacher's log-prob of the one it likes best less the
    mean of its log-probs of the others.
    """
    candidates = student_distribution.detach().topk(num_candidates, dim=-1).indices
    liked = teacher_distribution.detach().gather(-1, candidates)
    best = liked.amax(dim=-1)
    return best - (liked.sum(dim=-1) - best) / (num_candidates - 1)


def downward_change_point(
    values: Tensor, *, least_prefix: int = LEAST_PREFIX, least_suffix: int = LEAST_SUFFIX
) -> int | None:
    """The place from which on a sequence is lower than before, by least squares; None where it does not fall.

    Of all places k with `least_prefix` values before and `least_suffix` from there on, and a lower mean from there on
    than before, the one at which two means fit best. It counts if the two means explain enough more than one:
    `N log(SSE_1 / SSE_2) > 3 log N`, a Bayesian information criterion that charges for a second mean and for the place
    (the modified criterion of Zhang and Siegmund, 2007).

    Args:
        values: (N,).

    Returns:
        the index of the first value after the fall.
    """
    count = values.shape[0]
    if count < least_prefix + least_suffix:
        return None
    centred = values.double() - values.double().mean()
    before = centred.cumsum(0)[least_prefix - 1 : count - least_suffix]
    length = torch.arange(least_prefix, count - least_suffix + 1, dtype=torch.double, device=values.device)
    # Around one mean the values sum to 0, so this is what a second mean takes off the sum of squares.
    explained = (before.square() * count / (length * (count - length))).masked_fill(before <= 0, 0.0)
    best = int(explained.argmax())
    total, gain = float(centred.square().sum()), float(explained[best])
    if gain <= 0:
        return None
    left = max(total - gain, total * torch.finfo(torch.double).eps)  # two means may fit exactly
    return least_prefix + best if count * math.log(total / left) > 3 * math.log(count) else None


def supervised_prefix(margin: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """The answers' tokens before the change point of each one's margin; all of them where it does not fall."""
    kept = answer_mask.clone()
    for row, length in enumerate(answer_mask.sum(dim=1).tolist()):
        change = downward_change_point(margin[row, :length])
        if change is not None:
            kept[row, change:] = False
    return kept
