"""What to train on next: signals in, ordered ids out. Pure; no torch, no models, no files."""

from video_opd.curriculum.coupling import ANCHOR, FRONTIER, CandidateRule, Coupling, candidates
from video_opd.curriculum.racing import Race, RaceRule
from video_opd.curriculum.rounds import RoundPlan
from video_opd.curriculum.rules import Disagreement, Reliability, SelectionRule
from video_opd.curriculum.selection import Selection, Verdict, select
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
    "Coupling",
    "Difficulty",
    "Disagreement",
    "Profile",
    "Race",
    "RaceRule",
    "Reliability",
    "RoundPlan",
    "ScoredAnswer",
    "ScoredExample",
    "Selection",
    "SelectionRule",
    "Strategy",
    "Verdict",
    "candidates",
    "error_variance",
    "needs_gap",
    "needs_student",
    "profile",
    "reliability_of_gap",
    "select",
    "split_half_reliability",
]
