"""What each command does. Heavy imports happen inside, so that a command pays only for what it uses."""

from __future__ import annotations

from video_opd.commands.answering import evaluate, ground
from video_opd.commands.arranging import data_merge, data_overlap, data_sample, data_split, data_stats
from video_opd.commands.choosing import merge_scores, score, select
from video_opd.commands.data import data_check, tiny_world_build
from video_opd.commands.importing import data_import
from video_opd.commands.looking import metrics, report
from video_opd.commands.training import compare, demo, doctor, train

__all__ = [
    "compare",
    "data_check",
    "data_import",
    "data_merge",
    "data_overlap",
    "data_sample",
    "data_split",
    "data_stats",
    "demo",
    "doctor",
    "evaluate",
    "ground",
    "merge_scores",
    "metrics",
    "report",
    "score",
    "select",
    "tiny_world_build",
    "train",
]
