"""Ego4D natural language queries: `NLQ/VSLNet/utils/evaluate_ego4d_nlq.py` of EGO4D/episodic-memory.

Strict `>`. Its mIoU is meant to average the three best IoUs of a query, but it sorts the first row of a table of one
row per predicted window: what it averages is the IoU of the first window alone.
"""

from __future__ import annotations

import numpy as np

from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores
from video_opd.eval.scorers._single_span import is_hull_empty, missing_notes, note_count, point_notes
from video_opd.grounding import PARSER_VERSION, temporal_iou

THRESHOLDS = (0.3, 0.5, 0.01)
TOP_K = (1, 3, 5)
"""As `runner_utils.py` calls the evaluator."""

_CONVENTION = Convention(
    source="EGO4D/episodic-memory, NLQ/VSLNet/utils/evaluate_ego4d_nlq.py",
    comparator=">",
    rounding="scores to two decimals; times not at all",
    denominator="queries with a row in the file",
    prediction="the first k spans, in the order given; mIoU: named that of the top 3, in effect the first's",
    annotation="first span",
    parser=f"video-opd {PARSER_VERSION}; the official scorer takes numbers only",
    units="percent",
    failure="IoU 0",
)


def score_ego4d_nlq(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """The official numbers, under the headings of the official table."""
    names = [(f"Rank@{k} mIoU@{threshold:g}", k, threshold) for k in TOP_K for threshold in THRESHOLDS]
    per_query: dict[str, dict[str, float]] = {name: {} for name in [*(name for name, _, _ in names), "mIoU"]}
    points = empty = 0
    for example in truth.order_as_file(answers):
        if example.id not in answers.by_id:
            continue
        spans = answers.by_id[example.id].all_spans()
        ious = [temporal_iou(span, example.spans[0]) for span in spans]
        points += any(is_hull_empty(span, example.spans[0]) for span in spans)
        empty += not spans
        for name, k, threshold in names:
            per_query[name][example.id] = float(any(iou > threshold for iou in ious[:k]))
        per_query["mIoU"][example.id] = ious[0] if ious else 0.0
    return OfficialScores(
        convention=_CONVENTION,
        scores={name: round(100 * float(np.mean(list(values.values()))), 2) for name, values in per_query.items()},
        per_query={name: {id_: 100 * value for id_, value in values.items()} for name, values in per_query.items()},
        notes=(
            *missing_notes(truth, answers, "left out of every mean, as the official scorer does"),
            *note_count(empty, "answers hold no span: the official scorer crashes here; counted as IoU 0."),
            *point_notes(points),
        ),
    )
