"""What a manifest is like, in numbers: how long, how often, where in the video, and what an answer is worth that never
looked.

Temporal grounding is easy to fool. Spans that sit at the beginning, that cover the whole video or that are all equally
long let a model score without seeing anything, so the two best constant answers stand beside the counts: they are the
floor that a model must clear. Shares are in 0..1, times in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np

from video_opd.data.rows_to_measure import RowsToMeasure
from video_opd.data.video.video_sampling import DURATION_TOLERANCE_S, ROUNDING_S
from video_opd.errors import DataError
from video_opd.grounding.constant_answer import MOST_COMPARISONS, Constant, find_best_constant, find_best_share
from video_opd.grounding.packed_examples import PackedExamples, reduce_rows
from video_opd.types import Example

NEAR_WHOLE = 0.95
"""From this share of the video on, a row asks for nearly all of it."""
BINS = tuple(step / 20 for step in range(20))
"""Lower edges of the bins of everything that is a share of the video."""
SECONDS = (
    0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200
)  # fmt: skip
"""Lower edges of the bins of times. The same for every data set, so that two of them can be compared bar by bar."""
_SHORTEST_S, _LONGEST_S = 1e-3, 1e9
"""Of a video that a share can be taken of: outside lie units that were mistaken, and sums that no float holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a quantity is distributed. `low` and `high` are the 5 % and 95 % quantiles."""

    minimum: float
    low: float
    median: float
    mean: float
    high: float
    maximum: float

    @classmethod
    def from_values(cls, values: Sequence[float] | np.ndarray) -> Self:
        """Summarise at least one value; quantiles are interpolated linearly."""
        array = np.asarray(values)
        low, median, high = (float(value) for value in np.percentile(array, (5, 50, 95)))
        mean = math.fsum(array) / len(array)
        return cls(minimum=array.min().item(), low=low, median=median, mean=mean, high=high, maximum=array.max().item())


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """The number of values in each bin. A bin reaches from its edge up to but not including the next; the last one is
    open."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def from_values(cls, values: Sequence[float] | np.ndarray, edges: Sequence[float]) -> Self:
        """Count values that are not below the first edge."""
        return cls(edges=tuple(edges), counts=tuple(np.bincount(_bins(values, edges), minlength=len(edges)).tolist()))

    @property
    def occupied(self) -> range:
        """The bins from the first to the last that is not empty."""
        filled = [index for index, count in enumerate(self.counts) if count]
        return range(filled[0], filled[-1] + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A set of rows in numbers."""

    rows: int
    videos: int
    """Files that are named."""
    hours: float
    """Of the videos, or of their clips where rows have one, each counted once."""
    sources: Mapping[str, int]
    """Name of a data set -> rows, most first."""
    duration_s: Summary
    """Of videos or clips, each counted once."""
    span_s: Summary
    """Length of spans."""
    span_share: Summary
    """Length of spans as a share of the video."""
    words: Summary
    """Per query."""
    queries_per_video: Summary
    spans_per_row: Mapping[int, int]
    """Number of spans -> rows."""
    multi_span: float
    """Share of rows with more than one span."""
    near_whole: float
    """Share of rows whose spans together cover at least 95 % of the video."""
    whole_seconds: float
    """Share of boundaries on a whole second. Where it is large, an IoU of exactly 0.5 is common, and `>` and `>=` give
    different scores."""
    points: int
    """Spans without length: their IoU with anything is 0."""
    past_end: int
    """Spans that end after the video."""
    past_end_by_a_second: int
    """Spans that end more than a second after it."""
    repeated: int
    """Rows with the video, clip and query of an earlier row."""
    two_durations: int
    """Videos or clips for which rows give different durations."""
    durations: Histogram
    span_lengths: Histogram
    span_shares: Histogram
    starts: Histogram
    centres: Histogram
    ends: Histogram
    """Positions are shares of the video; what lies after its end counts in the last bin."""
    positions: tuple[tuple[int, ...], ...]
    """Spans that start in bin i and end in bin j, at [i][j]."""
    best_constant: Constant | None
    """In seconds. None: every span ends at 0."""
    best_share: Constant | None
    """The same in shares of the video: what a model gains that knows the duration and nothing else."""
    by_source: Mapping[str, Statistics] = field(default_factory=dict)
    """Of each source, where there are several."""

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON values."""
        return asdict(self)


def describe(examples: Iterable[Example]) -> Statistics:
    """Measure a set of rows, and each of its sources if there are several.

    Raises:
        DataError: no examples, times that no video has, or an unknown duration.
    """
    packed = PackedExamples.of(examples)
    if not packed:
        raise DataError("no examples", reason="there is nothing to measure", remedy="give at least one row")
    _refuse_impossible_times(packed)
    rows = RowsToMeasure.of(packed)
    whole = _describe(rows, MOST_COMPARISONS)
    if len(whole.sources) < 2:
        return whole
    most = MOST_COMPARISONS // len(whole.sources)
    members = {source: rows.take(rows.sources == packed.sources.number(source)) for source in whole.sources}
    return replace(whole, by_source={source: _describe(of, most) for source, of in members.items()})


def _refuse_impossible_times(examples: PackedExamples) -> None:
    durations_s = examples.durations_s
    latest_s = np.fmax(durations_s, reduce_rows(examples.spans_s[:, 1], examples.first_spans, 0.0))
    wrong = np.flatnonzero(np.isnan(durations_s) | (durations_s < _SHORTEST_S) | (latest_s > _LONGEST_S))
    if wrong.size:
        example, latest = examples[int(wrong[0])], latest_s[wrong[0]]
        raise DataError(
            f"row {example.id!r} with a duration of {example.known_duration:g} s and times up to {latest:g} s",
            reason="no video is like that, and shares of it mean nothing",
            remedy="correct the row; all times are seconds",
        )


def _describe(rows: RowsToMeasure, most_comparisons: int) -> Statistics:
    num_rows, counts = len(rows.durations_s), np.diff(rows.annotated.first)
    starts_s, ends_s = rows.annotated.spans.T
    lengths_of_videos, num_disagreeing = rows.measure_videos()
    durations = np.repeat(rows.durations_s, counts)
    span_lengths = ends_s - starts_s
    starts, ends = starts_s / durations, ends_s / durations
    queries = np.bincount(rows.videos)
    queries = queries[queries > 0]
    positions = np.bincount(_bins(starts, BINS) * len(BINS) + _bins(ends, BINS), minlength=len(BINS) ** 2)
    return Statistics(
        rows=num_rows,
        videos=len(queries),
        hours=math.fsum(lengths_of_videos) / 3600,
        sources=rows.count_sources(),
        duration_s=Summary.from_values(lengths_of_videos),
        span_s=Summary.from_values(span_lengths),
        span_share=Summary.from_values(span_lengths / durations),
        words=Summary.from_values(rows.words),
        queries_per_video=Summary.from_values(queries),
        spans_per_row={int(number): int(of) for number, of in zip(*np.unique(counts, return_counts=True), strict=True)},
        multi_span=1 - int((counts == 1).sum()) / num_rows,
        near_whole=int((rows.covered >= NEAR_WHOLE).sum()) / num_rows,
        whole_seconds=int((rows.annotated.spans == np.round(rows.annotated.spans)).sum()) / (2 * len(durations)),
        points=int((span_lengths == 0).sum()),
        past_end=int((ends_s > durations + ROUNDING_S).sum()),
        past_end_by_a_second=int((ends_s > durations + DURATION_TOLERANCE_S).sum()),
        repeated=num_rows - len(np.unique(rows.questions)),
        two_durations=num_disagreeing,
        durations=Histogram.from_values(lengths_of_videos, SECONDS),
        span_lengths=Histogram.from_values(span_lengths, SECONDS),
        span_shares=Histogram.from_values(span_lengths / durations, BINS),
        starts=Histogram.from_values(starts, BINS),
        centres=Histogram.from_values((starts + ends) / 2, BINS),
        ends=Histogram.from_values(ends, BINS),
        positions=tuple(tuple(row) for row in positions.reshape(len(BINS), len(BINS)).tolist()),
        best_constant=find_best_constant(rows.annotated, rows.durations_s, most_comparisons),
        best_share=find_best_share(rows.annotated, rows.durations_s),
    )


def _bins(values: Sequence[float] | np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """The number of the bin that each value lies in."""
    return np.searchsorted(edges, values, side="right") - 1
