"""Check a teacher by the outcome: use its scores of a prompt's answers only if they rank the answers as the outcomes
do.

After the outcome-guided calibration of Uni-OPD (arXiv 2605.03677); `objectives.outcome` lists the differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from video_opd.methods import Method, Writer
from video_opd.methods.rewards import TaskReward
from video_opd.objectives import (
    find_contradicting_groups,
    mean_advantage,
    order_restoring_shift,
    policy_gradient,
    sampled_advantage,
)
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores


@dataclass(frozen=True, kw_only=True)
class OutcomeChecked:
    """A method of distillation, changed for groups whose outcome contradicts the teacher.

    `mask`: the tokens of such a group get no loss and no advantage. `shift`: the advantages of an answer's tokens are
    shifted, so that the answers' scores have the order of their rewards.
    """

    method: Method
    """The method. It writes at least two answers to each prompt. For `shift` it must have an advantage without a
    bound."""
    reward: TaskReward
    remedy: Literal["mask", "shift"]
    ratio_cap: float | None = None
    """Bound on the importance ratio, as in the method: `shift` adds a policy gradient with the same ratio."""

    @property
    def needs_distribution(self) -> bool:
        """Whether the method that is checked needs whole distributions."""
        return self.method.needs_distribution

    @property
    def write(self) -> Writer:
        """The writer of the method that is checked."""
        return self.method.write

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """Ask the method's judge, and compute the reward of every answer."""
        return replace(self.method.judge(prompts, groups), rewards=self.reward(prompts, groups))

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Compute the losses of the method, changed for the groups that are contradicted.

        An answer's score is the mean sampled advantage of its supervised tokens, for every estimator. Subtracting a
        baseline from the shifted advantage does not change the expected gradient.
        """
        assert judgement.teacher is not None
        assert judgement.rewards is not None
        losses = self.method.losses(learner, behaviour_logprobs, judgement)
        counted = learner.answer_mask if losses.supervised is None else losses.supervised
        rewards = judgement.rewards.to(behaviour_logprobs)
        advantage = sampled_advantage(behaviour_logprobs, judgement.teacher.logprobs)
        scores = mean_advantage(advantage, counted).reshape_as(rewards)
        contradicted = find_contradicting_groups(scores, rewards)
        if self.remedy == "mask":
            masked = contradicted.expand_as(rewards).reshape(-1, 1)
            return replace(losses.drop_tokens(masked), contradicted=contradicted)
        shift = order_restoring_shift(scores, rewards, counted.sum(dim=1).reshape_as(rewards).to(rewards))
        added = shift.masked_fill(~contradicted, 0.0).reshape(-1, 1) * counted
        return replace(
            losses,
            loss=losses.loss + policy_gradient(learner.logprobs, behaviour_logprobs, added, self.ratio_cap),
            advantage=losses.advantage + added,
            contradicted=contradicted,
        )
