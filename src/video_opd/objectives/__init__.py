"""The mathematics: pure functions on aligned tensors, which know nothing of models, videos or recipes."""

from video_opd.objectives.credit import (
    clamp_credit,
    group_credit,
    mixed_credit,
    sampled_credit,
    state_baseline,
    without_spread,
)
from video_opd.objectives.diagnostics import sampled_entropy, sampled_reverse_kl, sampler_learner_gap
from video_opd.objectives.logprobs import masked_mean, masked_sum
from video_opd.objectives.losses import (
    clipped_policy_gradient,
    forward_kl,
    negative_log_likelihood,
    policy_gradient,
    reference_penalty,
    reverse_kl,
)

__all__ = [
    "clamp_credit",
    "clipped_policy_gradient",
    "forward_kl",
    "group_credit",
    "masked_mean",
    "masked_sum",
    "mixed_credit",
    "negative_log_likelihood",
    "policy_gradient",
    "reference_penalty",
    "reverse_kl",
    "sampled_credit",
    "sampled_entropy",
    "sampled_reverse_kl",
    "sampler_learner_gap",
    "state_baseline",
    "without_spread",
]
