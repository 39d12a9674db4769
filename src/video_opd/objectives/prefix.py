"""The prefix of an answer on which the teacher's scores are still useful.

After "Prefix Teach, Suffix Fade" (arXiv 2605.13643): on a long answer of another model, the teacher at some point no
longer prefers any of the student's next tokens, and its later scores teach nothing. The paper looks for this point
sentence by sentence. The reasoning of a grounding answer has few sentences, so this module looks token by token.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NUM_CANDIDATES = 8
"""K, the number of the student's most probable tokens between which the teacher's preference is measured."""
LEAST_PREFIX = 8
"""Tokens that are always supervised."""
LEAST_SUFFIX = 4
"""Tokens that must follow a change point: one unusual token at the end is not a fall."""


def teacher_margin(
    student_distribution: Float[Tensor, "B T V"],
    teacher_distribution: Float[Tensor, "B T V"],
    num_candidates: int = NUM_CANDIDATES,
) -> Float[Tensor, "B T"]:
    """How strongly the teacher prefers one of the student's probable tokens, in nats; >= 0 and without gradient.

    Among the student's `num_candidates` most probable tokens, it is the teacher's highest log-prob minus the mean of
    its log-probs of the others.
    """
    candidates = student_distribution.detach().topk(num_candidates, dim=-1).indices
    liked = teacher_distribution.detach().gather(-1, candidates)
    best = liked.amax(dim=-1)
    return best - (liked.sum(dim=-1) - best) / (num_candidates - 1)


def downward_change_point(
    values: Tensor, *, least_prefix: int = LEAST_PREFIX, least_suffix: int = LEAST_SUFFIX
) -> int | None:
    """The index from which a sequence is lower than before, by least squares; None if it does not fall.

    A candidate k has at least `least_prefix` values before it, at least `least_suffix` values from it on, and a lower
    mean after it than before. The candidate at which two means fit best is taken. It counts if two means fit much
    better than one: `N log(SSE_1 / SSE_2) > 3 log N`. This is a Bayesian information criterion with a penalty for the
    second mean and for the index (the modified criterion of Zhang and Siegmund, 2007).

    Args:
        values: (N,), the sequence.

    Returns:
        the index of the first value after the fall.
    """
    count = values.shape[0]
    if count < least_prefix + least_suffix:
        return None
    centred = values.double() - values.double().mean()
    before = centred.cumsum(0)[least_prefix - 1 : count - least_suffix]
    length = torch.arange(least_prefix, count - least_suffix + 1, dtype=torch.double, device=values.device)
    # The values minus their mean sum to 0, so this is the reduction of the sum of squares by a second mean.
    explained = (before.square() * count / (length * (count - length))).masked_fill(before <= 0, 0.0)
    best = int(explained.argmax())
    total, gain = float(centred.square().sum()), float(explained[best])
    if gain <= 0:
        return None
    left = max(total - gain, total * torch.finfo(torch.double).eps)  # SSE_2 is 0 if two means fit exactly
    return least_prefix + best if count * math.log(total / left) > 3 * math.log(count) else None


def supervised_prefix(margin: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """The tokens of each answer before the change point of its margin; all tokens if the margin does not fall."""
    kept = answer_mask.clone()
    for row, length in enumerate(answer_mask.sum(dim=1).tolist()):
        change = downward_change_point(margin[row, :length])
        if change is not None:
            kept[row, change:] = False
    return kept
