"""Do the teacher's scores rank the answers to one prompt as their outcome does? And what to do where they do not.

After Uni-OPD (arXiv 2605.03677): supervision is reliable where the teacher's guidance, summed up over an answer, keeps
the order of the outcomes. There an outcome is right or wrong; here it is a temporal IoU, so pairs of answers are
compared and the order is restored by isotonic regression.

Shapes: P prompts, G answers to each, B = P * G.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

OUTCOME_MARGIN = 0.1
"""Answers whose temporal IoUs differ by no more are held equally good: annotations are no more exact than that."""


def mean_advantage(advantage: Float[Tensor, "B T"], counted: Bool[Tensor, "B T"]) -> Float[Tensor, "B 1"]:
    """The teacher's score of each answer: the mean of its tokens' sampled advantages, in nats; 0 where none counts."""
    return advantage.masked_fill(~counted, 0.0).sum(dim=1, keepdim=True) / counted.sum(dim=1, keepdim=True).clamp(min=1)


def contradicting_groups(
    scores: Float[Tensor, "P G"], rewards: Float[Tensor, "P G"], *, margin: float = OUTCOME_MARGIN
) -> Bool[Tensor, "P 1"]:
    """Groups that the teacher's scores rank against the outcome.

    Of the pairs of answers whose rewards differ by more than `margin`, more are discordant (the better answer has the
    lower score) than concordant (it has the higher one). Equal scores are neither, and a group without such a pair
    contradicts nothing.
    """
    better = (rewards[:, :, None] - rewards[:, None, :]) > margin
    gap = scores[:, :, None] - scores[:, None, :]
    concordant = (better & (gap > 0)).sum(dim=(1, 2))
    discordant = (better & (gap < 0)).sum(dim=(1, 2))
    return (discordant > concordant)[:, None]


def order_restoring_shift(
    scores: Float[Tensor, "P G"], rewards: Float[Tensor, "P G"], weights: Float[Tensor, "P G"]
) -> Float[Tensor, "P G"]:
    """What to add to the scores of each group so that they do not fall where the rewards rise.

    The least change there is: the sum of `weights * shift ** 2` is smallest, by isotonic regression along the rewards.
    The weighted mean of a group stays as it is; answers that stand in each other's way get the same score. Answers of
    equal reward are bound to no order among themselves, and a group in order is left alone.

    Args:
        weights: the number of tokens that each shift is added to, so that it is the change of all tokens' advantages
            that is least and their sum that stays.
    """
    rows = zip(scores.tolist(), rewards.tolist(), weights.tolist(), strict=True)
    return torch.tensor([_shift(*row) for row in rows], dtype=scores.dtype, device=scores.device)


def _shift(scores: list[float], rewards: list[float], weights: list[float]) -> list[float]:
    """Of one group: pool adjacent violators, from the worst answer to the best."""
    order = sorted(range(len(scores)), key=lambda answer: (rewards[answer], scores[answer]))
    pools: list[tuple[list[int], float, float]] = []  # answers, their mean score, their weight
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
