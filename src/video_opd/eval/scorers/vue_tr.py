"""VUE-TR and VUE-TR-V2 (Vidi, ByteDance): precision, recall and IoU of sets of spans, each as an area under a curve.

The script (`VUE_TR_V2/qa_eval.py`) is CC BY-NC: facts of how it behaves, none of its code. It goes through the rows of
the prediction file. Starts are floored and ends ceiled, and from there the three numbers part:

- IoU: a span that ends before it starts is dropped, the rest is merged; the annotation stays as it is.
- Precision and recall: such a span has its ends put in order, nothing is merged, and what is shared is found by one
  sweep through both lists in the order given, which goes on in the list whose span ends first. Lists out of order, as
  a model may write them, lose overlaps that way.
- Precision leaves out queries whose prediction has no length, recall those whose annotation has none; where neither
  has a length, precision is 1.

A curve is the share of queries above a threshold, at 0, 0.01, … 1; the area is by trapezoids. These rules give all 36
published numbers of Vidi2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores
from video_opd.eval.scorers._single_span import missing_notes, note_count
from video_opd.eval.scorers._span_sets import set_iou, total_length
from video_opd.grounding import PARSER_VERSION, SpanLike

_THRESHOLDS = np.linspace(0, 1, 101)
_NAMES = ("precision", "recall", "iou")
_CATEGORIES = (
    "ultra-short", "short", "medium", "long", "ultra-long", "keyword", "phrase", "sentence", "vision", "audio",
    "vision+audio",
)  # fmt: skip
"""As the official table orders them; `overall` is its last row."""

_CONVENTION = Convention(
    source="bytedance/vidi, VUE_TR_V2/qa_eval.py",
    comparator="> for the IoU, >= for precision and recall",
    rounding="predicted starts floored, predicted ends ceiled; scores to two decimals",
    denominator="rows of the file; of those, precision leaves out queries whose prediction has no length",
    prediction="IoU: all spans merged, without those that end before they start; precision and recall: all spans in "
    "the order given, each with its ends in order",
    annotation="all spans, not merged",
    parser=f"video-opd {PARSER_VERSION}; the official scorer takes numbers only",
    units="percent: area under the success curve over 101 thresholds",
    failure="recall 0, which still reaches the threshold 0, IoU 0; left out of precision",
)

_NO_PRECISION = "No answer has a length: the official precision is then not a number; here it is 0."
_NO_CATEGORIES = "Categories need the original annotation file; a manifest has none."


def score_vue_tr(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """The rows of the official table: each category where the annotations have them, and `overall`."""
    examples = [example for example in truth.order_as_file(answers) if example.id in answers.by_id]
    spans = {example.id: answers.by_id[example.id].all_spans() for example in examples}
    values: dict[str, dict[str, float]] = {name: {} for name in _NAMES}
    for example in examples:
        for name, value in _precision_recall_iou(spans[example.id], example.spans).items():
            values[name][example.id] = value
    areas = {name: _areas(by_id, strictly=name == "iou") for name, by_id in values.items()}
    rows = {
        category: [example.id for example in examples if category in truth.categories[example.id]]
        for category in _sort_as_table(name for names in truth.categories.values() for name in names)
    } | {"overall": [example.id for example in examples]}
    empty = sum(not found for found in spans.values())
    return OfficialScores(
        convention=_CONVENTION,
        scores={
            category: {name: round(_mean(areas[name], ids), 2) for name in _NAMES}
            for category, ids in rows.items()
            if ids
        },
        per_query={f"overall {name}": area for name, area in areas.items() if area},
        notes=(
            *missing_notes(truth, answers, "left out of every number, as the official scorer does"),
            *note_count(empty, "answers hold no span: recall and IoU 0, and left out of precision, as officially."),
            *(() if areas["precision"] else (_NO_PRECISION,)),
            *(() if truth.categories else (_NO_CATEGORIES,)),
        ),
    )


def _sort_as_table(categories: Iterable[str]) -> list[str]:
    """Those of the official table first."""
    found = dict.fromkeys(categories)
    return [*(name for name in _CATEGORIES if name in found), *(name for name in found if name not in _CATEGORIES)]


def _precision_recall_iou(predicted: Sequence[SpanLike], annotated: Sequence[SpanLike]) -> dict[str, float]:
    """The values that a query has: precision and recall may be missing."""
    rounded = [(float(math.floor(start)), float(math.ceil(end))) for start, end in predicted]
    ordered = [(min(span), max(span)) for span in rounded]
    shared = _swept_overlap(annotated, ordered)
    length, annotated_length = total_length(ordered), total_length(annotated)
    values = {"iou": set_iou(rounded, annotated)}
    if annotated_length:
        values["recall"] = shared / annotated_length
    if length:
        values["precision"] = shared / length
    elif not annotated_length:
        values["precision"] = 1.0
    return values


def _swept_overlap(annotated: Sequence[SpanLike], predicted: Sequence[SpanLike]) -> float:
    """Seconds shared by the spans that stand opposite each other in one sweep through both lists as they are ordered.

    The span that ends first gives way to the next of its list; of two that end together, the predicted one.
    """
    shared = 0.0
    left, right = iter(annotated), iter(predicted)
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        shared += max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
        if one[1] < other[1]:
            one = next(left, None)
        else:
            other = next(right, None)
    return shared


def _areas(values: Mapping[str, float], *, strictly: bool) -> dict[str, float]:
    """Example id -> area under the curve of that query alone, in percent; the area of a mean is the mean of areas."""
    at = np.array(list(values.values()))[:, None]
    reached = (at > _THRESHOLDS if strictly else at >= _THRESHOLDS).astype(np.float64)
    areas = 100 * (np.diff(_THRESHOLDS) * (reached[:, 1:] + reached[:, :-1]) / 2).sum(axis=1)
    return dict(zip(values, map(float, areas), strict=True))


def _mean(areas: Mapping[str, float], ids: Iterable[str]) -> float:
    """Over those of the queries that have a value; 0 where none has."""
    found = [areas[id_] for id_ in ids if id_ in areas]
    return float(np.mean(found)) if found else 0.0
