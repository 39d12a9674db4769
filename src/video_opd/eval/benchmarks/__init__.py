"""General video understanding, to see what grounding cost elsewhere: three public benchmarks, from local copies."""

from __future__ import annotations

from video_opd.eval.benchmarks._question import Benchmark, Option, Question, Rating, Rule, first_of_each
from video_opd.eval.benchmarks.mvbench import MVBENCH
from video_opd.eval.benchmarks.tempcompass import TEMPCOMPASS
from video_opd.eval.benchmarks.video_mme import VIDEO_MME

__all__ = ["BENCHMARKS", "Benchmark", "Option", "Question", "Rating", "Rule", "first_of_each"]

BENCHMARKS = {"tempcompass": TEMPCOMPASS, "mvbench": MVBENCH, "video-mme": VIDEO_MME}
"""By the name they are asked for."""
