"""Sets of spans: unions, their lengths and overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from video_opd.grounding import SpanLike

Interval = tuple[float, float]


def merged(spans: Iterable[SpanLike]) -> list[Interval]:
    """Their union as intervals that neither overlap nor touch, in order."""
    union: list[Interval] = []
    for start, end in sorted((start, end) for start, end in spans):
        if union and start <= union[-1][1]:
            union[-1] = union[-1][0], max(union[-1][1], end)
        else:
            union.append((start, end))
    return union


def total_length(spans: Iterable[SpanLike]) -> float:
    """Their lengths added up, in seconds; what several share counts several times."""
    return sum(end - start for start, end in spans)


def overlap(some: Sequence[SpanLike], others: Sequence[SpanLike]) -> float:
    """Seconds that each of `some` shares with each of `others`, added up."""
    return sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in some for b in others)
