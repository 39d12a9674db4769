"""TimeChat (arXiv 2312.02051): `utils/format_tvg.py` reads the answers, `metrics/tvg/eval_tvg.py` scores them."""

from __future__ import annotations

import operator

from video_opd.eval.scorers._parsers import timechat
from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores
from video_opd.eval.scorers._single_span import (
    THRESHOLDS,
    ious_of_first_pairs,
    missing_notes,
    parser_name,
    point_notes,
    reading_notes,
    recalls,
    several_spans_notes,
    share,
)

_CONVENTION = Convention(
    source="RenShuhuai-Andy/TimeChat, metrics/tvg/eval_tvg.py",
    comparator=">=",
    rounding="none",
    denominator="every annotated query: one whose answer is empty is skipped when hits are counted, and stays in it",
    prediction="first span",
    annotation="first span",
    parser=parser_name("that of TimeChat's utils/format_tvg.py"),
    units="percent",
    failure="no hit",
)


def score_timechat(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """TimeChat's numbers, under the names that `eval_tvg.py` prints. It has no mean IoU."""
    ious, points = ious_of_first_pairs(truth, answers, timechat)
    hits = recalls(ious, {threshold: f"IOU {threshold:g}" for threshold in THRESHOLDS}, operator.ge)
    return OfficialScores(
        convention=_CONVENTION,
        scores={name: share(hit) for name, hit in hits.items()},
        per_query=hits,
        notes=(
            *several_spans_notes(truth, "the first"),
            *missing_notes(truth, answers, "no hit; the official scorer refuses a file with missing queries"),
            *reading_notes(answers, timechat, "`The event happens in 12.5 - 18.3 seconds.`"),
            *point_notes(points),
        ),
    )
