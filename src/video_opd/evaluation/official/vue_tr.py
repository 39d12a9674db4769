"""VUE-TR and VUE-TR-V2 (Vidi, ByteDance): precision, recall and IoU of sets of spans, each as an area under a curve.

The official script is CC BY-NC and was not used: the rules are those that reproduce all 36 published numbers of Vidi2.
Starts are floored and ends ceiled. Precision and recall add up the overlaps of all predicted spans, the IoU merges
them first. One of the 1,600 queries tells that apart (id 130, whose last span comes reversed: its ends are put in order
after rounding). A curve is the share of queries above a threshold, at 0, 0.01, … 1; the area is by trapezoids.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from video_opd.evaluation.official.nouns import Answers, Convention, GroundTruth, OfficialScores
from video_opd.evaluation.official.single_span import missing_notes
from video_opd.evaluation.official.span_sets import Interval, merged, overlap, total_length
from video_opd.grounding import PARSER_VERSION
from video_opd.vocabulary import Span

_THRESHOLDS = np.linspace(0, 1, 101)
_NAMES = ("precision", "recall", "iou")

_CONVENTION = Convention(
    source="bytedance/vidi, VUE_TR_V2 (rules found from its published numbers)",
    comparator="> for the IoU, >= for precision and recall",
    rounding="predicted starts floored, predicted ends ceiled; scores to two decimals",
    denominator="every query",
    prediction="all spans: as they are for precision and recall, merged for the IoU",
    annotation="all spans",
    parser=f"video-opd {PARSER_VERSION}; the official scorer takes numbers only",
    units="percent: area under the success curve over 101 thresholds",
    failure="0, which still reaches the threshold 0 where the comparator is >=",
)


def score_vue_tr(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """The rows of the official table: `overall`, and each category where the annotations have them."""
    examples = truth.in_file_order(answers)
    values = np.zeros((len(examples), len(_NAMES)))
    for row, example in enumerate(examples):
        answer = answers.by_id.get(example.id)
        values[row] = _precision_recall_iou(answer.all_spans() if answer else (), example.spans)
    curves = np.stack([_reached(column, name == "iou") for name, column in zip(_NAMES, values.T, strict=True)])
    rows = {"overall": np.ones(len(examples), dtype=bool)}
    for category in dict.fromkeys(name for names in truth.categories.values() for name in names):
        rows[category] = np.array([category in truth.categories[example.id] for example in examples])
    empty = sum(not answer.all_spans() for answer in answers.by_id.values())
    return OfficialScores(
        convention=_CONVENTION,
        scores={
            category: {
                name: round(100 * float(_area(curve[mask].mean(axis=0))), 2)
                for name, curve in zip(_NAMES, curves, strict=True)
            }
            for category, mask in rows.items()
        },
        per_query={
            f"overall {name}": {
                example.id: 100 * float(area) for example, area in zip(examples, _area(curve), strict=True)
            }
            for name, curve in zip(_NAMES, curves, strict=True)
        },
        notes=(
            *missing_notes(truth, answers, "counted as answers without a span"),
            *([f"{empty} answers hold no span: the published numbers do not tell what these score."] if empty else []),
            *([] if truth.categories else ["Categories need the original annotation file; a manifest has none."]),
        ),
    )


def _precision_recall_iou(predicted: Iterable[Span], annotated: tuple[Span, ...]) -> tuple[float, float, float]:
    """Of sets of spans; 0 where nothing is divided by nothing."""
    rounded = [_whole_seconds(span) for span in predicted]
    shared = overlap(rounded, annotated)
    union = merged(rounded)
    shared_by_union = overlap(union, annotated)
    return (
        _ratio(shared, total_length(rounded)),
        _ratio(shared, total_length(annotated)),
        _ratio(shared_by_union, total_length(union) + total_length(annotated) - shared_by_union),
    )


def _whole_seconds(span: Span) -> Interval:
    start, end = sorted((math.floor(span.start_s), math.ceil(span.end_s)))
    return float(start), float(end)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _reached(values: np.ndarray, strictly: bool) -> np.ndarray:
    """(Q, 101): 1 where a query's value reaches the threshold, else 0."""
    values = values[:, None]
    return (values > _THRESHOLDS if strictly else values >= _THRESHOLDS).astype(np.float64)


def _area(curve: np.ndarray) -> np.ndarray:
    """Area under curves over the thresholds, along the last axis."""
    return (np.diff(_THRESHOLDS) * (curve[..., 1:] + curve[..., :-1]) / 2).sum(axis=-1)
