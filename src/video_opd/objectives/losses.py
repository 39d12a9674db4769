"""Losses per token, unreduced. The learner sums them over the batch and divides by its number of answer tokens."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def policy_gradient(
    learner_logprobs: Float[Tensor, "B T"],
    behaviour_logprobs: Float[Tensor, "B T"],
    credit: Float[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """`-credit * ratio` with `ratio = pi / pi_behaviour`: Video-OPD, eq. 6 (arXiv 2602.02994).

    On the first update of a batch the ratio is 1 and the gradient is that of `-credit * log pi`; on later ones it
    corrects for the policy having moved on.
    """
    ratio = (learner_logprobs - behaviour_logprobs.detach()).exp()
    return -credit.detach() * ratio


def clipped_policy_gradient(
    learner_logprobs: Float[Tensor, "B T"],
    behaviour_logprobs: Float[Tensor, "B T"],
    credit: Float[Tensor, "B T"],
    clip: float,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """`-min(credit * ratio, credit * clip(ratio, 1 - clip, 1 + clip))`: PPO's bound (arXiv 1707.06347, eq. 7).

    On the first update of a batch the ratio is 1 and it is `policy_gradient`. On later ones a token that has moved by
    more than `clip` in the direction its credit asked for gives no more gradient.

    Returns:
        the loss, and 1 where the bound held, 0 elsewhere.
    """
    credit = credit.detach()
    ratio = (learner_logprobs - behaviour_logprobs.detach()).exp()
    free, bound = credit * ratio, credit * ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(free, bound), (bound < free).to(credit.dtype)


def reference_penalty(
    learner_logprobs: Float[Tensor, "B T"], reference_logprobs: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """`r - log r - 1` with `r = pi_reference / pi`: GRPO's estimate of KL(pi || pi_reference), >= 0 for every token and
    unbiased on the policy's own samples (arXiv 2402.03300, eq. 4)."""
    log_ratio = reference_logprobs.detach() - learner_logprobs
    return log_ratio.exp() - log_ratio - 1


def forward_kl(
    student_distribution: Float[Tensor, "B T V"], teacher_distribution: Float[Tensor, "B T V"]
) -> Float[Tensor, "B T"]:
    """KL(teacher || student) of every state, in nats, over the whole vocabulary; >= 0. Video-OPD, appendix C.2.

    Args:
        student_distribution: log-probs, with gradient.
        teacher_distribution: log-probs over the same support.
    """
    teacher = teacher_distribution.detach()
    return (teacher.exp() * (teacher - student_distribution)).sum(dim=-1)


def negative_log_likelihood(learner_logprobs: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """`-log pi` of given tokens: supervised fine-tuning."""
    return -learner_logprobs


def reverse_kl(
    student_distribution: Float[Tensor, "B T V"], teacher_distribution: Float[Tensor, "B T V"]
) -> Float[Tensor, "B T"]:
    """KL(student || teacher) of every visited state, in nats, over the whole vocabulary; >= 0.

    Its gradient, with the prefixes held constant, is what the sampled credit estimates (paper, appendix A).

    Args:
        student_distribution: log-probs; the gradient flows through them, as weights and as logarithms.
        teacher_distribution: log-probs over the same support.
    """
    difference = student_distribution - teacher_distribution.detach()
    return (student_distribution.exp() * difference).sum(dim=-1)
