"""The mathematics: pure functions on aligned tensors, which know nothing of models, videos or recipes.

Torch is imported when the first function is used. The file of a method also has its settings, and must load without
torch.
"""

from typing import TYPE_CHECKING

from video_opd.lazy import import_on_use

if TYPE_CHECKING:
    from video_opd.objectives.advantages import (
        clamp_advantage,
        find_groups_without_spread,
        group_advantage,
        mixed_advantage,
        sampled_advantage,
        state_baseline,
    )
    from video_opd.objectives.diagnostics import sampled_entropy, sampled_reverse_kl, sampler_learner_gap
    from video_opd.objectives.logprobs import masked_mean, masked_sum
    from video_opd.objectives.losses import (
        clipped_policy_gradient,
        forward_kl,
        generalised_jsd,
        importance_ratio,
        negative_log_likelihood,
        policy_gradient,
        reference_penalty,
        reverse_kl,
    )
    from video_opd.objectives.outcome import find_contradicting_groups, mean_advantage, order_restoring_shift
    from video_opd.objectives.prefix import downward_change_point, supervised_prefix, teacher_margin

__all__ = [
    "clamp_advantage",
    "clipped_policy_gradient",
    "downward_change_point",
    "find_contradicting_groups",
    "find_groups_without_spread",
    "forward_kl",
    "generalised_jsd",
    "group_advantage",
    "importance_ratio",
    "masked_mean",
    "masked_sum",
    "mean_advantage",
    "mixed_advantage",
    "negative_log_likelihood",
    "order_restoring_shift",
    "policy_gradient",
    "reference_penalty",
    "reverse_kl",
    "sampled_advantage",
    "sampled_entropy",
    "sampled_reverse_kl",
    "sampler_learner_gap",
    "state_baseline",
    "supervised_prefix",
    "teacher_margin",
]

__getattr__ = import_on_use(__name__, ("advantages", "diagnostics", "logprobs", "losses", "outcome", "prefix"), __all__)
