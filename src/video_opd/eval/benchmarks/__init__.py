"""General video understanding, to see what grounding cost elsewhere: public benchmarks, from local copies.

A benchmark is a file of this folder and a line in `BENCHMARKS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from video_opd.lazy import import_on_use
from video_opd.plugin_table import PluginTable

if TYPE_CHECKING:
    from video_opd.eval.benchmarks._question import Benchmark, Option, Question, Rating, RatingRule, take_first_of_each

__all__ = ["BENCHMARKS", "Benchmark", "Option", "Question", "Rating", "RatingRule", "take_first_of_each"]

BENCHMARKS: PluginTable[Benchmark] = PluginTable(
    "a benchmark",
    __name__,
    {"tempcompass": "tempcompass.TEMPCOMPASS", "mvbench": "mvbench.MVBENCH", "video-mme": "video_mme.VIDEO_MME"},
)
"""Name, as `evaluate --benchmark` takes it, -> the benchmark."""

__getattr__ = import_on_use(__name__, ("_question",), __all__)
