"""GRPO: the student writes a group of answers, the task rewards them, and an answer's advantage is relative to its
group.

Group-relative policy optimisation (arXiv 2402.03300) with the rewards of temporal grounding (Time-R1, arXiv 2503.13377;
TimeLens, arXiv 2512.14698). All answers of a group come from one reading of their prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from video_opd import objectives
from video_opd.methods import Method, MethodParts, Writer
from video_opd.methods.rewards import RewardSettings, TaskReward
from video_opd.settings import Flag, MoreThanZero, NotNegative
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores

if TYPE_CHECKING:
    from torch import Tensor

    from video_opd.policy.load import Policy


class GRPOSettings(RewardSettings):
    """GRPO: the student writes a group, and an answer's advantage is its reward minus the mean reward of the group."""

    name: Literal["grpo"]
    """The method."""
    divide_by_std: Flag = True
    """Divide a group's advantage by its standard deviation."""
    clip: MoreThanZero = 0.2
    """How far the importance ratio may move from 1 (with training.updates_per_batch above 1)."""
    clip_higher: MoreThanZero | None = None
    """How far the ratio may move above 1, such as DAPO's 0.28, so that improbable tokens may gain more; not set: as
    `clip`."""
    mask_truncated: Flag = False
    """Learn nothing from answers that the length limit cut off (DAPO's overlong filtering). They are neither in the
    loss nor in the number of tokens it is divided by; their rewards still count in the mean of their group."""
    reference_weight: NotNegative = 0.0
    """Weight of the KL to the student before training; 0: no reference model is loaded."""

    @model_validator(mode="after")
    def _require_fitting_clips(self) -> GRPOSettings:
        if self.clip_higher is not None and self.clip_higher < self.clip:
            raise ValueError(
                f"method.clip_higher = {self.clip_higher} is below method.clip = {self.clip}: the upper bound must not "
                "be tighter than the lower one; leave it out, or give at least that much, such as 0.28 with a clip of "
                "0.2"
            )
        return self

    @property
    def needs_reference(self) -> bool:
        """Whether a penalty keeps the student near its state before training."""
        return self.reference_weight > 0

    def build(self, parts: MethodParts) -> Method:
        """Make GRPO with the student as the writer of a group."""
        return GRPO(
            write=parts.student_writes(self.num_answers),
            reward=self.make_task_reward(parts),
            divide_by_std=self.divide_by_std,
            clip=self.clip,
            clip_higher=self.clip_higher,
            mask_truncated=self.mask_truncated,
            reference=parts.reference,
            temperature=parts.temperature,
            reference_weight=self.reference_weight,
        )


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Who writes: the student, several times. Who judges: the annotation. What a token costs: its answer's
    advantage."""

    write: Writer
    reward: TaskReward
    divide_by_std: bool = True
    clip: float = 0.2
    clip_higher: float | None = None
    """The upper bound; None: as `clip`."""
    reference: Policy | None = None
    """The student as it was before training, frozen."""
    reference_weight: float = 0.0
    """Weight of the KL to the reference; 0: no reference is needed."""
    temperature: float = 1.0
    """Of the reference's log-probs, as of the learner's."""
    mask_truncated: bool = False
    """Learn nothing from an answer that the length limit cut off; its reward still counts in its group."""
    needs_distribution: bool = False

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """Compute the reward of every answer, and ask the reference about its tokens."""
        rewards = self.reward(prompts, groups)
        if self.reference is None:
            return Judgement(rewards=rewards)
        reading = self.reference.read(prompts)
        scores = self.reference.score(reading, groups, temperature=self.temperature)
        return Judgement(rewards=rewards, reference=scores)

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Give every token of an answer the answer's advantage, and clip its ratio to the policy that wrote it.

        With `mask_truncated` (DAPO's overlong filtering, arXiv 2503.14476) the tokens of answers that were cut off get
        no loss and no penalty, and the loss is not divided by their number, as in TRL. Their rewards still count in the
        mean and the standard deviation of their group, also as in TRL.
        """
        assert judgement.rewards is not None
        worth = objectives.group_advantage(judgement.rewards, divide_by_std=self.divide_by_std).to(
            learner.logprobs.device
        )
        advantage = worth.reshape(-1, 1).expand_as(behaviour_logprobs)
        loss, held = objectives.clipped_policy_gradient(
            learner.logprobs, behaviour_logprobs, advantage, self.clip, self.clip_higher
        )
        if judgement.reference is not None:
            penalty = objectives.reference_penalty(learner.logprobs, judgement.reference.logprobs)
            loss = loss + self.reference_weight * penalty
        ratio = objectives.importance_ratio(learner.logprobs, behaviour_logprobs)
        losses = TokenLosses(loss=loss, advantage=advantage, clamped=held, ratio=ratio, ratio_bounded=held)
        if not self.mask_truncated:
            return losses
        masked = loss.new_tensor([[answer.truncated] for answer in learner.answers]).bool()
        return replace(losses.drop_tokens(masked), masked=masked)
