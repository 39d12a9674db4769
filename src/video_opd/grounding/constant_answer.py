"""The baseline that ignores the video: the one span, or the one share of the video, that fits all queries best.

This is the floor of every score. Evaluations and `data stats` take it from here. The search cuts spans at the end of
the longest video: one wrong end, 30400 s for 30.4 s, would make the grid too coarse to find anything. The answer is
scored on the spans as they are annotated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from video_opd.errors import DataError
from video_opd.grounding.packed_examples import PackedExamples, reduce_rows
from video_opd.grounding.span import temporal_ious
from video_opd.types import Example, Span

MOST_COMPARISONS = 200_000_000
"""Number of comparisons in a search of about two seconds."""
_STEPS_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Step of the grid of answers, in seconds."""
_SHARE_STEP = 0.02
_ELEMENTS_AT_ONCE = 100_000
"""Bound on temporary arrays, so that they fit the cache of a core."""
_FIRST_PART = 20_000
"""Rows that rank the answers first."""
_BOUND = 6.3
"""A sum over n rows of differences of two IoUs strays from n times the mean of all rows by less than this times the
root of n, but for a probability of exp(-6.3^2 / 2) < 3e-9."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The best answer that is the same for every query, and its mean IoU."""

    span: Span
    """The answer, in seconds or in shares of the video."""
    miou: float
    step: float
    """Step of the grid that was searched, in the same unit: a coarse grid may miss a better answer."""


def best_constant(examples: Sequence[Example], *, most_comparisons: int = MOST_COMPARISONS) -> Constant | None:
    """The span in seconds that scores best as the answer to every query, on a grid as fine as `most_comparisons` allow.

    Args:
        examples: the questions, at least one.
        most_comparisons: largest number of comparisons of a candidate with an annotated span.

    Returns:
        The answer; None if every span ends at 0 or there are no annotated spans.
    """
    packed = PackedExamples.of(examples)
    return find_best_constant(AnnotatedSpans.of(packed), packed.durations_s, most_comparisons)


def find_best_constant(rows: AnnotatedSpans, durations_s: np.ndarray, most_comparisons: int) -> Constant | None:
    """`best_constant` of spans in arrays.

    Args:
        rows: the annotated spans.
        durations_s: of the rows; NaN: not known.
        most_comparisons: as for `best_constant`.
    """
    latest_s = float(rows.spans[:, 1].max(initial=0.0))
    if not np.isnan(durations_s).all():
        latest_s = min(latest_s, float(np.nanmax(durations_s)))
    least_s = latest_s / max(10.0, math.sqrt(2 * most_comparisons / max(1, len(rows.spans))))
    return _find_best(rows, latest_s, next((step for step in _STEPS_S if step >= least_s), least_s))


def best_constant_share(examples: Sequence[Example]) -> Constant | None:
    """The best constant answer in shares of the video: it needs only the duration.

    IoU does not depend on the unit, so it is a search over videos of length 1.

    Raises:
        DataError: the duration of an example is not known.
    """

    packed = PackedExamples.of(examples)
    unknown = np.flatnonzero(np.isnan(packed.durations_s) & (np.diff(packed.first_spans) > 0))
    if unknown.size:
        _ = packed[int(unknown[0])].known_duration  # says what is wrong
    return find_best_share(AnnotatedSpans.of(packed), packed.durations_s)


def find_best_share(rows: AnnotatedSpans, durations_s: np.ndarray) -> Constant | None:
    """`best_constant_share` of spans in arrays, as `find_best_constant`."""
    lengths_s = np.repeat(durations_s, np.diff(rows.first))
    return _find_best(replace(rows, spans=rows.spans / lengths_s[:, None]), 1.0, _SHARE_STEP)


def _find_best(rows: AnnotatedSpans, latest: float, step: float) -> Constant | None:
    within = replace(rows, spans=np.minimum(rows.spans, latest))
    if not within.spans[:, 1].any():
        return None
    answer = _search(within, _make_grid(within, step))
    return Constant(span=answer, miou=_miou(answer, rows), step=step)


def best_constant_answer(examples: Iterable[Example], *, resolution_s: float = 1.0) -> tuple[Span, float]:
    """The single span that scores best when given as the answer to every example, and its mean IoU.

    The search is exhaustive over start < end on a grid up to the last annotated second, also if it is wrong; use
    `best_constant` for a floor. The time grows with the number of spans and the square of the grid (Charades-STA, 3720
    spans up to 58 s: 0.1 s), so raise `resolution_s` for hours of video. Ties go to the earliest, then shortest span.

    Args:
        examples: the questions.
        resolution_s: step of the grid, in seconds.

    Raises:
        DataError: there are no examples, or no annotated span ends after 0 s.
        ValueError: the resolution is not positive.
    """
    if not resolution_s > 0:
        raise ValueError(f"resolution_s must be positive, got {resolution_s}")
    packed = PackedExamples.of(examples)
    if not packed:
        raise DataError("no examples", reason="there is nothing to answer", remedy="give at least one example")
    rows = AnnotatedSpans.of(packed)
    horizon_s = float(rows.spans[:, 1].max(initial=0.0))
    if not 0 < horizon_s < math.inf:
        raise DataError(
            f"annotated spans that end at {horizon_s} s",
            reason="a constant answer needs a span that ends after 0 s",
            remedy="check the spans of the manifest with `video-opd data check`",
        )
    best = _search(rows, _make_grid(rows, resolution_s))
    # The search only ranks; the reported number comes from `temporal_iou`.
    return best, _miou(best, rows)


@dataclass(frozen=True, slots=True)
class AnnotatedSpans:
    """The annotated spans of R rows."""

    spans: np.ndarray
    """(S, 2) row after row."""
    first: np.ndarray
    """(R + 1,) where the spans of each row begin."""

    @classmethod
    def of(cls, examples: PackedExamples) -> AnnotatedSpans:
        """Those of examples."""
        return cls(examples.spans_s, examples.first_spans)

    def take(self, rows: np.ndarray) -> AnnotatedSpans:
        """Those of some rows, whose places are given."""
        counts = np.diff(self.first)[rows]
        first = np.concatenate([[0], counts.cumsum()])
        places = np.arange(first[-1]) + np.repeat(self.first[rows] - first[:-1], counts)
        return AnnotatedSpans(self.spans[places], first)


def _make_grid(rows: AnnotatedSpans, step: float) -> np.ndarray:
    return np.asarray(np.arange(math.ceil(rows.spans[:, 1].max() / step) + 1) * step)


def _search(rows: AnnotatedSpans, grid: np.ndarray) -> Span:
    """The best answer that starts and ends on the grid; of equally good ones the earliest, then the shortest.

    Of many rows a random part ranks the answers first, and only those go on that come near to the best. The bound is
    Hoeffding's: that it leaves out an answer which is better over all rows has a probability below 1e-8 for each.
    """
    num_rows = len(rows.first) - 1
    if num_rows <= _FIRST_PART:
        return _search_all(rows, grid)
    starts, ends = (grid[places] for places in np.triu_indices(len(grid), 1))
    order = np.random.default_rng(0).permutation(num_rows)
    size = _FIRST_PART
    while size < num_rows:
        totals = _add_up(rows.take(np.sort(order[:size])), starts, ends)
        near = totals >= totals.max() - _BOUND * math.sqrt(size)
        starts, ends, size = starts[near], ends[near], 10 * size
    best = _add_up(rows, starts, ends).argmax()
    return Span(float(starts[best]), float(ends[best]))


def _search_all(rows: AnnotatedSpans, grid: np.ndarray) -> Span:
    best_total, best = -1.0, Span(0.0, 0.0)
    for index, start in enumerate(grid[:-1]):
        ends = grid[index + 1 :]
        totals = _add_up(rows, np.full(len(ends), start), ends)
        if totals.max() > best_total:
            best_total, best = float(totals.max()), Span(float(start), float(ends[totals.argmax()]))
    return best


def _add_up(rows: AnnotatedSpans, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(C,) the sums over the rows of the best IoU of each of C answers."""
    filled = rows.first[:-1][np.diff(rows.first) > 0]
    are_single = len(filled) == len(rows.spans)
    annotated_start, annotated_end = np.ascontiguousarray(rows.spans.T)
    totals = np.empty(len(starts))
    step = max(1, _ELEMENTS_AT_ONCE // len(rows.spans))
    for chunk in range(0, len(starts), step):
        start, end = starts[chunk : chunk + step, None], ends[chunk : chunk + step, None]
        shared = np.minimum(end, annotated_end)
        shared -= np.maximum(start, annotated_start)
        np.maximum(shared, 0.0, out=shared)
        whole = np.maximum(end, annotated_end)
        whole -= np.minimum(start, annotated_start)
        shared /= whole
        best = shared if are_single else np.maximum.reduceat(shared, filled, axis=1)
        totals[chunk : chunk + step] = best.sum(axis=1)
    return totals


def _miou(answer: Span, rows: AnnotatedSpans) -> float:
    ious = temporal_ious(np.array(answer), rows.spans)
    return math.fsum(reduce_rows(ious, rows.first, 0.0)) / (len(rows.first) - 1)
