"""The [method] table of a recipe: one of six, told apart by `name`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AliasChoices, Field, model_validator

from video_opd.config.field_types import Flag, MoreThanOne, MoreThanZero, NotNegative, Positive, Settings
from video_opd.grounding.reward import RewardName

AblationName = Literal["shuffled", "noise", "early", "blind"]


class OnPolicyDistillationSettings(Settings):
    """Video-OPD: the student writes, the teacher judges token by token."""

    needs_teacher: ClassVar[bool] = True
    writes_annotations: ClassVar[bool] = False

    name: Literal["opd"] = "opd"
    """The method."""
    estimator: Literal["sampled", "baseline", "exact"] = "sampled"
    """`sampled`: the paper's advantage of the sampled token. `baseline`: the same less its expectation in that state.
    `exact`: the reverse KL of every visited state, in full."""
    num_answers: Positive = 1
    """Answers a prompt, all from one reading."""
    advantage_clamp: MoreThanZero | None = Field(
        default=None, validation_alias=AliasChoices("advantage_clamp", "credit_clamp")
    )
    """Bound on a token's advantage in nats; none by default. The clamped share is logged."""
    ratio_cap: MoreThanOne | None = None
    """Bound on a token's importance ratio (with training.updates_per_batch above 1), such as 2: truncated importance
    sampling, under which every token keeps a gradient. None by default; the largest ratio is logged."""
    outcome_check: Literal["mask", "shift"] | None = None
    """What to do with the answers to a prompt where the teacher ranks them against their temporal IoU (num_answers
    above 1). `mask`: learn nothing from them. `shift`: move their advantages by the least that puts them in order."""
    prefix_cut: Flag = False
    """Stop supervising an answer where the teacher ceases to prefer any of what the student might say next; for long,
    thinking answers."""
    ablation: AblationName | None = None
    """Spoil the teacher's signal on purpose, to see whether the gain vanishes as it should."""
    ablation_strength: NotNegative = 1.0
    """`early`: nats by which the teacher prefers a digit to the next higher one."""

    @model_validator(mode="after")
    def _parts_fit(self) -> OnPolicyDistillationSettings:
        if self.ablation == "noise" and self.estimator != "sampled":
            raise ValueError(
                "method.ablation = noise replaces the advantage of sampled tokens; use estimator = sampled"
            )
        if self.ablation == "noise" and self.prefix_cut:
            raise ValueError(
                "method.prefix_cut looks at whole distributions, and ablation = noise leaves them as they are"
            )
        _require_an_advantage(self.estimator, self.advantage_clamp)
        _require_a_ratio(self.estimator, self.ratio_cap)
        if self.outcome_check is not None and self.num_answers < 2:
            raise ValueError(
                f"method.outcome_check = {self.outcome_check} compares the answers to one prompt, and it has one; "
                "give method.num_answers of at least 2, such as 4"
            )
        if self.outcome_check == "shift" and self.estimator == "exact":
            raise ValueError(
                "method.outcome_check = shift moves the advantage of sampled tokens, and estimator = exact has none"
            )
        if self.outcome_check == "shift" and self.advantage_clamp is not None:
            raise ValueError(
                "method.outcome_check = shift puts advantages in an order that advantage_clamp would disturb"
            )
        return self


class AnnotationSettings(Settings):
    """Methods that train on annotated answers."""

    writes_annotations: ClassVar[bool] = True

    answer: str | None = None
    """The annotated answer in words, with {start}, {end} and {seen}; not set: as the prompt's template has it."""


class OffPolicyReverseSettings(AnnotationSettings):
    """OP-RKD, the paper's appendix C.1: the advantage and the update of `opd` on annotated answers."""

    needs_teacher: ClassVar[bool] = True

    name: Literal["op-rkd"]
    """The method."""
    estimator: Literal["sampled", "exact"] = "sampled"
    """`sampled`: the advantage of the annotated token, as in the paper. `exact`: the reverse KL over the vocabulary.
    (No baseline: the student did not draw these tokens, so subtracting one would change the expected gradient.)"""
    advantage_clamp: MoreThanZero | None = Field(
        default=None, validation_alias=AliasChoices("advantage_clamp", "credit_clamp")
    )
    """Bound on a token's advantage in nats; none by default."""
    ratio_cap: MoreThanOne | None = None
    """Bound on the ratio of an annotated token's probability to what it was before the batch's first update (with
    training.updates_per_batch above 1), such as 2. None by default; the largest ratio is logged."""

    @model_validator(mode="after")
    def _parts_fit(self) -> OffPolicyReverseSettings:
        _require_an_advantage(self.estimator, self.advantage_clamp)
        _require_a_ratio(self.estimator, self.ratio_cap)
        return self


class OffPolicyForwardSettings(AnnotationSettings):
    """OP-FKD, the paper's appendix C.2: the forward KL over the vocabulary on annotated answers."""

    needs_teacher: ClassVar[bool] = True

    name: Literal["op-fkd"]
    """The method."""


class SupervisedSettings(AnnotationSettings):
    """Cross-entropy on annotated answers."""

    needs_teacher: ClassVar[bool] = False

    name: Literal["sft"]
    """The method."""


class RewardSettings(Settings):
    """What an answer earns for the span it names."""

    reward: RewardName = "iou"
    """`iou`: temporal IoU. `timestamp-iou`: Time-R1's, which also falls with the error of each end."""
    form_weight: NotNegative = 0.0
    """What an answer earns besides for having the form its template asks for; 0: nothing."""


class GRPOSettings(RewardSettings):
    """GRPO: the student writes a group, and an answer is worth what its reward is above the group's."""

    needs_teacher: ClassVar[bool] = False
    writes_annotations: ClassVar[bool] = False

    name: Literal["grpo"]
    """The method."""
    num_answers: Positive = 8
    """Answers a prompt, all from one reading."""
    divide_by_std: Flag = True
    """Divide a group's advantage by its standard deviation."""
    clip: MoreThanZero = 0.2
    """How far the importance ratio may move from 1 (with training.updates_per_batch above 1)."""
    clip_higher: MoreThanZero | None = None
    """How far it may move upwards, such as DAPO's 0.28, so that improbable tokens may gain more; not set: as `clip`."""
    mask_truncated: Flag = False
    """Learn nothing from answers that the length limit cut off (DAPO's overlong filtering). They are neither in the
    loss nor in the number of tokens it is divided by; their rewards still count in the mean of their group."""
    reference_weight: NotNegative = 0.0
    """Of the KL to the student as it was at the start; 0: no reference is loaded."""

    @model_validator(mode="after")
    def _parts_fit(self) -> GRPOSettings:
        _require_a_group(self.name, self.num_answers)
        if self.clip_higher is not None and self.clip_higher < self.clip:
            raise ValueError(
                f"method.clip_higher = {self.clip_higher} is below method.clip = {self.clip}: it is to leave more room "
                "upwards than downwards; leave it out, or give at least that much, such as 0.28 with a clip of 0.2"
            )
        return self


class MixtureSettings(RewardSettings):
    """The advantage of `opd` and a task reward, the second brought to the size of the first."""

    needs_teacher: ClassVar[bool] = True
    writes_annotations: ClassVar[bool] = False

    name: Literal["mixture"]
    """The method."""
    num_answers: Positive = 8
    """Answers a prompt, all from one reading."""
    estimator: Literal["sampled"] = "sampled"
    """Only the sampled estimator has an advantage that a reward could be added to."""
    weight: NotNegative = 1.0
    """Of the task's advantage against the teacher's; 0: pure distillation."""
    least_size: NotNegative = 0.1
    """Nats a token below which the task's advantage does not shrink along with the teacher's, so that a student that
    has come to agree with its teacher still hears the annotation."""
    advantage_clamp: MoreThanZero | None = Field(
        default=None, validation_alias=AliasChoices("advantage_clamp", "credit_clamp")
    )
    """Bound on a token's advantage in nats before the reward is added; none by default."""
    ratio_cap: MoreThanOne | None = None
    """Bound on a token's importance ratio (with training.updates_per_batch above 1), such as 2: truncated importance
    sampling, under which every token keeps a gradient. None by default; the largest ratio is logged."""

    @model_validator(mode="after")
    def _a_group(self) -> MixtureSettings:
        _require_a_group(self.name, self.num_answers)
        return self


def _require_an_advantage(estimator: str, advantage_clamp: float | None) -> None:
    if estimator == "exact" and advantage_clamp is not None:
        raise ValueError(
            "method.advantage_clamp bounds the advantage of sampled tokens, and estimator = exact has none"
        )


def _require_a_ratio(estimator: str, ratio_cap: float | None) -> None:
    if estimator == "exact" and ratio_cap is not None:
        raise ValueError("method.ratio_cap bounds the ratio of sampled tokens, and estimator = exact has none")


def _require_a_group(name: str, num_answers: int) -> None:
    if num_answers < 2:
        raise ValueError(
            f"method.num_answers = {num_answers} with {name}: a reward is compared with those of the same prompt's "
            "other answers, and a group of one is always worth its own mean; give at least 2, such as 8"
        )


METHODS = (
    OnPolicyDistillationSettings,
    OffPolicyReverseSettings,
    OffPolicyForwardSettings,
    SupervisedSettings,
    GRPOSettings,
    MixtureSettings,
)

MethodSettings = Annotated[
    OnPolicyDistillationSettings
    | OffPolicyReverseSettings
    | OffPolicyForwardSettings
    | SupervisedSettings
    | GRPOSettings
    | MixtureSettings,
    Field(discriminator="name"),
]
