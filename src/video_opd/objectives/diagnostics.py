"""What to look at while training; none of it has a gradient."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from video_opd.objectives.logprobs import masked_mean


def sampled_reverse_kl(
    behaviour_logprobs: Float[Tensor, "B T"], teacher_logprobs: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"]
) -> float:
    """One-sample estimate of KL(student || teacher) in nats per token; unbiased, so it may come out below 0."""
    return float(masked_mean((behaviour_logprobs - teacher_logprobs).detach(), answer_mask))


def sampler_learner_gap(
    sampler_logprobs: Float[Tensor, "B T"], learner_logprobs: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"]
) -> float:
    """Mean absolute difference between a token's log-prob when it was sampled and when it is trained on, in nats.

    Rounding, if the policy that writes is the policy that learns. Anything above 0.01 in float32 is a bug.
    """
    return float(masked_mean((sampler_logprobs - learner_logprobs).detach().abs(), answer_mask))


def sampled_entropy(behaviour_logprobs: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"]) -> float:
    """One-sample estimate of the entropy of the visited states, nats per token: the mean of `-log pi`."""
    return float(masked_mean(-behaviour_logprobs.detach(), answer_mask))
