"""MUSEG (arXiv 2505.20715): `src/eval_grounding.py` of THUNLP-MT/MUSEG, whose IoU is nncore's `temporal_iou`.

Established from that file: the numbers of its `tvg` task (first predicted segment against first annotated one) and of
its `tal` task (an F1 over all segments: a segment counts if any of the other side reaches the threshold with it). The
IoU is in single precision, and for `f1_single` it meets a threshold in double precision: an IoU of exactly 0.7 is less
than 0.7 there. The rewards of its training (`src/train.py`) are not scores and are not here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from video_opd.eval.scorers._parsers import Pair, museg
from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores, ResultAnswer
from video_opd.eval.scorers._single_span import (
    missing_notes,
    parser_name,
    read_pairs,
    reading_notes,
    several_spans_notes,
    share,
)
from video_opd.eval.scorers._span_sets import f1_of_windows, pairwise_iou

_THRESHOLDS = (0.1, 0.3, 0.5, 0.7)

_CONVENTION = Convention(
    source="THUNLP-MT/MUSEG, src/eval_grounding.py",
    comparator=">=",
    rounding="none; IoU in single precision",
    denominator="every query",
    prediction="m_iou, f1_single: first segment; f1_multi: all",
    annotation="m_iou, f1_single: first segment; f1_multi: all",
    parser=parser_name("that of MUSEG's evaluation"),
    units="fractions",
    failure="0",
)


def score_museg(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """The numbers of both tasks, under the keys of the official result."""
    per_query: dict[str, dict[str, float]] = {"m_iou": {}}
    for example in truth.order_as_file(answers):
        segments = _segments(answers.by_id.get(example.id))
        iou = pairwise_iou(example.spans, segments, np.float32) if segments else np.zeros((1, 1), dtype=np.float32)
        per_query["m_iou"][example.id] = float(iou[0, 0])
        for threshold in _THRESHOLDS:
            single = float(float(iou[0, 0]) >= threshold)
            per_query.setdefault(f"f1_single_{threshold}", {})[example.id] = single
        for threshold in _THRESHOLDS:
            multi = f1_of_windows(iou, threshold) if segments else 0.0
            per_query.setdefault(f"f1_multi_{threshold}", {})[example.id] = multi
    scores = {name: share(values) for name, values in per_query.items()}
    for kind in ("single", "multi"):
        totals = [sum(per_query[f"f1_{kind}_{threshold}"].values()) for threshold in _THRESHOLDS]
        scores[f"mean_f1_{kind}"] = sum(totals) / len(truth.examples) / len(totals)
    return OfficialScores(
        convention=_CONVENTION,
        scores={"tot": len(truth.examples)} | scores,
        per_query=per_query,
        notes=(
            *several_spans_notes(truth, "the first in m_iou and f1_single, and at all in f1_multi"),
            *missing_notes(truth, answers, "0 everywhere"),
            *reading_notes(answers, museg, "`<answer>12.50-18.30 20.00-21.00</answer>`"),
        ),
    )


def _segments(answer: ResultAnswer | None) -> Sequence[Pair]:
    """All of an answer's, or none if one of them is not before its end."""
    if answer is None:
        return ()
    segments = read_pairs(answer, museg)
    return segments if all(start < end for start, end in segments) else ()
