"""What a manifest is like, in numbers: how long, how often, where in the video, and what an answer is worth that never
looked.

Temporal grounding is easy to fool. Spans that sit at the beginning, that cover the whole video or that are all equally
long let a model score without seeing anything, so the two best constant answers stand beside the counts: they are the
floor that a model must clear. Shares are in 0..1, times in seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np

from video_opd.data.video.video_sampling import DURATION_TOLERANCE_S, ROUNDING_S
from video_opd.errors import DataError
from video_opd.grounding.constant_answer import MOST_COMPARISONS, Constant, best_constant, best_constant_share
from video_opd.types import Example, Span

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
    def from_values(cls, values: Sequence[float]) -> Self:
        """Summarise at least one value; quantiles are interpolated linearly."""
        low, median, high = (float(value) for value in np.percentile(values, (5, 50, 95)))
        mean = math.fsum(values) / len(values)
        return cls(minimum=min(values), low=low, median=median, mean=mean, high=high, maximum=max(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """The number of values in each bin. A bin reaches from its edge up to but not including the next; the last one is
    open."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def from_values(cls, values: Sequence[float], edges: Sequence[float]) -> Self:
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
    examples = list(examples)
    if not examples:
        raise DataError("no examples", reason="there is nothing to measure", remedy="give at least one row")
    for example in examples:
        _refuse_impossible_times(example)
    whole = _describe(examples, MOST_COMPARISONS)
    if len(whole.sources) < 2:
        return whole
    most = MOST_COMPARISONS // len(whole.sources)
    members: dict[str, list[Example]] = {source: [] for source in whole.sources}
    for example in examples:
        members[example.source].append(example)
    return replace(whole, by_source={source: _describe(rows, most) for source, rows in members.items()})


def _refuse_impossible_times(example: Example) -> None:
    duration = example.known_duration
    latest_s = max(duration, *(span.end_s for span in example.spans))
    if duration < _SHORTEST_S or latest_s > _LONGEST_S:
        raise DataError(
            f"row {example.id!r} with a duration of {duration:g} s and times up to {latest_s:g} s",
            reason="no video is like that, and shares of it mean nothing",
            remedy="correct the row; all times are seconds",
        )


def _describe(examples: list[Example], most_comparisons: int) -> Statistics:
    durations: dict[tuple[str, Span | None], set[float]] = {}
    for example in examples:
        durations.setdefault((example.video, example.clip), set()).add(example.known_duration)
    # Where rows disagree about a video, the longest is what every one of them fits in.
    lengths = [max(found) for found in durations.values()]
    spans = [(span, example.known_duration) for example in examples for span in example.spans]
    span_lengths = [span.end_s - span.start_s for span, _ in spans]
    span_shares = [(span.end_s - span.start_s) / duration for span, duration in spans]
    starts, ends = ([span[end] / duration for span, duration in spans] for end in (0, 1))
    boundaries = [boundary for span, _ in spans for boundary in span]
    queries = Counter(example.video for example in examples)
    spans_per_row = Counter(len(example.spans) for example in examples)
    positions = np.zeros((len(BINS), len(BINS)), dtype=int)
    np.add.at(positions, (_bins(starts, BINS), _bins(ends, BINS)), 1)
    return Statistics(
        rows=len(examples),
        videos=len(queries),
        hours=math.fsum(lengths) / 3600,
        sources=dict(Counter(example.source for example in examples).most_common()),
        duration_s=Summary.from_values(lengths),
        span_s=Summary.from_values(span_lengths),
        span_share=Summary.from_values(span_shares),
        words=Summary.from_values([len(example.query.split()) for example in examples]),
        queries_per_video=Summary.from_values(list(queries.values())),
        spans_per_row=dict(sorted(spans_per_row.items())),
        multi_span=1 - spans_per_row[1] / len(examples),
        near_whole=sum(covered_share(example) >= NEAR_WHOLE for example in examples) / len(examples),
        whole_seconds=sum(boundary == round(boundary) for boundary in boundaries) / len(boundaries),
        points=sum(length == 0 for length in span_lengths),
        past_end=sum(span.end_s > duration + ROUNDING_S for span, duration in spans),
        past_end_by_a_second=sum(span.end_s > duration + DURATION_TOLERANCE_S for span, duration in spans),
        repeated=len(examples) - len({(example.video, example.clip, example.query) for example in examples}),
        two_durations=sum(len(found) > 1 for found in durations.values()),
        durations=Histogram.from_values(lengths, SECONDS),
        span_lengths=Histogram.from_values(span_lengths, SECONDS),
        span_shares=Histogram.from_values(span_shares, BINS),
        starts=Histogram.from_values(starts, BINS),
        centres=Histogram.from_values([(start + end) / 2 for start, end in zip(starts, ends, strict=True)], BINS),
        ends=Histogram.from_values(ends, BINS),
        positions=tuple(tuple(row) for row in positions.tolist()),
        best_constant=best_constant(examples, most_comparisons=most_comparisons),
        best_share=best_constant_share(examples),
    )


def covered_share(example: Example) -> float:
    """The share of the video that a row's spans cover together; what lies after its end does not count."""
    covered_s = reached_s = 0.0
    for span in sorted(example.spans):
        end_s = min(span.end_s, example.known_duration)
        covered_s += max(end_s - max(span.start_s, reached_s), 0.0)
        reached_s = max(reached_s, end_s)
    return covered_s / example.known_duration


def _bins(values: Sequence[float], edges: Sequence[float]) -> np.ndarray:
    """The number of the bin that each value lies in."""
    return np.searchsorted(edges, values, side="right") - 1
