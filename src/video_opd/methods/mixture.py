"""Distillation and a task reward at once: the teacher says how, the annotation says whether it was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from video_opd.methods import Writer
from video_opd.methods.distillation import ReverseKLDistillation
from video_opd.methods.rewards import TaskReward
from video_opd.objectives import clamp_advantage, group_advantage, mixed_advantage, sampled_advantage
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Who writes: the student, several times. Who judges: teacher and annotation. What a token costs: both
    advantages."""

    distillation: ReverseKLDistillation
    """With the sampled estimator: the exact one has no advantage that another could be added to."""
    reward: TaskReward
    weight: float
    """Of the task's advantage, which is first brought to the size of the teacher's; 0: pure distillation."""
    least_size: float = 0.1
    """Nats a token below which the task's advantage does not shrink along with the teacher's."""
    needs_distribution: bool = False

    @property
    def write(self) -> Writer:
        """The distillation's writer."""
        return self.distillation.write

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """The teacher's scores of every token, and the reward of every answer."""
        return replace(self.distillation.judge(prompts, groups), rewards=self.reward(prompts, groups))

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """One policy gradient on the sum of the two advantages."""
        assert judgement.teacher is not None
        assert judgement.rewards is not None
        advantage = sampled_advantage(behaviour_logprobs, judgement.teacher.logprobs)
        advantage, clamped = clamp_advantage(advantage, self.distillation.advantage_clamp)
        task = group_advantage(judgement.rewards, divide_by_std=True).to(advantage.device)
        advantage = mixed_advantage(
            advantage, task, learner.answer_mask, weight=self.weight, least_size=self.least_size
        )
        return self.distillation.bounded_policy_gradient(learner, behaviour_logprobs, advantage, clamped)
