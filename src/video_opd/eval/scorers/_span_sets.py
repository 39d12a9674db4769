"""Sets of spans: unions, their lengths and overlaps, and the IoU in which TimeLens2 and VUE-TR compare them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import DTypeLike

from video_opd.grounding import SpanLike

Interval = tuple[float, float]


def merge_spans(spans: Iterable[SpanLike]) -> list[Interval]:
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


def set_iou(predicted: Iterable[SpanLike], annotated: Sequence[SpanLike]) -> float:
    """IoU, 0..1, of the merged prediction with the annotation as it stands; 0 where both have no length.

    A predicted span that ends before it starts is dropped. Annotated spans that overlap count several times, and what
    is more than 1 for that is held to 1.
    """
    union = merge_spans(span for span in predicted if span[0] <= span[1])
    shared = overlap(union, annotated)
    whole = total_length(union) + total_length(annotated) - shared
    return min(shared / whole, 1.0) if whole > 0 else 0.0


def pairwise_iou(some: Sequence[SpanLike], others: Sequence[SpanLike], dtype: DTypeLike = np.float64) -> np.ndarray:
    """(some, others): intersection over the sum of lengths less the intersection, in the precision of `dtype`; 0 where
    that is empty."""
    with np.errstate(over="ignore", invalid="ignore"):  # times beyond single precision overlap nothing
        a, b = (np.array([tuple(span) for span in spans], dtype=dtype) for spans in (some, others))
        shared = np.maximum(np.minimum(a[:, None, 1], b[:, 1]) - np.maximum(a[:, None, 0], b[:, 0]), 0)
        whole = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0]) - shared
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def f1_of_windows(iou: np.ndarray, threshold: float) -> float:
    """Harmonic mean of the shares of annotated (rows) and of predicted windows (columns) that any other reaches the
    threshold with, in single precision, as MUSEG and E.T. Bench have it."""
    reached = iou >= np.float32(threshold)
    recall, precision = (np.float32(reached.any(axis=axis).mean(dtype=np.float32)) for axis in (1, 0))
    both = float(precision) + float(recall)
    return 2 * float(precision) * float(recall) / both if both else 0.0
