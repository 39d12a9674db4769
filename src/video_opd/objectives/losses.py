"""Losses per token, unreduced. The learner sums them over the batch and divides by its number of answer tokens."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from video_opd.objectives.row_pieces import ForwardKL, JensenShannon, ReverseKL

MOST_LOG_RATIO = 20.0
"""Largest log-ratio, in nats, up to which the ratio of two probabilities is exact, as in verl. Above it the ratio grows
linearly in its logarithm: a ratio of 88 nats overflows float32, and one of 20 nats (4.9e8) dominates any batch."""


def _straightened_exp(log_ratio: Float[Tensor, "B T"], most: float) -> Float[Tensor, "B T"]:
    """`exp(x)` up to `most`, and above it the tangent at `most`: `exp(most) * (1 + x - most)`.

    It is finite for every x, and unlike a clamp it keeps a gradient: `exp(min(x, most))`.
    """
    beyond = log_ratio > most
    exact = log_ratio.masked_fill(beyond, most).exp()  # else `where` multiplies infinity by 0 in the backward pass
    return torch.where(beyond, math.exp(most) * (1 + log_ratio - most), exact)


def importance_ratio(
    learner_logprobs: Float[Tensor, "B T"], behaviour_logprobs: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """`pi / pi_behaviour` of every token, at most exp(MOST_LOG_RATIO); without gradient, for monitoring."""
    return (learner_logprobs - behaviour_logprobs).detach().clamp(max=MOST_LOG_RATIO).exp()


def policy_gradient(
    learner_logprobs: Float[Tensor, "B T"],
    behaviour_logprobs: Float[Tensor, "B T"],
    advantage: Float[Tensor, "B T"],
    ratio_cap: float | None = None,
) -> Float[Tensor, "B T"]:
    """`-advantage * ratio` with `ratio = pi / pi_behaviour`: Video-OPD, eq. 6 (arXiv 2602.02994).

    On the first update of a batch the ratio is 1, and the gradient is that of `-advantage * log pi`. On later updates
    the ratio corrects for the change of the policy.

    Args:
        ratio_cap: above 1. The gradient is that of `-advantage * min(ratio, ratio_cap) * log pi`: truncated importance
        sampling, as in IMPALA (arXiv 1802.01561), and CISPO for language models (arXiv 2506.13585). PPO's clip
        does not fit here: it does not bound the ratio of a token with a negative advantage, and most advantages of
        distillation are negative. A token that PPO clips also gets no gradient. None: a ratio is capped at
        exp(MOST_LOG_RATIO) only.
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

    On the first update of a batch the ratio is 1 and the loss is that of `policy_gradient`. On later updates a token
    gets no gradient once its ratio has passed the bound in the direction of its advantage.

    Args:
        clip_higher: the upper bound, DAPO's clip-higher (arXiv 2503.14476, eq. 10): improbable tokens may gain more.
        None: `clip`.

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

    It is exact while log r is at most MOST_LOG_RATIO. Above, r continues as its tangent: value and gradient stay
    finite, and a token that became far too improbable still gets a gradient. verl clamps log r at 20 and the penalty at
    10, and such a token gets no gradient. A policy almost never samples a token with r = exp(20), because its
    probability is at most exp(-20).
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
    divergence: Tensor = ForwardKL.apply(student_distribution, teacher_distribution.detach())
    return divergence


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
    divergence: Tensor = ReverseKL.apply(student_distribution, teacher_distribution.detach())
    return divergence


def generalised_jsd(
    student_distribution: Float[Tensor, "B T V"], teacher_distribution: Float[Tensor, "B T V"], beta: float
) -> Float[Tensor, "B T"]:
    """Generalised Jensen-Shannon divergence of every state, in nats, over the whole vocabulary: GKD (arXiv 2306.13649).

    `JSD_beta(P || Q) = beta * KL(P || M) + (1 - beta) * KL(Q || M)` with `M = beta * P + (1 - beta) * Q`; P is the
    teacher and Q the student. It is bounded by the entropy of (beta, 1 - beta), 0.69 nats at most, also for tokens that
    one of them finds impossible. At beta = 0.5 it is the usual, symmetric divergence.

    It is 0 at beta = 0 and at beta = 1. Its slope there is a KL divergence: `JSD_beta / beta` tends to KL(teacher ||
    student), the forward KL, for beta to 0, and `JSD_beta / (1 - beta)` to KL(student || teacher), the reverse KL, for
    beta to 1. TRL and ms-swift have the same convention between 0 and 1. At exactly 0 they compute the forward KL, and
    at exactly 1 the reverse KL, so their loss jumps there: near the ends it is small by the factor beta or 1 - beta.
    Here beta lies strictly between 0 and 1, and the two KL divergences are functions of their own.

    Args:
        student_distribution: log-probs, with gradient; the mixture is no constant for it.
        teacher_distribution: log-probs over the same support.
        beta: weight of the teacher in the mixture, between 0 and 1.
    """
    divergence: Tensor = JensenShannon.apply(student_distribution, teacher_distribution.detach(), beta)
    return divergence
