"""Losses per token, unreduced. The learner sums them over the batch and divides by its number of answer tokens."""

from __future__ import annotations

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
