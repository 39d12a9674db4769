"""Choose what to train on next: from signals to ordered ids; and the files of scores and selections. Without torch.

A module is imported when the first of its names is used: a recipe and `--help` read the rules alone.
"""

from typing import TYPE_CHECKING

from video_opd.lazy import import_on_use

if TYPE_CHECKING:
    from video_opd.curriculum.choice import Choice, choose, choose_candidates
    from video_opd.curriculum.coupling import (
        ANCHOR,
        FRONTIER,
        CandidateRule,
        Coupling,
        SuspensionRule,
        select_candidates,
    )
    from video_opd.curriculum.front_loading import FrontLoadingRule, spread_candidates
    from video_opd.curriculum.racing import Race, RaceRule
    from video_opd.curriculum.round_plan import RoundPlan
    from video_opd.curriculum.score_file import ScoreFile, ScoreHeader, read_scores, write_scores
    from video_opd.curriculum.selection import Selection, Verdict, select
    from video_opd.curriculum.selection_file import read_selection, write_selection
    from video_opd.curriculum.selection_rule import (
        STRATEGIES,
        Disagreement,
        Reliability,
        SelectionRule,
        Strategy,
        needs_gap,
        needs_student,
    )
    from video_opd.curriculum.signals import (
        MOSTLY_NOISE,
        Profile,
        ScoredAnswer,
        ScoredExample,
        error_variance,
        profile,
        reliability_of_gap,
        split_half_reliability,
    )

__all__ = [
    "ANCHOR",
    "FRONTIER",
    "MOSTLY_NOISE",
    "STRATEGIES",
    "CandidateRule",
    "Choice",
    "Coupling",
    "Disagreement",
    "FrontLoadingRule",
    "Profile",
    "Race",
    "RaceRule",
    "Reliability",
    "RoundPlan",
    "ScoreFile",
    "ScoreHeader",
    "ScoredAnswer",
    "ScoredExample",
    "Selection",
    "SelectionRule",
    "Strategy",
    "SuspensionRule",
    "Verdict",
    "choose",
    "choose_candidates",
    "error_variance",
    "needs_gap",
    "needs_student",
    "profile",
    "read_scores",
    "read_selection",
    "reliability_of_gap",
    "select",
    "select_candidates",
    "split_half_reliability",
    "spread_candidates",
    "write_scores",
    "write_selection",
]

__getattr__ = import_on_use(
    __name__,
    (
        "selection_rule",
        "racing",
        "coupling",
        "front_loading",
        "round_plan",
        "selection",
        "signals",
        "score_file",
        "selection_file",
        "choice",
    ),
    __all__,
)
