"""GRPO: the student writes a group of answers, the task rewards them, and each is worth what it is above the group.

Group-relative policy optimisation (arXiv 2402.03300) with the rewards of temporal grounding (Time-R1, arXiv 2503.13377;
TimeLens, arXiv 2512.14698). All answers of a group come from one reading of their prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from video_opd.methods import Writer
from video_opd.methods.rewards import TaskReward
from video_opd.objectives import clipped_policy_gradient, group_advantage, importance_ratio, reference_penalty
from video_opd.policy.load import Policy
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Who writes: the student, several times. Who judges: the annotation. What a token costs: its answer's worth."""

    write: Writer
    reward: TaskReward
    divide_by_std: bool = True
    clip: float = 0.2
    clip_higher: float | None = None
    """Of the upper bound alone; None: `clip`."""
    reference: Policy | None = None
    """The student as it was before training, frozen."""
    reference_weight: float = 0.0
    """Of the KL to the reference; 0: no reference is needed."""
    mask_truncated: bool = False
    """Learn nothing from an answer that the length limit cut off; its reward still counts in its group."""
    needs_distribution: bool = False

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """The reward of every answer, and what the reference thinks of its tokens."""
        rewards = self.reward(prompts, groups)
        if self.reference is None:
            return Judgement(rewards=rewards)
        return Judgement(rewards=rewards, reference=self.reference.score(self.reference.read(prompts), groups))

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Every token of an answer gets the answer's advantage; the ratio to the policy that wrote it is clipped.

        With `mask_truncated` (DAPO's overlong filtering, arXiv 2503.14476) the tokens of answers that were cut off get
        no loss and no penalty, and the loss is not divided by them, as in TRL. A reward that they earned for what they
        did not come to say is still in the mean and the standard deviation of their group, there as here.
        """
        assert judgement.rewards is not None
        worth = group_advantage(judgement.rewards, divide_by_std=self.divide_by_std).to(learner.logprobs.device)
        advantage = worth.reshape(-1, 1).expand_as(behaviour_logprobs)
        loss, held = clipped_policy_gradient(
            learner.logprobs, behaviour_logprobs, advantage, self.clip, self.clip_higher
        )
        if judgement.reference is not None:
            penalty = reference_penalty(learner.logprobs, judgement.reference.logprobs)
            loss = loss + self.reference_weight * penalty
        ratio = importance_ratio(learner.logprobs, behaviour_logprobs)
        losses = TokenLosses(loss=loss, advantage=advantage, clamped=held, ratio=ratio, ratio_bounded=held)
        if not self.mask_truncated:
            return losses
        masked = torch.tensor([[answer.truncated] for answer in learner.answers], device=loss.device)
        return replace(losses.without(masked), masked=masked)
