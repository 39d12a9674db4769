"""QVHighlights (Lei et al. 2021): `standalone_eval/eval.py` of jayleicn/moment_detr (MIT), with the R1 at 0.3 to 0.45
and the mean IoU that wjun0830/CGDETR (CG-DETR, FlashVTG) adds to it.

Moment retrieval. R1 and mIoU take the first window in the order given and the annotated window it matches best. mAP
takes the first ten windows, sorted by score; each, at each threshold, claims the best-matching annotated window that is
still free; average precision is interpolated, per query, and averaged over queries. Where a file has several rows for a
query, mAP pools the windows, ten of each row, and everything else takes the last row. Short, middle and long look only
at annotated windows of (0, 10], (10, 30] and (30, 150] seconds, and at queries that have one; without any the original
crashes (a mean over nothing is no list of thresholds).

Two IoUs are in use. mAP, and R1 to choose the annotated window, divide what is shared by both lengths less what is
shared, whatever comes out: a reversed window has a negative length, and 0/0 is no number and so below no threshold,
which counts as found. R1 then compares an IoU over the hull, 0 for such windows. Means are added up in the official
order, since two decimals can show it.

Highlights. Clips are positive from Fair (2), Good (3) or VeryGood (4) up; HIT@1 is whether any annotator calls the top
clip positive, mAP the mean over the annotators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from video_opd.eval.scorers._average_precision import (
    clip_average_precision,
    cross_iou,
    window_average_precisions,
)
from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores, ResultAnswer
from video_opd.eval.scorers._single_span import missing_notes, note_count
from video_opd.grounding import PARSER_VERSION, temporal_iou
from video_opd.types import Span

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Of mAP: 0.5, 0.55, … 0.95."""
RECALL_THRESHOLDS = (0.3, 0.35, 0.4, 0.45, *THRESHOLDS)
"""Of R1: CG-DETR's as well."""
_RANGES_S = {"short": (0, 10), "middle": (10, 30), "long": (30, 150)}
"""Annotated windows longer than the first and at most as long as the second, in seconds; `full` is all of them."""
_MOST_WINDOWS = 10
_SALIENCY = {"Fair": 2, "Good": 3, "VeryGood": 4}
_CONSTANT_SCORE = 1.0

_CONVENTION = Convention(
    source="jayleicn/moment_detr, standalone_eval/eval.py; MR-mIoU and R1 below 0.5: that of wjun0830/CGDETR",
    comparator=">=",
    rounding="times not at all; scores to two decimals",
    denominator="every query; short, middle and long: queries with an annotated window of that length",
    prediction="R1, mIoU: first window given; mAP: the first ten, by score; windows without scores all score the same; "
    "several rows for a query: mAP pools ten windows of each, the rest takes the last row",
    annotation="R1, mIoU: best-matching window; mAP: every window",
    parser=f"video-opd {PARSER_VERSION}; the official scorer takes numbers only",
    units="percent",
    failure="0",
)


def score_qvhighlights(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """The official result, entry by entry; the highlight half where annotations and answers have saliency."""
    annotated = {example.id: example.spans for example in truth.order_as_file(answers)}
    predicted = {id_: answers.by_id.get(id_, ResultAnswer()) for id_ in annotated}
    scores: dict[str, Any] = {}
    per_query: dict[str, dict[str, float]] = {}
    for name in (*_RANGES_S, "full"):
        windows = {id_: _select_by_length(spans, name) for id_, spans in annotated.items()}
        found = _moments({id_: spans for id_, spans in windows.items() if spans}, predicted, answers)
        scores[name] = found.scores()
        if name == "full":
            per_query |= found.per_query()
    with_saliency = [id_ for id_, answer in predicted.items() if answer.saliency is not None]
    highlights = len(with_saliency) == len(predicted) and predicted.keys() <= truth.saliency.keys()
    if highlights:
        for level, least in _SALIENCY.items():
            scores[f"HL-min-{level}"], clips = _highlights(predicted, truth, least)
            per_query |= {f"HL-min-{level} {kind}": queries for kind, queries in clips.items()}
    return OfficialScores(
        convention=_CONVENTION,
        scores={"brief": _brief(scores)} | dict(sorted(scores.items())),
        per_query={name: {id_: 100 * value for id_, value in queries.items()} for name, queries in per_query.items()},
        notes=(
            *missing_notes(truth, answers, "counted as 0; the official scorer refuses the file"),
            *note_count(
                len(answers.unknown),
                "rows are for queries that are not annotated: left out; the official scorer refuses the file.",
            ),
            *_empty_ranges(annotated),
            *_unusual_windows(annotated, answers),
            *(() if highlights else (_explain_no_highlights(truth, len(with_saliency), len(predicted)),)),
        ),
    )


def _unusual_windows(annotated: Mapping[str, Sequence[Span]], answers: Answers) -> list[str]:
    spans = {id_: answer.all_spans() for id_, answer in answers.by_id.items()}
    undefined = sum(bool(np.isnan(cross_iou(found, annotated[id_])).any()) for id_, found in spans.items())
    return [
        *note_count(
            len(answers.repeated),
            "queries have several rows: as officially, mAP pools their windows, the first ten of each row; the rest "
            "takes the last row.",
        ),
        *note_count(
            sum(not found for found in spans.values()),
            "answers hold no window: the official scorer crashes here; counted as 0.",
        ),
        *note_count(
            sum(start > end for found in spans.values() for start, end in found),
            "predicted windows end before they start: kept in their place, as officially, with an IoU of 0.",
        ),
        *note_count(
            undefined,
            "answers have a window whose IoU with an annotated one is 0/0 (two points, or a reversed window of the "
            "same length): mAP counts it as found, as officially.",
        ),
        *note_count(
            sum(answer.confidences is None for answer in answers.by_id.values()),
            f"answers have windows without scores: all their windows score {_CONSTANT_SCORE:g}.",
        ),
    ]


def _empty_ranges(annotated: Mapping[str, Sequence[Span]]) -> list[str]:
    return [
        f"no query has an annotated window of that length: {name} ({least} - {most} s) scores are 0 whatever is "
        "answered; the official scorer crashes here."
        for name, (least, most) in _RANGES_S.items()
        if not any(_select_by_length(spans, name) for spans in annotated.values())
    ]


def _explain_no_highlights(truth: GroundTruth, with_saliency: int, num_queries: int) -> str:
    if not truth.saliency:
        return "HL scores need the original annotation file, highlight_val_release.jsonl; a manifest keeps no saliency."
    return f"HL scores need `pred_saliency_scores` for every query; {with_saliency} of {num_queries} have them."


def _select_by_length(spans: Sequence[Span], name: str) -> Sequence[Span]:
    if name not in _RANGES_S:
        return spans
    least, most = _RANGES_S[name]
    return [span for span in spans if least < span.end_s - span.start_s <= most]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moments:
    """What Q queries are worth, in 0..1."""

    ids: Sequence[str]
    precision: np.ndarray
    """(Q, THRESHOLDS) average precision."""
    iou: np.ndarray
    """(Q,) of the first window."""
    answered: np.ndarray
    """(Q,) bool: it has a window."""

    def hits(self) -> dict[str, np.ndarray]:
        """Threshold -> (Q,) bool."""
        return {str(threshold): self.answered & (self.iou >= threshold) for threshold in RECALL_THRESHOLDS}

    def scores(self) -> dict[str, Any]:
        """In percent, to two decimals; 0 where no query counts."""
        precision = self.precision.mean(axis=0) if len(self.ids) else np.zeros(len(THRESHOLDS))
        return {
            "MR-mAP": {str(threshold): _percent(value) for threshold, value in zip(THRESHOLDS, precision, strict=True)}
            | {"average": _percent(np.mean(precision))},
            "MR-mIoU": _mean(self.iou),
            "MR-R1": {threshold: _mean(hits) for threshold, hits in self.hits().items()},
        }

    def per_query(self) -> dict[str, dict[str, float]]:
        columns = {
            **{f"full MR-mAP {t}": column for t, column in zip(THRESHOLDS, self.precision.T, strict=True)},
            "full MR-mAP average": self.precision.mean(axis=1),
            "full MR-mIoU": self.iou,
            **{f"full MR-R1 {threshold}": hits for threshold, hits in self.hits().items()},
        }
        return {name: dict(zip(self.ids, map(float, column), strict=True)) for name, column in columns.items()}


def _moments(
    annotated: Mapping[str, Sequence[Span]], predicted: Mapping[str, ResultAnswer], answers: Answers
) -> _Moments:
    precision = np.zeros((len(annotated), len(THRESHOLDS)))
    iou = np.zeros(len(annotated))
    answered = np.zeros(len(annotated), dtype=bool)
    for row, (id_, windows) in enumerate(annotated.items()):
        pooled: list[tuple[Span, float]] = []
        for answer in answers.repeated.get(id_, (predicted[id_],)):
            spans = answer.all_spans()
            given = answer.confidences or (_CONSTANT_SCORE,) * len(spans)
            pooled += list(zip(spans, given, strict=True))[:_MOST_WINDOWS]
        precision[row] = window_average_precisions(
            [span for span, _ in pooled], [score for _, score in pooled], windows, THRESHOLDS
        )
        if first := predicted[id_].all_spans()[:1]:
            answered[row] = True
            best = int(np.argmax(cross_iou(first, windows)[0]))
            iou[row] = temporal_iou(first[0], windows[best])
    return _Moments(ids=tuple(annotated), precision=precision, iou=iou, answered=answered)


def _highlights(
    predicted: Mapping[str, ResultAnswer], truth: GroundTruth, least: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The scores, in percent; and kind of score -> example id -> value in 0..1."""
    precision: list[list[float]] = []
    hit: list[float] = []
    for id_, answer in predicted.items():
        positive = np.array(truth.saliency[id_]) >= least
        given = np.array(answer.saliency, dtype=np.float64)
        # As officially: a prediction is cut to the clips of the video, or filled up with zeros.
        scores = np.zeros(len(positive))
        scores[: len(given)] = given[: len(positive)]
        top = int(given.argmax()) if len(given) else len(positive)
        hit.append(float(top < len(positive) and positive[top].any()))
        precision.append([clip_average_precision(column, scores) for column in positive.T])
    return {"HL-mAP": _mean(np.array(precision)), "HL-Hit1": _mean(np.array(hit))}, {
        "HL-mAP": {id_: float(np.mean(values)) for id_, values in zip(predicted, precision, strict=True)},
        "HL-Hit1": dict(zip(predicted, hit, strict=True)),
    }


def _mean(values: np.ndarray) -> float:
    """In percent, to two decimals; 0 where no query counts."""
    return _percent(np.mean(values)) if values.size else 0.0


def _percent(share: Any) -> float:
    return float(f"{100 * share:.2f}")


def _brief(scores: Mapping[str, Any]) -> dict[str, float]:
    full = scores["full"]
    brief = {"MR-full-mAP": full["MR-mAP"]["average"]}
    brief |= {f"MR-full-mAP@{threshold}": full["MR-mAP"][threshold] for threshold in ("0.5", "0.75")}
    brief |= {f"MR-{name}-mAP": scores[name]["MR-mAP"]["average"] for name in _RANGES_S}
    brief |= {"MR-full-mIoU": full["MR-mIoU"]}
    brief |= {f"MR-full-R1@{threshold}": full["MR-R1"][threshold] for threshold in ("0.3", "0.5", "0.7")}
    brief = dict(sorted(brief.items()))
    for level in _SALIENCY:
        if found := scores.get(f"HL-min-{level}"):
            brief |= {f"HL-min-{level}-{kind.removeprefix('HL-')}": value for kind, value in found.items()}
    return brief
