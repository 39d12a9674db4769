"""The rule for choosing, as given in a recipe or on a command line."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from video_opd.settings import Flag, Flagged, MoreThanZero, Positive, Settings, Share

Strategy = Literal["top-k", "dsus", "bbds", "gwds", "difficulty", "half-and-half", "random"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

Reliability = Literal["annotation", "agreement"]
Disagreement = Literal["iou", "reverse-kl", "reverse-kl-per-token"]


class SelectionRule(Settings):
    """How to choose: the table of the curricula in rounds, and the flags of `video-opd select`."""

    count: Positive
    """Number of examples to select, in each round of a run. If training.steps is not set, a round is one epoch over
    them."""
    strategy: Strategy = "random"
    """How to choose among the examples on which the teacher is reliable (docs/CURRICULUM.md has the results of
    each)."""
    threshold: Share = 0.7
    """Examples with a lower reliability of the teacher are left out; 0: no example is left out."""
    reliability: Reliability = "annotation"
    """The value compared with the threshold: the teacher's mean IoU with the annotation, or the agreement of its
    answers with one another, which needs no annotation."""
    disagreement: Disagreement = "iou"
    """The value for ranking: the gap in IoU, or the reverse KL along the student's answers, summed or per token."""
    difficulty_mean: Annotated[Share, Flagged("mean")] = 0.3
    """For strategy `difficulty`: the student's IoU that is drawn most often (the paper's eqs. 30-31)."""
    difficulty_std: Annotated[MoreThanZero, Flagged("std")] = 0.2
    """For strategy `difficulty`: the spread of the student's IoUs that are drawn."""
    density_corrected: Flag = False
    """Of strategy `difficulty`: weights divided by how many examples have such an IoU, as TimeLens draws (its own mean
    is 0.05)."""

    @property
    def is_ranked_by_iou_gap(self) -> bool:
        """Whether the choice depends on the chance of single answers."""
        return needs_gap(self.strategy) and self.disagreement == "iou"

    @property
    def is_ranked_by_reverse_kl(self) -> bool:
        """Whether the teacher must also judge the student's answers."""
        return needs_gap(self.strategy) and self.disagreement != "iou"

    @property
    def is_teacher_asked(self) -> bool:
        """Whether the teacher must answer: for the filter, or for the gap."""
        return bool(self.threshold) or self.is_ranked_by_iou_gap

    @property
    def is_student_asked(self) -> bool:
        """Whether the student must answer."""
        return self.is_ranked_by_reverse_kl or needs_student(self.strategy)


def needs_student(strategy: Strategy, *, has_disagreement: bool = False) -> bool:
    """Whether a strategy looks at the student's IoUs."""
    return strategy == "difficulty" or (strategy != "random" and not has_disagreement)


def needs_gap(strategy: Strategy) -> bool:
    """Whether a strategy ranks by a gap between teacher and student."""
    return strategy not in ("difficulty", "random")
