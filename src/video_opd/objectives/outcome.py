"""Check whether the teacher's scores rank the answers to one prompt as their outcome does, and correct them if not.

After Uni-OPD (arXiv 2605.03677): the teacher is reliable if its scores, summed over an answer, rank the answers as
their outcomes do. In that paper an outcome is right or wrong. Here it is a temporal IoU, so pairs of answers are
compared, and isotonic regression restores the order.

Shapes: P prompts, G answers to each, B = P * G.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

OUTCOME_MARGIN = 0.1
"""Two answers count as equally good if their temporal IoUs differ by at most this: annotations are not more exact."""


def mean_advantage(advantage: Float[Tensor, "B T"], counted: Bool[Tensor, "B T"]) -> Float[Tensor, "B 1"]:
    """The teacher's score of each answer: the mean of its tokens' sampled advantages, in nats; 0 if no token counts."""
    return advantage.masked_fill(~counted, 0.0).sum(dim=1, keepdim=True) / counted.sum(dim=1, keepdim=True).clamp(min=1)


def find_contradicting_groups(
    scores: Float[Tensor, "P G"], rewards: Float[Tensor, "P G"], *, margin: float = OUTCOME_MARGIN
) -> Bool[Tensor, "P 1"]:
    """Groups whose order by the teacher's scores contradicts the order by reward.

    Only pairs of answers whose rewards differ by more than `margin` count. A pair is concordant if the better answer
    has the higher score, and discordant if it has the lower score. A group contradicts if more pairs are discordant
    than concordant. Equal scores are neither. A group without such pairs does not contradict.
    """
    better = (rewards[:, :, None] - rewards[:, None, :]) > margin
    gap = scores[:, :, None] - scores[:, None, :]
    concordant = (better & (gap > 0)).sum(dim=(1, 2))
    discordant = (better & (gap < 0)).sum(dim=(1, 2))
    return (discordant > concordant)[:, None]


def order_restoring_shift(
    scores: Float[Tensor, "P G"], rewards: Float[Tensor, "P G"], weights: Float[Tensor, "P G"]
) -> Float[Tensor, "P G"]:
    """The shift of each score after which a higher reward never has a lower score in its group.

    It is the smallest such change: isotonic regression along the rewards minimises the sum of `weights * shift ** 2`.
    The weighted mean of a group does not change. Answers in the wrong order get the same score. Answers with equal
    rewards may have any order, and a group in the right order is not changed.

    Args:
        weights: the number of tokens that get each shift. With these weights the change of all tokens' advantages is
            smallest, and their sum does not change.
    """
    rows = zip(scores.tolist(), rewards.tolist(), weights.tolist(), strict=True)
    return torch.tensor([_shift(*row) for row in rows], dtype=scores.dtype, device=scores.device)


def _shift(scores: list[float], rewards: list[float], weights: list[float]) -> list[float]:
    """The shifts of one group, by pooling adjacent violators from the worst answer to the best."""
    order = sorted(range(len(scores)), key=lambda answer: (rewards[answer], scores[answer]))
    pools: list[tuple[list[int], float, float]] = []  # each block: its answers, their mean score, their weight
    for answer in order:
        members, mean, weight = [answer], scores[answer], weights[answer]
        while pools and pools[-1][1] > mean:
            others, their_mean, their_weight = pools.pop()
            total = weight + their_weight
            members, mean, weight = others + members, (weight * mean + their_weight * their_mean) / total, total
        pools.append((members, mean, weight))
    shift = [0.0] * len(scores)
    for members, mean, _ in pools:
        for answer in members if len(members) > 1 else ():
            shift[answer] = mean - scores[answer]
    return shift
