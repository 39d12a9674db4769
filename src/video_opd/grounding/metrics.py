"""Scores over a set of answers.

The convention, spelled out in every report because the field has several (`>` against `>=`, rounded boundaries,
unparsable answers left out):

- IoU of the *first* predicted span with the annotated span it matches best, nothing rounded;
- R1@t is the share of queries with IoU >= t;
- every example counts, a missing or unparsable answer as IoU 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from video_opd.errors import DataError
from video_opd.grounding.figure_by_id import FigureById
from video_opd.grounding.first_spans import FirstSpans
from video_opd.grounding.packed_examples import PackedExamples, reduce_rows
from video_opd.grounding.parser import PARSER_VERSION, ParsedAnswer
from video_opd.grounding.predictions import index_by_id
from video_opd.grounding.span import temporal_ious
from video_opd.sample_size import MIN_QUERIES, describe_shortage
from video_opd.types import Example

_NUM_IDS_SHOWN = 5
_ELEMENTS_AT_ONCE = 1_000_000
"""Bound on temporary arrays, so that memory does not grow with the number of queries."""
_MOST_GATHERED = 20_000
"""Queries of a draw that are looked up one by one; their rows fit the cache of a core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of a set of answers. Rates are in 0..1."""

    miou: float
    """Mean IoU."""
    r1: Mapping[float, float]
    """Threshold -> share of queries with IoU >= threshold."""
    output_format_rate: float
    """Share of queries with an answer in which the parser finds a span. A missing answer has none."""
    num_queries: int
    intervals: Mapping[str, tuple[float, float]]
    """Name of a rate, as in `to_dict`, -> its 95 % bootstrap interval; empty with fewer than `MIN_QUERIES` queries."""
    iou_by_id: FigureById = field(repr=False)
    """Example id -> IoU, in the order of the examples: for paired comparisons."""
    named_by_id: FigureById = field(repr=False)
    """Example id -> whether its answer named a span, in the same order."""
    missing_ids: tuple[str, ...] = field(repr=False)
    """Examples without a prediction."""
    unknown_ids: tuple[str, ...] = field(repr=False)
    """Predictions without an example; they are ignored."""
    num_resamples: int
    seed: int

    def to_dict(self) -> dict[str, float | int]:
        """The numbers alone: `miou`, `r1@0.3` …, `output_format_rate`, `num_queries`."""
        recalls = {_name_recall(threshold): rate for threshold, rate in self.r1.items()}
        counted = {"output_format_rate": self.output_format_rate, "num_queries": self.num_queries}
        return {"miou": self.miou, **recalls, **counted}

    @property
    def per_query(self) -> dict[str, Mapping[str, float]]:
        """Name of each rate, as in `to_dict` -> example id -> the value of that query."""
        places, iou = self.iou_by_id.places, self.iou_by_id.figures
        return {
            "miou": self.iou_by_id,
            **{_name_recall(t): FigureById(places, (iou >= t).astype(np.float64)) for t in self.r1},
            "output_format_rate": FigureById(places, self.named_by_id.figures.astype(np.float64)),
        }

    @property
    def cannot_be_said(self) -> str:
        """A sentence that says what is unknown with so few queries; empty if there are enough."""
        what = "How much another draw of queries would change the scores"
        return describe_shortage(what, self.num_queries) if self.num_queries < MIN_QUERIES else ""

    def to_report(self) -> dict[str, Any]:
        """The numbers with their intervals, their convention, and the ids that did not match."""
        return {
            "scores": self.to_dict(),
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "convention": {
                "comparator": ">=",
                "rounding": "none",
                "denominator": "every example; a missing or unparsable answer scores 0",
                "prediction": "first span",
                "annotation": "best-matching span",
                "parser": f"video-opd {PARSER_VERSION}",
                "parser_version": PARSER_VERSION,
                "units": "fractions",
                "intervals": self.cannot_be_said
                or f"95 % percentile bootstrap, {self.num_resamples} resamples of queries, seed {self.seed}",
            },
            "missing": {"count": len(self.missing_ids), "ids": list(self.missing_ids[:_NUM_IDS_SHOWN])},
            "unknown": {"count": len(self.unknown_ids), "ids": list(self.unknown_ids[:_NUM_IDS_SHOWN])},
        }


def score(
    predictions: Mapping[str, ParsedAnswer] | Iterable[tuple[str, ParsedAnswer]],
    examples: Iterable[Example],
    *,
    thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    seed: int = 0,
    num_resamples: int = 1000,
) -> Scores:
    """Score one answer per example; the convention stands at the top of this module.

    The intervals show how much the numbers would change with another sample of queries. Resampling is per query: if
    one video has several queries, their answers are not independent, and the intervals are slightly too narrow. With
    fewer than `MIN_QUERIES` queries there are no intervals, because they would be too narrow.

    Args:
        predictions: example id -> parsed answer, or pairs of the two.
        examples: the questions; each id once.
        thresholds: IoU thresholds in (0, 1].
        seed: seed of the bootstrap. Equal arguments give equal intervals.
        num_resamples: bootstrap resamples, at least 1.

    Raises:
        DataError: there are no examples, or an id is given twice.
        ValueError: a threshold is outside (0, 1], or there are no resamples.
    """
    pairs = predictions.items() if isinstance(predictions, Mapping) else predictions
    answer_by_id = index_by_id(pairs, "predictions")
    packed = PackedExamples.of(examples)
    return score_first_spans(
        FirstSpans.of({id: answer.spans for id, answer in answer_by_id.items()}, packed),
        packed,
        thresholds=thresholds,
        seed=seed,
        num_resamples=num_resamples,
    )


def score_first_spans(
    predicted: FirstSpans,
    examples: PackedExamples,
    *,
    thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    seed: int = 0,
    num_resamples: int = 1000,
) -> Scores:
    """`score`, for spans that stand beside their examples already.

    Args:
        predicted: the spans of the same examples.
        examples: the questions.
        thresholds: as for `score`, as are the others.
        seed: of the bootstrap.
        num_resamples: of the bootstrap.

    Raises:
        DataError, ValueError: as `score`.
    """
    if not all(0 < threshold <= 1 for threshold in thresholds):
        raise ValueError(f"thresholds must lie in (0, 1], got {tuple(thresholds)}")
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1, got {num_resamples}")
    if len(examples.places) < len(examples):
        index_by_id(((id, None) for id in examples.ids), "examples")
    if not examples:
        raise DataError("no examples", reason="a mean over nothing is not a score", remedy="give at least one example")
    iou, named = _compute_best_ious(predicted, examples), predicted.is_named
    columns = {"miou": iou, **{_name_recall(t): iou >= t for t in thresholds}, "output_format_rate": named}
    per_query = np.stack([column.astype(np.float64) for column in columns.values()], axis=1)
    means = [float(mean) for mean in per_query.mean(axis=0)]
    few = len(iou) < MIN_QUERIES
    intervals = [] if few else bootstrap_intervals(per_query, np.random.default_rng(seed), num_resamples)
    return Scores(
        miou=means[0],
        r1=dict(zip(thresholds, means[1:-1], strict=True)),
        output_format_rate=means[-1],
        num_queries=len(iou),
        intervals={} if few else dict(zip(columns, intervals, strict=True)),
        iou_by_id=FigureById(examples.places, iou),
        named_by_id=FigureById(examples.places, named),
        missing_ids=tuple(examples.ids[place] for place in np.flatnonzero(~predicted.is_given)),
        unknown_ids=predicted.unknown_ids,
        num_resamples=num_resamples,
        seed=seed,
    )


def _compute_best_ious(predicted: FirstSpans, examples: PackedExamples) -> np.ndarray:
    """(N,) `best_iou` of each; 0 where there is no span."""
    ious = temporal_ious(predicted.spans_s[examples.rows_of_spans], examples.spans_s)
    return np.where(predicted.is_named, reduce_rows(ious, examples.first_spans, 0.0), 0.0)


def _name_recall(threshold: float) -> str:
    return f"r1@{threshold:g}"


def bootstrap_intervals(
    per_query: np.ndarray, rng: np.random.Generator, num_resamples: int
) -> list[tuple[float, float]]:
    """95 % percentile interval of each column's mean; rows are queries, drawn with replacement."""
    num_queries = len(per_query)
    at_once = max(1, _ELEMENTS_AT_ONCE // num_queries)
    means = np.concatenate(
        [
            _average_draws(per_query, rng.integers(num_queries, size=(min(at_once, num_resamples - done), num_queries)))
            for done in range(0, num_resamples, at_once)
        ]
    )
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return [(float(lo), float(hi)) for lo, hi in zip(low, high, strict=True)]


def _average_draws(per_query: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The mean of each column over the queries of each draw.

    Of many queries it is faster to count how often each was drawn. Sums of 0 and 1 are exact both ways; others
    differ in the last digit of a float."""
    num_queries = len(per_query)
    if num_queries <= _MOST_GATHERED:
        return np.asarray(per_query[draws].mean(axis=1))
    return np.stack([np.bincount(draw, minlength=num_queries) @ per_query for draw in draws]) / num_queries
