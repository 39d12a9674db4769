"""Distillation by the reverse KL: a frozen teacher judges token by token, and the gap is each token's advantage.

With the student as writer this is Video-OPD, section 3.1 (arXiv 2602.02994), and its exact form, the reverse KL of
every state the student visited. With the annotations as writer it is OP-RKD, the off-policy baseline of its appendix
C.1: the same advantage and the same update on other people's answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from video_opd.methods import Writer
from video_opd.methods.teachers import Teacher
from video_opd.objectives import (
    clamp_advantage,
    importance_ratio,
    policy_gradient,
    reverse_kl,
    sampled_advantage,
    state_baseline,
)
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores

Estimator = Literal["sampled", "baseline", "exact"]


@dataclass(frozen=True, kw_only=True)
class ReverseKLDistillation:
    """Who writes: given. Who judges: the teacher. What a token costs: the reverse KL, sampled or exact."""

    write: Writer
    teacher: Teacher
    estimator: Estimator = "sampled"
    """`sampled`: the advantage of the token that was written. `baseline`: the same less its expectation in that state.
    `exact`: the whole distribution's."""
    advantage_clamp: float | None = None
    ratio_cap: float | None = None
    """Bound on the importance ratio of a token, above 1; None: none."""
    in_full: bool = False
    """Have whole distributions at hand even where the estimator wants none."""

    @property
    def needs_distribution(self) -> bool:
        """Whether whole distributions are wanted at every answer position, the student's and the teacher's."""
        return self.in_full or self.estimator != "sampled"

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """The teacher reads the very same prompts and scores the very same tokens; it never writes."""
        return Judgement(teacher=self.teacher(prompts, groups, distribution=self.needs_distribution))

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Per-token losses."""
        assert judgement.teacher is not None
        advantage = sampled_advantage(behaviour_logprobs, judgement.teacher.logprobs)
        if self.estimator == "sampled":
            return self.bounded_policy_gradient(
                learner, behaviour_logprobs, *clamp_advantage(advantage, self.advantage_clamp)
            )
        assert learner.distribution is not None
        assert judgement.teacher.distribution is not None
        if self.estimator == "baseline":
            advantage = advantage - state_baseline(learner.distribution, judgement.teacher.distribution)
            return self.bounded_policy_gradient(
                learner, behaviour_logprobs, *clamp_advantage(advantage, self.advantage_clamp)
            )
        loss = reverse_kl(learner.distribution, judgement.teacher.distribution)
        return TokenLosses(loss=loss, advantage=advantage, clamped=torch.zeros_like(advantage))

    def bounded_policy_gradient(
        self, learner: TokenScores, behaviour_logprobs: Tensor, advantage: Tensor, clamped: Tensor
    ) -> TokenLosses:
        """The policy gradient of an advantage, with the bound on the importance ratio.

        On annotated answers the ratio is no correction for who wrote them. It is to the student before its first update
        on the batch, of whom the advantage is, and says how far it has moved since; the paper weighs by it there too.

        Args:
            clamped: (B, T), 1 where the advantage was clamped.
        """
        loss = policy_gradient(learner.logprobs, behaviour_logprobs, advantage, self.ratio_cap)
        ratio = importance_ratio(learner.logprobs, behaviour_logprobs)
        if self.ratio_cap is None:
            return TokenLosses(loss=loss, advantage=advantage, clamped=clamped, ratio=ratio)
        bounded = (ratio > self.ratio_cap).to(clamped.dtype)
        return TokenLosses(
            loss=loss, advantage=advantage, clamped=clamped.maximum(bounded), ratio=ratio, ratio_bounded=bounded
        )
