"""What to train on next: signals in, ordered ids out; and the files of scores and selections. No torch, no models."""

from video_opd.curriculum.choose import Choice, choose, choose_candidates
from video_opd.curriculum.coupling import ANCHOR, FRONTIER, CandidateRule, Coupling, candidates
from video_opd.curriculum.racing import Race, RaceRule
from video_opd.curriculum.round_plan import RoundPlan
from video_opd.curriculum.score_file import ScoreFile, ScoreHeader, read_scores, write_scores
from video_opd.curriculum.selection import Selection, Verdict, select
from video_opd.curriculum.selection_file import read_selection, write_selection
from video_opd.curriculum.selection_rule import Disagreement, Reliability, SelectionRule
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
from video_opd.curriculum.strategies import STRATEGIES, Difficulty, Strategy, needs_gap, needs_student

__all__ = [
    "ANCHOR",
    "FRONTIER",
    "MOSTLY_NOISE",
    "STRATEGIES",
    "CandidateRule",
    "Choice",
    "Coupling",
    "Difficulty",
    "Disagreement",
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
    "Verdict",
    "candidates",
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
    "split_half_reliability",
    "write_scores",
    "write_selection",
]
