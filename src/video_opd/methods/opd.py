"""Video-OPD, section 3.1 (arXiv 2602.02994): the student writes, a frozen teacher judges token by token, and the gap is
each token's advantage. Its exact form is the reverse KL of every state that the student visited.

Two parts of GKD (arXiv 2306.13649) are options: another divergence of whole distributions, and annotated answers in
place of some of the student's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import AliasChoices, Field, model_validator

from video_opd import objectives
from video_opd.methods import Method, MethodParts, Writer
from video_opd.methods.writers import AnnotatedAnswerSettings, MixedWrites
from video_opd.settings import Flag, MoreThanOne, MoreThanZero, NotNegative, Positive, Settings, Share
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores

if TYPE_CHECKING:
    from torch import Tensor

    from video_opd.methods.teachers import Teacher

Estimator = Literal["sampled", "baseline", "exact"]
Divergence = Literal["reverse-kl", "forward-kl", "jsd"]
AblationName = Literal["shuffled", "noise", "early", "blind"]


class BoundSettings(Settings):
    """Settings of the methods that bound the advantage and the importance ratio of a token."""

    advantage_clamp: MoreThanZero | None = Field(
        default=None, validation_alias=AliasChoices("advantage_clamp", "credit_clamp")
    )
    """Bound on a token's advantage, in nats, before a reward is added. There is none by default. The share of clamped
    tokens is logged."""
    ratio_cap: MoreThanOne | None = None
    """Bound on a token's importance ratio, such as 2 (with training.updates_per_batch above 1). The ratio is the
    token's probability divided by its probability before the batch's first update. This is truncated importance
    sampling: every token keeps a gradient. There is none by default. The largest ratio is logged."""

    def refuse_bounds_of(self, estimator: Estimator) -> None:
        """Refuse bounds that have no effect with the estimator.

        Raises:
            ValueError: names the key.
        """
        if estimator == "exact" and self.advantage_clamp is not None:
            raise ValueError(
                "method.advantage_clamp bounds the advantage of sampled tokens, and estimator = exact has none"
            )
        if estimator == "exact" and self.ratio_cap is not None:
            raise ValueError("method.ratio_cap bounds the ratio of sampled tokens, and estimator = exact has none")


class OnPolicyDistillationSettings(BoundSettings, AnnotatedAnswerSettings):
    """Video-OPD: the student writes, the teacher judges token by token."""

    needs_teacher: ClassVar[bool] = True

    name: Literal["opd"] = "opd"
    """The method."""
    estimator: Estimator = "sampled"
    """`sampled`: the paper's advantage of the sampled token. `baseline`: the same minus its expectation in that state.
    `exact`: the full reverse KL of every visited state."""
    divergence: Divergence | None = None
    """What a token costs with estimator = exact, over the whole vocabulary. `reverse-kl`: KL(student || teacher).
    `forward-kl`: KL(teacher || student). `jsd`: GKD's generalised Jensen-Shannon divergence (method.beta). Not set:
    `reverse-kl`, which all estimators estimate."""
    beta: Share | None = None
    """Of the divergence jsd: the weight of the teacher in the mixture, between 0 and 1. Near 0 the divergence is like
    the forward KL, near 1 like the reverse KL, but small. Not set: 0.5."""
    own_share: Share | None = None
    """Share of the prompts that the student answers, GKD's lambda: 1 is on policy, 0 is off policy. The others are
    answered by their annotation. It is drawn for every example at every step. Not set: 1."""
    num_answers: Positive = 1
    """Number of answers to each prompt, all from one reading."""
    outcome_check: Literal["mask", "shift"] | None = None
    """What to do with the answers to a prompt if the teacher's ranking contradicts their temporal IoU (num_answers
    above 1). `mask`: learn nothing from them. `shift`: change their advantages as little as possible to correct the
    order."""
    prefix_cut: Flag = False
    """Stop supervising an answer at the point where the teacher no longer prefers any of the student's next tokens; for
    long answers with thinking."""
    ablation: AblationName | None = None
    """Corrupt the teacher's signal on purpose, to check that the gain then disappears."""
    ablation_strength: NotNegative = 1.0
    """`early`: nats by which the teacher prefers a digit to the next higher one."""

    @model_validator(mode="after")
    def _require_fitting_parts(self) -> OnPolicyDistillationSettings:
        if self.ablation == "noise" and self.estimator != "sampled":
            raise ValueError(
                "method.ablation = noise replaces the advantage of sampled tokens; use estimator = sampled"
            )
        if self.ablation == "noise" and self.prefix_cut:
            raise ValueError("method.prefix_cut uses whole distributions, and ablation = noise does not change them")
        self.refuse_bounds_of(self.estimator)
        self._refuse_unfit_divergence()
        self._refuse_unfit_mix()
        if self.outcome_check is not None and self.num_answers < 2:
            raise ValueError(
                f"method.outcome_check = {self.outcome_check} compares several answers to one prompt, and each prompt "
                "has only one; give method.num_answers of at least 2, such as 4"
            )
        if self.outcome_check == "shift" and self.estimator == "exact":
            raise ValueError(
                "method.outcome_check = shift moves the advantage of sampled tokens, and estimator = exact has none"
            )
        if self.outcome_check == "shift" and self.advantage_clamp is not None:
            raise ValueError(
                "method.outcome_check = shift puts advantages into an order, and advantage_clamp would change it"
            )
        return self

    def _refuse_unfit_divergence(self) -> None:
        if self.divergence in ("forward-kl", "jsd") and self.estimator != "exact":
            raise ValueError(
                f"method.divergence = {self.divergence} needs whole distributions; use estimator = exact (the other "
                "estimators are of the reverse KL)"
            )
        if self.beta is None:
            return
        if self.divergence != "jsd":
            raise ValueError("method.beta belongs to divergence = jsd; leave it out, or set that divergence")
        if self.beta in (0, 1):
            limit = "forward-kl" if self.beta == 0 else "reverse-kl"
            raise ValueError(
                f"method.beta = {self.beta:g}: the generalised JSD is 0 there for all distributions, so it teaches "
                f"nothing; use divergence = {limit}, which other programs compute for this value"
            )

    def _refuse_unfit_mix(self) -> None:
        if not self.has_annotations:
            if self.answer is not None:
                raise ValueError(
                    "method.answer is the form of annotated answers, and the student writes all of them; leave it out, "
                    "or set own_share below 1"
                )
            return
        share = f"method.own_share = {self.own_share:g}"
        if self.num_answers > 1:
            raise ValueError(f"{share} gives some prompts their annotation, which is one answer; use num_answers = 1")
        if self.estimator == "baseline":
            raise ValueError(
                f"{share} with estimator = baseline: the student did not draw the annotated tokens, so a baseline "
                "would change the expected gradient; use sampled or exact"
            )
        if self.ablation == "noise":
            raise ValueError(
                f"{share} with ablation = noise: the noise is added to the log-probs of the sampler, and annotated "
                "answers have none; use another ablation"
            )

    @property
    def has_annotations(self) -> bool:
        """Whether some answers may be annotated ones."""
        return self.own_share is not None and self.own_share < 1

    @property
    def needs_distribution(self) -> bool:
        """Where the estimator or the prefix cut computes them."""
        return self.prefix_cut or self.estimator != "sampled"

    def build(self, parts: MethodParts) -> Method:
        """Make the distillation, with the wrappers that the settings ask for."""
        from video_opd.methods.ablation import SpoiledTeacher
        from video_opd.methods.outcome_check import OutcomeChecked
        from video_opd.methods.prefix_cut import PrefixCut
        from video_opd.methods.rewards import TaskReward

        method = self._build_distillation(parts)
        if self.ablation is not None:
            method = SpoiledTeacher(
                method=method, teacher=parts.teacher, kind=self.ablation, strength=self.ablation_strength
            )
        if self.prefix_cut:
            method = PrefixCut(method=method)
        if self.outcome_check is not None:  # last: it uses the tokens that are still supervised
            method = OutcomeChecked(
                method=method, reward=TaskReward(), remedy=self.outcome_check, ratio_cap=self.ratio_cap
            )
        return method

    def _build_distillation(self, parts: MethodParts) -> Method:
        """The distillation without its wrappers."""
        from video_opd.methods.divergence import DivergenceDistillation

        own = parts.student_writes(self.num_answers)
        write: Writer = own
        if self.own_share is not None and self.has_annotations:
            write = MixedWrites(own=own, annotation=self.make_annotation_writer(parts), own_share=self.own_share)
        if self.divergence in ("forward-kl", "jsd"):
            jsd = partial(objectives.generalised_jsd, beta=0.5 if self.beta is None else self.beta)
            chosen = jsd if self.divergence == "jsd" else objectives.forward_kl
            return DivergenceDistillation(write=write, teacher=parts.teacher, divergence=chosen)
        return ReverseKLDistillation(
            write=write,
            teacher=parts.teacher,
            estimator=self.estimator,
            advantage_clamp=self.advantage_clamp,
            ratio_cap=self.ratio_cap,
            in_full=self.prefix_cut,
        )


@dataclass(frozen=True, kw_only=True)
class ReverseKLDistillation:
    """Who writes: the given writer. Who judges: the teacher. What a token costs: the reverse KL, sampled or exact."""

    write: Writer
    teacher: Teacher
    estimator: Estimator = "sampled"
    """`sampled`: the advantage of the token that was written. `baseline`: the same minus its expectation in that state.
    `exact`: the reverse KL over the whole distribution."""
    advantage_clamp: float | None = None
    ratio_cap: float | None = None
    """Bound on the importance ratio of a token, above 1; None: no bound."""
    in_full: bool = False
    """Compute whole distributions even if the estimator does not need them."""

    @property
    def needs_distribution(self) -> bool:
        """Whether the whole distributions of student and teacher are needed at every answer position."""
        return self.in_full or self.estimator != "sampled"

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """Ask the teacher, which reads the same prompts and scores the same tokens; it never writes."""
        return Judgement(teacher=self.teacher(prompts, groups, distribution=self.needs_distribution))

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Compute the policy gradient of the advantage, or the full reverse KL of every state.

        Args:
            learner: the learner's scores of the answers' tokens, with gradient.
            behaviour_logprobs: (B, T), the learner's own before its first update on this batch.
            judgement: the teacher's scores of the same tokens.
        """
        assert judgement.teacher is not None
        advantage = objectives.sampled_advantage(behaviour_logprobs, judgement.teacher.logprobs)
        if self.estimator == "sampled":
            return self.bounded_policy_gradient(
                learner, behaviour_logprobs, *objectives.clamp_advantage(advantage, self.advantage_clamp)
            )
        assert learner.distribution is not None
        assert judgement.teacher.distribution is not None
        if self.estimator == "baseline":
            advantage = advantage - objectives.state_baseline(learner.distribution, judgement.teacher.distribution)
            return self.bounded_policy_gradient(
                learner, behaviour_logprobs, *objectives.clamp_advantage(advantage, self.advantage_clamp)
            )
        loss = objectives.reverse_kl(learner.distribution, judgement.teacher.distribution)
        return TokenLosses(loss=loss, advantage=advantage, clamped=advantage.new_zeros(advantage.shape))

    def bounded_policy_gradient(
        self, learner: TokenScores, behaviour_logprobs: Tensor, advantage: Tensor, clamped: Tensor
    ) -> TokenLosses:
        """Compute the policy gradient of an advantage, with the bound on the importance ratio.

        On annotated answers the ratio does not correct for the writer. It compares the student with itself before its
        first update on the batch, from which the advantage comes. The paper uses this ratio there too.

        Args:
            learner: the learner's scores of the answers' tokens, with gradient.
            behaviour_logprobs: (B, T), the learner's own before its first update on this batch.
            advantage: (B, T), the advantage of every token.
            clamped: (B, T), 1 where the advantage was clamped.
        """
        loss = objectives.policy_gradient(learner.logprobs, behaviour_logprobs, advantage, self.ratio_cap)
        ratio = objectives.importance_ratio(learner.logprobs, behaviour_logprobs)
        if self.ratio_cap is None:
            return TokenLosses(loss=loss, advantage=advantage, clamped=clamped, ratio=ratio)
        bounded = (ratio > self.ratio_cap).to(clamped.dtype)
        return TokenLosses(
            loss=loss, advantage=advantage, clamped=clamped.maximum(bounded), ratio=ratio, ratio_bounded=bounded
        )
