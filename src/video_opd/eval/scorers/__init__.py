"""Scores by the rules of the field's own scorers: one table from a scorer's name to the function.

Our own rule is `grounding.score`; it is called `ours` and is not in the table. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable

from video_opd.eval.scorers._ground_truth import read_ground_truth
from video_opd.eval.scorers._matching import read_matched, read_with_truth, require_matched, unit_evidence
from video_opd.eval.scorers._paired_comparison import compare, too_few
from video_opd.eval.scorers._scorer_types import (
    FORMATS,
    Answers,
    Convention,
    Format,
    GroundTruth,
    OfficialScores,
    ResultAnswer,
)
from video_opd.eval.scorers.cg_bench import score_cg_bench
from video_opd.eval.scorers.cg_splits import score_cg_splits
from video_opd.eval.scorers.didemo import score_didemo
from video_opd.eval.scorers.ego4d_nlq import score_ego4d_nlq
from video_opd.eval.scorers.et_bench import score_et_bench
from video_opd.eval.scorers.hirest import score_hirest
from video_opd.eval.scorers.museg import score_museg
from video_opd.eval.scorers.nextgqa import score_nextgqa
from video_opd.eval.scorers.qvhighlights import score_qvhighlights
from video_opd.eval.scorers.time_r1 import score_time_r1
from video_opd.eval.scorers.timechat import score_timechat
from video_opd.eval.scorers.timelens import score_lmms_eval, score_lmms_eval_charades, score_timelens
from video_opd.eval.scorers.timelens2 import score_timelens2
from video_opd.eval.scorers.vue_tr import score_vue_tr

__all__ = [
    "FORMATS",
    "SCORERS",
    "Answers",
    "Convention",
    "Format",
    "GroundTruth",
    "OfficialScores",
    "ResultAnswer",
    "compare",
    "read_ground_truth",
    "read_matched",
    "read_with_truth",
    "require_matched",
    "score_as",
    "too_few",
    "unit_evidence",
]

SCORERS: dict[str, Callable[[GroundTruth, Answers], OfficialScores]] = {
    "timelens": score_timelens,
    "lmms-eval-timelens": score_lmms_eval,
    "lmms-eval-charades": score_lmms_eval_charades,
    "time-r1": score_time_r1,
    "timelens2": score_timelens2,
    "qvhighlights": score_qvhighlights,
    "ego4d-nlq": score_ego4d_nlq,
    "vue-tr": score_vue_tr,
    "timechat": score_timechat,
    "museg": score_museg,
    "et-bench": score_et_bench,
    "nextgqa": score_nextgqa,
    "cg-bench": score_cg_bench,
    "charades-cg": score_cg_splits,
    "activitynet-cg": score_cg_splits,
    "didemo": score_didemo,
    "hirest": score_hirest,
}


def score_as(scorer: str, truth: GroundTruth, answers: Answers) -> OfficialScores:
    """Score answers by the rules of one of `SCORERS`.

    Raises:
        DataError: no answer is about an annotated query.
        KeyError: no scorer has that name.
    """
    require_matched(answers)
    return SCORERS[scorer](truth, answers)
