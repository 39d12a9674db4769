"""Scores by the rules of the field's own scorers, and the formats of their result files.

Our own rule is `grounding.score`; it is called `ours` and is not in the table. Nothing here imports torch; the tables
themselves import nothing, so that `--help` can list them.

A scorer is a file of this folder and a line in `SCORERS`. A format of result files is a `ResultFormat` in a file of
this folder and a line in `RESULT_FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, overload

from video_opd.lazy import import_on_use
from video_opd.plugin_table import PluginTable, require_function, require_name

if TYPE_CHECKING:
    from video_opd.eval.scorers._ground_truth import read_ground_truth
    from video_opd.eval.scorers._matching import find_unit_evidence, read_matched, read_with_truth, require_matched
    from video_opd.eval.scorers._paired_comparison import compare, explain_too_few
    from video_opd.eval.scorers._result_rows import ResultFormat
    from video_opd.eval.scorers._score_as import score_as
    from video_opd.eval.scorers._scored_files import ScoredFile, score_files
    from video_opd.eval.scorers._scorer_types import (
        Answers,
        Convention,
        GroundTruth,
        OfficialScores,
        ResultAnswer,
        Scorer,
    )

__all__ = [
    "RESULT_FORMATS",
    "SCORERS",
    "Answers",
    "Convention",
    "GroundTruth",
    "OfficialScores",
    "ResultAnswer",
    "ResultFormat",
    "ScoredFile",
    "Scorer",
    "compare",
    "explain_too_few",
    "find_unit_evidence",
    "read_ground_truth",
    "read_matched",
    "read_with_truth",
    "register_scorer",
    "require_matched",
    "score_as",
    "score_files",
]

SCORERS: PluginTable[Scorer] = PluginTable(
    "a scorer",
    __name__,
    {
        "timelens": "timelens.score_timelens",
        "lmms-eval-timelens": "timelens.score_lmms_eval",
        "lmms-eval-charades": "timelens.score_lmms_eval_charades",
        "time-r1": "time_r1.score_time_r1",
        "timelens2": "timelens2.score_timelens2",
        "qvhighlights": "qvhighlights.score_qvhighlights",
        "ego4d-nlq": "ego4d_nlq.score_ego4d_nlq",
        "vue-tr": "vue_tr.score_vue_tr",
        "timechat": "timechat.score_timechat",
        "museg": "museg.score_museg",
        "et-bench": "et_bench.score_et_bench",
        "nextgqa": "nextgqa.score_nextgqa",
        "cg-bench": "cg_bench.score_cg_bench",
        "charades-cg": "cg_splits.score_cg_splits",
        "activitynet-cg": "cg_splits.score_cg_splits",
        "didemo": "didemo.score_didemo",
        "hirest": "hirest.score_hirest",
    },
    reserved=("ours",),
)
"""Name, as `metrics --as` takes it, -> the scorer."""

RESULT_FORMATS: PluginTable[ResultFormat] = PluginTable(
    "a format of result files",
    __name__,
    {
        "ours": "_submissions.OURS",
        "timelens": "_submissions.TIMELENS",
        "lmms-eval": "_submissions.LMMS_EVAL",
        "qvhighlights": "_submissions.QVHIGHLIGHTS",
        "vue-tr": "_submissions.VUE_TR",
        "ego4d-nlq": "_submissions.EGO4D_NLQ",
        "time-r1": "_logs.TIME_R1",
        "timechat": "_logs.TIMECHAT",
        "trace": "_logs.TRACE",
        "museg": "_logs.MUSEG",
        "vtimellm": "_logs.VTIMELLM",
        "videochat-r1": "_logs.VIDEOCHAT_R1",
        "videomind": "_logs.VIDEOMIND",
        "unitime": "_logs.UNITIME",
        "et-bench": "_benchmark_results.ET_BENCH",
        "nextgqa": "_benchmark_results.NEXTGQA",
        "hirest": "_benchmark_results.HIREST",
    },
)
"""Name, as `metrics --format` takes it, -> the format."""

__getattr__ = import_on_use(
    __name__,
    ("_scorer_types", "_result_rows", "_ground_truth", "_matching", "_score_as", "_paired_comparison", "_scored_files"),
    __all__,
)


@overload
def register_scorer(name: str, score: Scorer) -> Scorer: ...
@overload
def register_scorer(name: str) -> Callable[[Scorer], Scorer]: ...
def register_scorer(name: str, score: Scorer | None = None) -> Scorer | Callable[[Scorer], Scorer]:
    """Offer a scorer of one's own to `video-opd metrics --as NAME` and to `video_opd.metrics`.

    Call it with the function, or use it as a decorator: `@register_scorer("mine")`.

    Args:
        name: lower-case letters, digits, dots, dashes and underscores.
        score: takes `GroundTruth` and `Answers`, gives `OfficialScores`.

    Raises:
        ConfigurationError: the name is taken, or is none.
    """
    if score is None:
        require_name("a scorer", name)
        return lambda function: register_scorer(name, function)
    require_function("a scorer", name, score)
    SCORERS.register(name, score)
    return score
