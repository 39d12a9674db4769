"""OP-RKD, the off-policy baseline of Video-OPD's appendix C.1: the advantage and the update of `opd` on annotated
answers, which the student did not write."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from video_opd.methods import Method, MethodParts
from video_opd.methods.opd import BoundSettings, ReverseKLDistillation
from video_opd.methods.writers import AnnotationSettings


class OffPolicyReverseSettings(BoundSettings, AnnotationSettings):
    """OP-RKD, the paper's appendix C.1: the advantage and the update of `opd` on annotated answers."""

    needs_teacher: ClassVar[bool] = True

    name: Literal["op-rkd"]
    """The method."""
    estimator: Literal["sampled", "exact"] = "sampled"
    """`sampled`: the advantage of the annotated token, as in the paper. `exact`: the reverse KL over the vocabulary.
    (No baseline: the student did not draw these tokens, so subtracting one would change the expected gradient.)"""

    @model_validator(mode="after")
    def _require_fitting_parts(self) -> OffPolicyReverseSettings:
        self.refuse_bounds_of(self.estimator)
        return self

    def build(self, parts: MethodParts) -> Method:
        """Make the distillation of `opd` with the annotations as the writer."""
        return ReverseKLDistillation(
            write=self.make_annotation_writer(parts),
            teacher=parts.teacher,
            estimator=self.estimator,
            advantage_clamp=self.advantage_clamp,
            ratio_cap=self.ratio_cap,
        )
