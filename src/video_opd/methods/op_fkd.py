"""OP-FKD: learn the teacher's whole distribution on annotated answers by the forward KL (Video-OPD, appendix C.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from video_opd import objectives
from video_opd.methods import Method, MethodParts
from video_opd.methods.divergence import DivergenceDistillation
from video_opd.methods.writers import AnnotationSettings


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
        return DivergenceDistillation(
            write=self.make_annotation_writer(parts), teacher=parts.teacher, divergence=objectives.forward_kl
        )
