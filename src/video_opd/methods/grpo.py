"""GRPO: the student writes a group of answers, the task rewards them, and each is worth what it is above the group.

Group-relative policy optimisation (arXiv 2402.03300) with the rewards of temporal grounding (Time-R1, arXiv 2503.13377;
TimeLens, arXiv 2512.14698). All answers of a group come from one reading of their prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from video_opd.methods import Writer
from video_opd.methods.rewards import TaskReward
from video_opd.objectives import clipped_policy_gradient, group_credit, reference_penalty
from video_opd.policy.load import Policy
from video_opd.vocabulary import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Who writes: the student, several times. Who judges: the annotation. What a token costs: its answer's worth."""

    write: Writer
    reward: TaskReward
    divide_by_std: bool = True
    clip: float = 0.2
    reference: Policy | None = None
    """The student as it was before training, frozen."""
    reference_weight: float = 0.0
    """Of the KL to the reference; 0: no reference is needed."""
    needs_distribution: bool = False

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """The reward of every answer, and what the reference thinks of its tokens."""
        rewards = self.reward(prompts, groups)
        if self.reference is None:
            return Judgement(rewards=rewards)
        return Judgement(rewards=rewards, reference=self.reference.score(self.reference.read(prompts), groups))

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Every token of an answer gets the answer's credit; the ratio to the policy that wrote it is clipped."""
        assert judgement.rewards is not None
        worth = group_credit(judgement.rewards, divide_by_std=self.divide_by_std).to(learner.logprobs.device)
        credit = worth.reshape(-1, 1).expand_as(behaviour_logprobs)
        loss, clamped = clipped_policy_gradient(learner.logprobs, behaviour_logprobs, credit, self.clip)
        if judgement.reference is not None:
            penalty = reference_penalty(learner.logprobs, judgement.reference.logprobs)
            loss = loss + self.reference_weight * penalty
        return TokenLosses(loss=loss, credit=credit, clamped=clamped)
