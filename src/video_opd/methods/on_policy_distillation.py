"""Video-OPD: the student writes, a frozen teacher judges token by token, and the gap is each token's credit.

Video-OPD, section 3.1 (arXiv 2602.02994), and its exact form: the reverse KL of every state the student visited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from video_opd.objectives import clamp_credit, policy_gradient, reverse_kl, sampled_credit
from video_opd.policy.load import Policy
from video_opd.policy.reading import Reading
from video_opd.vocabulary import AnswerGroup, Prompt, Sampling, TokenLosses, TokenScores


@dataclass(frozen=True, kw_only=True)
class OnPolicyDistillation:
    """Who writes: the student. Who judges: the teacher. What a token costs: the reverse KL, sampled or exact."""

    teacher: Policy
    estimator: Literal["sampled", "exact"] = "sampled"
    credit_clamp: float | None = None
    max_new_tokens: int = 64

    @property
    def needs_distribution(self) -> bool:
        """Whether the student's whole distribution is wanted at every answer position."""
        return self.estimator == "exact"

    def write(self, student: Policy, reading: Reading, seed: int) -> tuple[AnswerGroup, ...]:
        """One answer per prompt from the student's current policy."""
        return student.answer(reading, sampling=Sampling(max_new_tokens=self.max_new_tokens, seed=seed))

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> TokenScores:
        """The teacher reads the very same prompts and scores the very same tokens; it never writes."""
        reading = self.teacher.read(prompts)
        return self.teacher.score(reading, groups, distribution=self.needs_distribution)

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: TokenScores) -> TokenLosses:
        """Per-token losses; `behaviour_logprobs` are the learner's own before its first update on this batch."""
        credit = sampled_credit(behaviour_logprobs, judgement.logprobs)
        if self.estimator == "exact":
            assert learner.distribution is not None
            assert judgement.distribution is not None
            loss = reverse_kl(learner.distribution, judgement.distribution)
            return TokenLosses(loss=loss, credit=credit, clamped=torch.zeros_like(credit))
        credit, clamped = clamp_credit(credit, self.credit_clamp)
        return TokenLosses(
            loss=policy_gradient(learner.logprobs, behaviour_logprobs, credit), credit=credit, clamped=clamped
        )
