"""Distillation together with a task reward: the teacher scores each token, the annotation scores the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from video_opd import objectives
from video_opd.methods import Method, MethodParts, Writer
from video_opd.methods.opd import BoundSettings, ReverseKLDistillation
from video_opd.methods.rewards import RewardSettings, TaskReward
from video_opd.settings import NotNegative
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores

if TYPE_CHECKING:
    from torch import Tensor


class MixtureSettings(BoundSettings, RewardSettings):
    """The advantage of `opd` plus a task reward, which is scaled to the size of that advantage."""

    needs_teacher: ClassVar[bool] = True
    has_other_signal: ClassVar[bool] = True

    name: Literal["mixture"]
    """The method."""
    estimator: Literal["sampled"] = "sampled"
    """Only the sampled estimator has an advantage to which a reward can be added."""
    weight: NotNegative = 1.0
    """Weight of the task's advantage relative to the teacher's; 0: pure distillation."""
    least_size: NotNegative = 0.1
    """Lower limit for the size of the task's advantage, in nats per token: it shrinks with the teacher's advantage, but
    not below this. So a student that agrees with its teacher still learns from the annotation."""

    def build(self, parts: MethodParts) -> Method:
        """Make the mixture with the student as the writer of a group."""
        return Mixture(
            distillation=ReverseKLDistillation(
                write=parts.student_writes(self.num_answers),
                teacher=parts.teacher,
                advantage_clamp=self.advantage_clamp,
                ratio_cap=self.ratio_cap,
            ),
            reward=self.make_task_reward(parts),
            weight=self.weight,
            least_size=self.least_size,
        )


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Who writes: the student, several times. Who judges: teacher and annotation. What a token costs: both
    advantages."""

    distillation: ReverseKLDistillation
    """Must use the sampled estimator: the exact one has no advantage to which a reward can be added."""
    reward: TaskReward
    weight: float
    """Weight of the task's advantage, which is first scaled to the size of the teacher's; 0: pure distillation."""
    least_size: float = 0.1
    """Lower limit for the size of the task's advantage, in nats per token."""
    needs_distribution: bool = False

    @property
    def write(self) -> Writer:
        """The student as the writer, as in the distillation."""
        return self.distillation.write

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """Ask the teacher about every token, and compute the reward of every answer."""
        return replace(self.distillation.judge(prompts, groups), rewards=self.reward(prompts, groups))

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Compute one policy gradient on the sum of the two advantages."""
        assert judgement.teacher is not None
        assert judgement.rewards is not None
        advantage = objectives.sampled_advantage(behaviour_logprobs, judgement.teacher.logprobs)
        advantage, clamped = objectives.clamp_advantage(advantage, self.distillation.advantage_clamp)
        task = objectives.group_advantage(judgement.rewards, divide_by_std=True).to(advantage.device)
        advantage = objectives.mixed_advantage(
            advantage, task, learner.answer_mask, weight=self.weight, least_size=self.least_size
        )
        return self.distillation.bounded_policy_gradient(learner, behaviour_logprobs, advantage, clamped)
