"""OP-FKD: the teacher's whole distribution, taught on annotated answers by the forward KL (Video-OPD, appendix C.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from video_opd.methods import Writer
from video_opd.methods.teachers import Teacher
from video_opd.objectives import forward_kl, sampled_advantage
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores


@dataclass(frozen=True, kw_only=True)
class ForwardKLDistillation:
    """Who writes: the annotation. Who judges: the teacher's whole distribution. What a token costs: the forward KL."""

    write: Writer
    teacher: Teacher
    needs_distribution: bool = True

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """The teacher scores every token of the vocabulary at every position of the annotated answers."""
        return Judgement(teacher=self.teacher(prompts, groups, distribution=True))

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """The forward KL of every annotated state; the advantage is for the record."""
        assert judgement.teacher is not None
        assert learner.distribution is not None
        assert judgement.teacher.distribution is not None
        advantage = sampled_advantage(behaviour_logprobs, judgement.teacher.logprobs)
        loss = forward_kl(learner.distribution, judgement.teacher.distribution)
        return TokenLosses(loss=loss, advantage=advantage, clamped=torch.zeros_like(advantage))
