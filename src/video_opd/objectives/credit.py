"""Credit per token: what a token was worth, as a constant for the gradient."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def sampled_credit(
    behaviour_logprobs: Float[Tensor, "B T"], teacher_logprobs: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """`-(log pi - log pi_teacher)` of the sampled token: Video-OPD, eq. 5 (arXiv 2602.02994).

    Its expectation under the student is minus the reverse KL of the state, KL(student || teacher).

    Args:
        behaviour_logprobs: of the policy that wrote the answers, recomputed by the learner before its first update on
            this batch. Never normalised or whitened: the teacher's term would be z-scored away.
    """
    return -(behaviour_logprobs - teacher_logprobs).detach()


def clamp_credit(
    credit: Float[Tensor, "B T"], limit: float | None
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Bound every token's credit to [-limit, limit].

    A token the teacher holds impossible has a credit of minus dozens of nats and can decide a whole batch. The clamp is
    per sampled token: clamping entries of a distribution could turn the sign of the loss.

    Returns:
        the credit, and 1 where it was clamped, 0 elsewhere.
    """
    if limit is None:
        return credit, torch.zeros_like(credit)
    return credit.clamp(-limit, limit), (credit.abs() > limit).to(credit.dtype)
