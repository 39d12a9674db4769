"""Losses per token, unreduced. The learner sums them over the batch and divides by its number of answer tokens."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

MOST_LOG_RATIO = 20.0
"""Nats between two policies up to which the ratio of their probabilities is exact, as in verl. From there on its
logarithm counts: a ratio of 88 nats or more is no float32, and one of 20, 4.9e8, decides any batch."""


def _straightened_exp(log_ratio: Float[Tensor, "B T"], most: float) -> Float[Tensor, "B T"]:
    """`exp(x)`, and from `most` on the tangent there: `exp(most) * (1 + x - most)`.

    Finite for every x, and unlike a clamp it keeps a gradient, of `exp(min(x, most))`.
    """
    beyond = log_ratio > most
    exact = log_ratio.masked_fill(beyond, most).exp()  # else infinity times the nothing that `where` takes of it
    return torch.where(beyond, math.exp(most) * (1 + log_ratio - most), exact)


def importance_ratio(
    learner_logprobs: Float[Tensor, "B T"], behaviour_logprobs: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """`pi / pi_behaviour` of every token, at most exp(MOST_LOG_RATIO); without gradient, to look at."""
    return (learner_logprobs - behaviour_logprobs).detach().clamp(max=MOST_LOG_RATIO).exp()


def policy_gradient(
    learner_logprobs: Float[Tensor, "B T"],
    behaviour_logprobs: Float[Tensor, "B T"],
    advantage: Float[Tensor, "B T"],
    ratio_cap: float | None = None,
) -> Float[Tensor, "B T"]:
    """`-advantage * ratio` with `ratio = pi / pi_behaviour`: Video-OPD, eq. 6 (arXiv 2602.02994).

    On the first update of a batch the ratio is 1 and the gradient is that of `-advantage * log pi`; on later ones it
    corrects for the policy having moved on.

    Args:
        ratio_cap: above 1. The gradient is that of `-advantage * min(ratio, ratio_cap) * log pi`: truncated importance
            sampling, as IMPALA has it (arXiv 1802.01561), and CISPO for language models (arXiv 2506.13585). Not PPO's
            clip: that leaves a token of negative advantage whose probability has risen unbounded, and most advantages
            of distillation are negative; and a token that it holds gives no gradient any more. None: a ratio is
            capped at exp(MOST_LOG_RATIO) only.
    """
    most = MOST_LOG_RATIO if ratio_cap is None else min(math.log(ratio_cap), MOST_LOG_RATIO)
    return -advantage.detach() * _straightened_exp(learner_logprobs - behaviour_logprobs.detach(), most)


def clipped_policy_gradient(
    learner_logprobs: Float[Tensor, "B T"],
    behaviour_logprobs: Float[Tensor, "B T"],
    advantage: Float[Tensor, "B T"],
    clip: float,
    clip_higher: float | None = None,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """`-min(advantage * ratio, advantage * clip(ratio, 1 - clip, 1 + clip_higher))`: PPO's bound (arXiv 1707.06347).

    On the first update of a batch the ratio is 1 and it is `policy_gradient`. On later ones a token that has moved by
    more than the bound in the direction its advantage asked for gives no more gradient.

    Args:
        clip_higher: of the upper bound alone, DAPO's clip-higher (arXiv 2503.14476, eq. 10): improbable tokens may
            gain more. None: `clip`.

    Returns:
        the loss, and 1 where the bound held, 0 elsewhere.
    """
    advantage = advantage.detach()
    ratio = _straightened_exp(learner_logprobs - behaviour_logprobs.detach(), MOST_LOG_RATIO)
    upper = 1 + (clip if clip_higher is None else clip_higher)
    free, bound = advantage * ratio, advantage * ratio.clamp(1 - clip, upper)
    return -torch.minimum(free, bound), (bound < free).to(advantage.dtype)


def reference_penalty(
    learner_logprobs: Float[Tensor, "B T"], reference_logprobs: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """`r - log r - 1` with `r = pi_reference / pi`: GRPO's estimate of KL(pi || pi_reference), >= 0 for every token and
    unbiased on the policy's own samples (arXiv 2402.03300, eq. 4).

    Exact while log r is at most MOST_LOG_RATIO; from there on r goes on as its tangent, so that value and gradient stay
    finite and a token that has become far too improbable is still pulled back. verl clamps log r at 20 and the penalty
    at 10, and such a token gets no gradient. On its own samples a policy meets r = exp(20) about never: it writes such
    a token with a probability of at most exp(-20).
    """
    log_ratio = reference_logprobs.detach() - learner_logprobs
    less_one = torch.expm1(log_ratio.masked_fill(log_ratio > MOST_LOG_RATIO, MOST_LOG_RATIO))  # exact near 0 as well
    beyond = math.exp(MOST_LOG_RATIO) * (log_ratio - MOST_LOG_RATIO).relu()
    return less_one + beyond - log_ratio


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

    Its gradient, with the prefixes held constant, is what the sampled advantage estimates (paper, appendix A).

    Args:
        student_distribution: log-probs; the gradient flows through them, as weights and as logarithms.
        teacher_distribution: log-probs over the same support.
    """
    difference = student_distribution - teacher_distribution.detach()
    return (student_distribution.exp() * difference).sum(dim=-1)
