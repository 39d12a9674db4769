"""OP-FKD: learn the teacher's whole distribution on annotated answers by the forward KL (Video-OPD, appendix C.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from video_opd import objectives
from video_opd.methods import Method, MethodParts, Writer
from video_opd.methods.writers import AnnotationSettings
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores

if TYPE_CHECKING:
    from torch import Tensor

    from video_opd.methods.teachers import Teacher


class OffPolicyForwardSettings(AnnotationSettings):
    """OP-FKD, the paper's appendix C.2: the forward KL over the vocabulary on annotated answers."""

    needs_teacher: ClassVar[bool] = True

    name: Literal["op-fkd"]
    """The method."""

    @property
    def needs_distribution(self) -> bool:
        """Always: the forward KL is one of whole distributions."""
        return True

    def build(self, parts: MethodParts) -> Method:
        """Make the distillation with the annotations as the writer."""
        return ForwardKLDistillation(write=self.make_annotation_writer(parts), teacher=parts.teacher)


@dataclass(frozen=True, kw_only=True)
class ForwardKLDistillation:
    """Who writes: the annotation. Who judges: the teacher's whole distribution. What a token costs: the forward KL."""

    write: Writer
    teacher: Teacher
    needs_distribution: bool = True

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """Ask the teacher about every token of the vocabulary at every position of the annotated answers."""
        return Judgement(teacher=self.teacher(prompts, groups, distribution=True))

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Compute the forward KL of every annotated state; the advantage is only recorded."""
        assert judgement.teacher is not None
        assert learner.distribution is not None
        assert judgement.teacher.distribution is not None
        advantage = objectives.sampled_advantage(behaviour_logprobs, judgement.teacher.logprobs)
        loss = objectives.forward_kl(learner.distribution, judgement.teacher.distribution)
        return TokenLosses(loss=loss, advantage=advantage, clamped=advantage.new_zeros(advantage.shape))
