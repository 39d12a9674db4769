"""QVHighlights (Lei et al. 2021): `standalone_eval/eval.py` of jayleicn/moment_detr (MIT).

Moment retrieval. R1 takes the first window in the order given and the annotated window it matches best. mAP takes the
first ten windows, sorted by score; each, at each threshold, claims the best-matching annotated window that is still
free; average precision is interpolated, per query, and averaged over queries. Short, middle and long look only at
annotated windows of (0, 10], (10, 30] and (30, 150] seconds, and at queries that have one; without any the original
crashes (a mean over nothing is no list of thresholds).

Highlights. Clips are positive from Fair (2), Good (3) or VeryGood (4) up; HIT@1 is whether any annotator calls the top
clip positive, mAP the mean over the annotators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from video_opd.evaluation.official.average_precision import clip_average_precision, window_average_precisions
from video_opd.evaluation.official.nouns import Answers, Convention, GroundTruth, OfficialScores, ResultAnswer
from video_opd.evaluation.official.single_span import missing_notes, told
from video_opd.grounding import PARSER_VERSION, SpanLike, temporal_iou
from video_opd.vocabulary import Span

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.5, 0.55, … 0.95."""
_RANGES_S = {"short": (0, 10), "middle": (10, 30), "long": (30, 150)}
"""Annotated windows longer than the first and at most as long as the second, in seconds; `full` is all of them."""
_MOST_WINDOWS = 10
_SALIENCY = {"Fair": 2, "Good": 3, "VeryGood": 4}
_CONSTANT_SCORE = 1.0

_CONVENTION = Convention(
    source="jayleicn/moment_detr, standalone_eval/eval.py",
    comparator=">=",
    rounding="times not at all; scores to two decimals",
    denominator="every query; short, middle and long: queries with an annotated window of that length",
    prediction="R1: first window given; mAP: the first ten, by score; windows without scores all score the same",
    annotation="R1: best-matching window; mAP: every window",
    parser=f"video-opd {PARSER_VERSION}; the official scorer takes numbers only",
    units="percent",
    failure="0",
)


def score_qvhighlights(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """The official result, entry by entry; the highlight half where annotations and answers have saliency."""
    annotated = {example.id: example.spans for example in truth.in_file_order(answers)}
    predicted = {id_: answers.by_id.get(id_, ResultAnswer()) for id_ in annotated}
    scores: dict[str, Any] = {}
    per_query: dict[str, dict[str, float]] = {}
    for name in (*_RANGES_S, "full"):
        windows = {id_: _within(spans, name) for id_, spans in annotated.items()}
        values = _moments({id_: spans for id_, spans in windows.items() if spans}, predicted)
        scores[name] = {kind: {t: _mean(queries) for t, queries in table.items()} for kind, table in values.items()}
        if name == "full":
            per_query |= {f"full {kind} {t}": queries for kind, table in values.items() for t, queries in table.items()}
    with_saliency = [id_ for id_, answer in predicted.items() if answer.saliency is not None]
    highlights = len(with_saliency) == len(predicted) and predicted.keys() <= truth.saliency.keys()
    if highlights:
        for level, least in _SALIENCY.items():
            found = _highlights(predicted, truth, least)
            scores[f"HL-min-{level}"] = {kind: _mean(queries) for kind, queries in found.items()}
            per_query |= {f"HL-min-{level} {kind}": queries for kind, queries in found.items()}
    empty = sum(not answer.all_spans() for answer in answers.by_id.values())
    unscored = sum(answer.confidences is None for answer in answers.by_id.values())
    return OfficialScores(
        convention=_CONVENTION,
        scores={"brief": _brief(scores)} | dict(sorted(scores.items())),
        per_query={name: {id_: 100 * value for id_, value in queries.items()} for name, queries in per_query.items()},
        notes=(
            *missing_notes(truth, answers, "counted as 0; the official scorer refuses the file"),
            *told(
                len(answers.unknown),
                "rows are for queries that are not annotated: left out; the official scorer refuses the file.",
            ),
            *told(empty, "answers hold no window: the official scorer crashes here; counted as 0."),
            *_empty_ranges(annotated),
            *told(unscored, f"answers have windows without scores: all their windows score {_CONSTANT_SCORE:g}."),
            *(() if highlights else (_why_no_highlights(truth, len(with_saliency), len(predicted)),)),
        ),
    )


def _empty_ranges(annotated: Mapping[str, Sequence[Span]]) -> list[str]:
    return [
        f"no query has an annotated window of that length: {name} ({least} - {most} s) scores are 0 whatever is "
        "answered; the official scorer crashes here."
        for name, (least, most) in _RANGES_S.items()
        if not any(_within(spans, name) for spans in annotated.values())
    ]


def _why_no_highlights(truth: GroundTruth, with_saliency: int, num_queries: int) -> str:
    if not truth.saliency:
        return "HL scores need the original annotation file, highlight_val_release.jsonl; a manifest keeps no saliency."
    return f"HL scores need `pred_saliency_scores` for every query; {with_saliency} of {num_queries} have them."


def _within(spans: Sequence[Span], name: str) -> Sequence[Span]:
    if name not in _RANGES_S:
        return spans
    least, most = _RANGES_S[name]
    return [span for span in spans if least < span.end_s - span.start_s <= most]


def _moments(
    annotated: Mapping[str, Sequence[Span]], predicted: Mapping[str, ResultAnswer]
) -> dict[str, dict[str, dict[str, float]]]:
    """Kind of score -> threshold -> example id -> value in 0..1."""
    precision: dict[str, dict[str, float]] = {str(threshold): {} for threshold in (*THRESHOLDS, "average")}
    recall: dict[str, dict[str, float]] = {str(threshold): {} for threshold in THRESHOLDS}
    for id_, windows in annotated.items():
        spans = predicted[id_].all_spans()
        given = predicted[id_].confidences or (_CONSTANT_SCORE,) * len(spans)
        found = window_average_precisions(spans[:_MOST_WINDOWS], given[:_MOST_WINDOWS], windows, THRESHOLDS)
        iou = _best_iou(spans[0], windows) if spans else 0.0
        for threshold, value in zip(THRESHOLDS, found.tolist(), strict=True):
            precision[str(threshold)][id_] = value
            recall[str(threshold)][id_] = float(bool(spans) and iou >= threshold)
        precision["average"][id_] = float(found.mean())
    return {"MR-mAP": precision, "MR-R1": recall}


def _best_iou(span: SpanLike, windows: Sequence[Span]) -> float:
    return max(temporal_iou(span, window) for window in windows)


def _highlights(predicted: Mapping[str, ResultAnswer], truth: GroundTruth, least: int) -> dict[str, dict[str, float]]:
    """Kind of score -> example id -> value in 0..1."""
    precision: dict[str, float] = {}
    hit: dict[str, float] = {}
    for id_, answer in predicted.items():
        positive = np.array(truth.saliency[id_]) >= least
        given = np.array(answer.saliency, dtype=np.float64)
        # As officially: a prediction is cut to the clips of the video, or filled up with zeros.
        scores = np.zeros(len(positive))
        scores[: len(given)] = given[: len(positive)]
        top = int(given.argmax()) if len(given) else len(positive)
        hit[id_] = float(top < len(positive) and positive[top].any())
        precision[id_] = float(np.mean([clip_average_precision(column, scores) for column in positive.T]))
    return {"HL-mAP": precision, "HL-Hit1": hit}


def _mean(queries: Mapping[str, float]) -> float:
    """In percent, to two decimals; 0 where there is no such query."""
    return float(f"{100 * np.mean(list(queries.values())):.2f}") if queries else 0.0


def _brief(scores: Mapping[str, Any]) -> dict[str, float]:
    full = scores["full"]
    brief = {"MR-full-mAP": full["MR-mAP"]["average"]}
    brief |= {f"MR-full-mAP@{threshold}": full["MR-mAP"][threshold] for threshold in ("0.5", "0.75")}
    brief |= {f"MR-{name}-mAP": scores[name]["MR-mAP"]["average"] for name in _RANGES_S}
    brief |= {f"MR-full-R1@{threshold}": full["MR-R1"][threshold] for threshold in ("0.5", "0.7")}
    for level in _SALIENCY:
        if found := scores.get(f"HL-min-{level}"):
            brief |= {f"HL-min-{level}-{kind.removeprefix('HL-')}": value for kind, value in found.items()}
    return brief
