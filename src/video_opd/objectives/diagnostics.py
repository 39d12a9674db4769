"""Values to monitor during training; none of them has a gradient."""

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

    If the sampler and the learner are the same policy, the gap is only rounding. A gap above 0.01 in float32 is a bug.
    """
    return float(masked_mean((sampler_logprobs - learner_logprobs).detach().abs(), answer_mask))


def sampled_entropy(behaviour_logprobs: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"]) -> float:
    """One-sample estimate of the entropy of the visited states, nats per token: the mean of `-log pi`."""
    return float(masked_mean(-behaviour_logprobs.detach(), answer_mask))
