"""The mathematics: pure functions on aligned tensors, which know nothing of models, videos or recipes."""

from video_opd.objectives.credit import clamp_credit, sampled_credit
from video_opd.objectives.diagnostics import sampled_entropy, sampled_reverse_kl, sampler_learner_gap
from video_opd.objectives.logprobs import masked_mean, masked_sum
from video_opd.objectives.losses import policy_gradient, reverse_kl

__all__ = [
    "clamp_credit",
    "masked_mean",
    "masked_sum",
    "policy_gradient",
    "reverse_kl",
    "sampled_credit",
    "sampled_entropy",
    "sampled_reverse_kl",
    "sampler_learner_gap",
]
