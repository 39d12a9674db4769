"""Advantage per token: what a token was worth, as a constant for the gradient."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from video_opd.objectives.losses import reverse_kl


def sampled_advantage(
    behaviour_logprobs: Float[Tensor, "B T"], teacher_logprobs: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """`-(log pi - log pi_teacher)` of the sampled token: Video-OPD, eq. 5 (arXiv 2602.02994).

    Its expectation under the student is minus the reverse KL of the state, KL(student || teacher).

    Args:
        behaviour_logprobs: of the policy that wrote the answers, recomputed by the learner before its first update on
            this batch. Never normalised or whitened: the teacher's term would be z-scored away.
    """
    return -(behaviour_logprobs - teacher_logprobs).detach()


def state_baseline(
    student_distribution: Float[Tensor, "B T V"], teacher_distribution: Float[Tensor, "B T V"]
) -> Float[Tensor, "B T"]:
    """The expected advantage of every visited state, minus its reverse KL: subtracting it from the sampled advantage
    leaves the expected gradient as it is (the score function has mean 0) and takes away the part of the variance that
    says only how bad the state was. Closed form, where both distributions are at hand; a constant for the gradient."""
    return -reverse_kl(student_distribution, teacher_distribution).detach()


STD_FLOOR = 1e-4
"""Added to a group's standard deviation before dividing by it, as Time-R1 does."""


def group_advantage(rewards: Float[Tensor, "P G"], *, divide_by_std: bool) -> Float[Tensor, "P G"]:
    """An answer's reward less the mean of its group, GRPO (arXiv 2402.03300, eq. 3 and section 4.1.2).

    It sums to zero in every group. A group whose rewards are all equal gets exactly zero, not what rounding leaves of
    it divided by next to nothing.

    Args:
        rewards: of G answers to each of P prompts.
        divide_by_std: also divide by the group's standard deviation (of the sample, as torch computes it), so that a
            group with little spread counts as much as one with much.
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    if divide_by_std:
        centred = centred / (rewards.std(dim=1, keepdim=True) + STD_FLOOR)
    return centred.masked_fill(without_spread(rewards), 0.0)


def without_spread(rewards: Float[Tensor, "P G"]) -> Bool[Tensor, "P 1"]:
    """Groups whose answers were all worth the same: they tell nothing about which to prefer."""
    return rewards.amax(dim=1, keepdim=True) == rewards.amin(dim=1, keepdim=True)


def mixed_advantage(
    distillation: Float[Tensor, "B T"],
    task: Float[Tensor, "P G"],
    answer_mask: Bool[Tensor, "B T"],
    *,
    weight: float,
    least_size: float = 0.0,
) -> Float[Tensor, "B T"]:
    """Distillation advantage plus `weight` times a task advantage of the same size.

    The task advantage, of mean square 1 or near it, is scaled by the root mean square of the distillation advantage
    over the tokens of its own group, or by `least_size` where that is larger: neither drowns the other whatever their
    units, and `weight` says how much of one comes to one of the other. The distillation advantage itself is never
    rescaled or centred. Group by group, so that no split into micro-batches changes it.

    Args:
        task: group-normalised, of G answers to each of P prompts, B = P * G rows.
    """
    if weight == 0:
        return distillation
    num_groups, group_size = task.shape
    rows = distillation.masked_fill(~answer_mask, 0.0).reshape(num_groups, -1)
    num_tokens = answer_mask.reshape(num_groups, -1).sum(dim=1).clamp(min=1)
    size = (rows.square().sum(dim=1) / num_tokens).sqrt().clamp(min=least_size)
    return distillation + weight * (size[:, None] * task).reshape(num_groups * group_size, 1)


def clamp_advantage(
    advantage: Float[Tensor, "B T"], limit: float | None
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Bound every token's advantage to [-limit, limit].

    A token the teacher holds impossible has an advantage of minus dozens of nats and can decide a whole batch. The
    clamp is per sampled token: clamping entries of a distribution could turn the sign of the loss.

    Returns:
        the advantage, and 1 where it was clamped, 0 elsewhere.
    """
    if limit is None:
        return advantage, torch.zeros_like(advantage)
    return advantage.clamp(-limit, limit), (advantage.abs() > limit).to(advantage.dtype)
