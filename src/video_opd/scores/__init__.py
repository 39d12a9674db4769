"""Scores and selections as files, and the way from the one to the other. No torch."""

from video_opd.scores.choosing import Choice, choose, choose_candidates
from video_opd.scores.score_file import ScoreFile, ScoreHeader, read_scores, write_scores
from video_opd.scores.selection_file import read_selection, write_selection

__all__ = [
    "Choice",
    "ScoreFile",
    "ScoreHeader",
    "choose",
    "choose_candidates",
    "read_scores",
    "read_selection",
    "write_scores",
    "write_selection",
]
