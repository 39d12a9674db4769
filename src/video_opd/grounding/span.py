"""The one temporal IoU. Reward, curriculum and evaluation all call it, so they cannot disagree.

The field carries several copies that differ exactly where it hurts. When prediction and annotation are the same point,
TimeLens's evaluator divides by zero, VideoChat-R1 gives 1, and Time-R1's reward keeps the *previous sample's* value
(the variable is only assigned when the union is positive). Here a union of no length overlaps nothing: the IoU is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from video_opd.types import Span

SpanLike = Sequence[float]
"""(start_s, end_s) in seconds: a `Span`, a tuple or a list of two numbers."""


def temporal_iou(a: SpanLike, b: SpanLike) -> float:
    """Intersection over union of two spans of time.

    Args:
        a: (start_s, end_s) in seconds.
        b: (start_s, end_s) in seconds.

    Returns:
        A number in 0..1; 1 only for spans that are equal to rounding. 0 where they do not overlap, where their union
        has no length (both are the same point), and where a span is reversed, not finite, or too long for its length to
        be finite. A bad span is a bad answer: never an exception, never a value left over from another call.

    Raises:
        ValueError: if `a` or `b` does not have exactly two elements.

    Example:
        >>> temporal_iou((2.0, 6.0), (4.0, 8.0))  # 2 s in common, 6 s in all
        0.3333333333333333
        >>> temporal_iou((4.0, 8.0), (4.0, 8.0))
        1.0
        >>> temporal_iou((8.0, 4.0), (4.0, 8.0))  # reversed
        0.0
    """
    a_start, a_end = a
    b_start, b_end = b
    if not (a_start <= a_end and b_start <= b_end):  # also false when any of the four is NaN
        return 0.0
    intersection = min(a_end, b_end) - max(a_start, b_start)
    # The hull equals the union whenever the spans overlap, and where they do not the answer is 0 either way.
    union = max(a_end, b_end) - min(a_start, b_start)
    if intersection <= 0.0 or not math.isfinite(union):
        return 0.0
    return float(intersection / union)


def temporal_ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`temporal_iou` of many pairs of spans: the same comparisons and divisions, so the same numbers.

    Args:
        a: (…, 2) seconds.
        b: (…, 2) seconds; the other axes are broadcast against those of `a`.

    Returns:
        (…) numbers in 0..1.
    """
    (a_start, a_end), (b_start, b_end) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    with np.errstate(over="ignore", invalid="ignore"):  # a span too long for a float is a bad answer, too
        shared = np.minimum(a_end, b_end) - np.maximum(a_start, b_start)
        whole = np.maximum(a_end, b_end) - np.minimum(a_start, b_start)
    overlap = (a_start <= a_end) & (b_start <= b_end) & (shared > 0) & np.isfinite(whole)
    return np.divide(shared, whole, out=np.zeros(shared.shape), where=overlap)


def best_iou(prediction: SpanLike, annotated_spans: Iterable[SpanLike]) -> float:
    """IoU of a predicted span with the annotated span it matches best; 0 where nothing is annotated.

    The QVHighlights convention (2D moment retrieval, Lei et al. 2021): a query may be annotated with several windows,
    and the answer is right if it finds any of them.
    """
    return max((temporal_iou(prediction, span) for span in annotated_spans), default=0.0)


def best_span(prediction: SpanLike, annotated_spans: Sequence[Span]) -> Span:
    """The annotated span that a prediction matches best; the first of those that match equally well.

    Raises:
        ValueError: nothing is annotated.
    """
    return max(annotated_spans, key=lambda span: temporal_iou(prediction, span))
