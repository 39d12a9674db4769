"""How to choose, as a recipe or a command line says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from video_opd.curriculum.strategies import Difficulty, Strategy, needs_gap, needs_student

Reliability = Literal["annotation", "agreement"]
Disagreement = Literal["iou", "reverse-kl", "reverse-kl-per-token"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionRule:
    """How to choose."""

    strategy: Strategy
    count: int
    threshold: float | None = 0.7
    reliability: Reliability = "annotation"
    """What is held against the threshold: the teacher's mean IoU with the annotation, or with itself."""
    disagreement: Disagreement = "iou"
    """What a ranking ranks by: the gap in IoU (appendix B), or the reverse KL along the student's own sampled answers
    (section 3.2), summed or per token."""
    difficulty: Difficulty | None = None

    @property
    def ranks_by_gap_in_iou(self) -> bool:
        """Whether luck in single answers decides who is chosen."""
        return needs_gap(self.strategy) and self.disagreement == "iou"

    @property
    def ranks_by_reverse_kl(self) -> bool:
        """Whether the student's answers must be judged by the teacher too."""
        return needs_gap(self.strategy) and self.disagreement != "iou"

    @property
    def asks_teacher(self) -> bool:
        """Whether the teacher must answer: for the filter, or for the gap."""
        return self.threshold is not None or self.ranks_by_gap_in_iou

    @property
    def asks_student(self) -> bool:
        """Whether the student must answer."""
        return self.ranks_by_reverse_kl or needs_student(self.strategy)
