"""HiREST (arXiv 2303.16406), moment retrieval: `evaluate.py --task moment_retrieval` of j-min/HiREST.

The denominator of its IoU is the union, or the hull if that is shorter, and 1e-8 more: an IoU of exactly 0.5 is less
than 0.5 there, and >= is in effect >. Every video marked `clip` counts. The script gives the numbers over all videos
and, on request, over the categories of a file of its own, which are not here; nor are its tasks on steps and captions.
"""

from __future__ import annotations

import numpy as np

from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores
from video_opd.eval.scorers._single_span import missing_notes, note_count, several_spans_notes
from video_opd.grounding import PARSER_VERSION, SpanLike

_THRESHOLDS = (0.5, 0.7)
_MORE = 1e-8

_CONVENTION = Convention(
    source="j-min/HiREST, evaluate.py, moment_retrieval",
    comparator=">=, of an IoU whose denominator has 1e-8 added: > in effect",
    rounding="none",
    denominator="every query",
    prediction="first span",
    annotation="first span",
    parser=f"video-opd {PARSER_VERSION}; the official scorer takes numbers only",
    units="percent",
    failure="no hit",
)


def score_hirest(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """The numbers of `all`, under the official keys."""
    per_query: dict[str, dict[str, float]] = {f"all R@{threshold}": {} for threshold in _THRESHOLDS}
    empty = 0
    for example in truth.examples:
        answer = answers.by_id.get(example.id)
        spans = answer.all_spans() if answer else ()
        empty += answer is not None and not spans
        iou = _iou(example.spans[0], spans[0]) if spans else 0.0
        for threshold in _THRESHOLDS:
            per_query[f"all R@{threshold}"][example.id] = 100.0 if iou >= threshold else 0.0
    recalls = {
        f"R@{threshold}": float(np.mean([value / 100 for value in per_query[f"all R@{threshold}"].values()])) * 100
        for threshold in _THRESHOLDS
    }
    return OfficialScores(
        convention=_CONVENTION,
        scores={"all": {"total_videos": len(truth.examples)} | recalls},
        per_query=per_query,
        notes=(
            *several_spans_notes(truth, "the first"),
            *missing_notes(truth, answers, "no hit; the official scorer crashes here"),
            *note_count(empty, "answers hold no span: no hit; the official scorer takes numbers alone."),
        ),
    )


def _iou(annotated: SpanLike, predicted: SpanLike) -> float:
    (first, last), (start, end) = annotated, predicted
    shared = max(0.0, min(end, last) - max(start, first))
    return shared / (min(max(end, last) - min(start, first), end - start + last - first) + _MORE)
