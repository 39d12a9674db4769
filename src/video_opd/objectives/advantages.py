"""The advantage of each token, as a constant for the gradient."""

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
        behaviour_logprobs: log-probs of the policy that wrote the answers, recomputed by the learner before its first
        update on this batch. They are never normalised or whitened, because this would remove the teacher's term.
    """
    return -(behaviour_logprobs - teacher_logprobs).detach()


def state_baseline(
    student_distribution: Float[Tensor, "B T V"], teacher_distribution: Float[Tensor, "B T V"]
) -> Float[Tensor, "B T"]:
    """The expected advantage of every visited state, which is the negative reverse KL; a constant for the gradient.

    Subtracting it from the sampled advantage does not change the expected gradient, because the score function has
    mean 0. It removes the part of the variance that comes from the state alone. It needs both whole distributions."""
    return -reverse_kl(student_distribution, teacher_distribution).detach()


STD_FLOOR = 1e-4
"""Added to a group's standard deviation before dividing by it, as Time-R1 does."""


def group_advantage(rewards: Float[Tensor, "P G"], *, divide_by_std: bool) -> Float[Tensor, "P G"]:
    """An answer's reward minus the mean of its group, GRPO (arXiv 2402.03300, eq. 3 and section 4.1.2).

    It sums to zero in every group. A group whose rewards are all equal gets exactly zero, without an error of rounding.

    Args:
        rewards: (P, G), the rewards of G answers to each of P prompts.
        divide_by_std: also divide by the group's standard deviation (of the sample, as torch computes it), so that a
            group with little spread counts as much as one with much.
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    if divide_by_std:
        centred = centred / (rewards.std(dim=1, keepdim=True) + STD_FLOOR)
    return centred.masked_fill(find_groups_without_spread(rewards), 0.0)


def find_groups_without_spread(rewards: Float[Tensor, "P G"]) -> Bool[Tensor, "P 1"]:
    """Groups whose answers all have the same reward: they do not show which answer is better."""
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
    over the tokens of its own group, or by `least_size` where that is larger. Both advantages then have the same size
    in any unit, and `weight` is their ratio. The distillation advantage itself is never rescaled or centred. Each group
    is scaled by itself, so a split into micro-batches changes nothing.

    Args:
        task: (P, G), the group-normalised advantage of G answers to each of P prompts; B = P * G rows.
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

    A token that the teacher finds impossible has an advantage of minus dozens of nats and can dominate a whole batch.
    The clamp is per sampled token: clamping entries of a distribution could change the sign of the loss.

    Returns:
        the advantage, and 1 where it was clamped, 0 elsewhere.
    """
    if limit is None:
        return advantage, torch.zeros_like(advantage)
    return advantage.clamp(-limit, limit), (advantage.abs() > limit).to(advantage.dtype)
