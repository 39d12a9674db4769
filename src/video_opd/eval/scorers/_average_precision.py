"""Average precision as QVHighlights has it, for windows in time and for clips. Sources: `standalone_eval/utils.py` of
jayleicn/moment_detr, which follows ActivityNet's and the Pascal VOC 2011 rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from video_opd.grounding import SpanLike


def cross_iou(some: Sequence[SpanLike], others: Sequence[SpanLike]) -> np.ndarray:
    """(some, others): the shared length over both lengths less the shared one, as the official scorer has it.

    Nothing is held back: a length is end less start, negative for a reversed window, and 0/0 is NaN.
    """
    a, b = (np.array([tuple(span) for span in spans], dtype=np.float64).reshape(-1, 2) for spans in (some, others))
    with np.errstate(all="ignore"):
        shared = np.maximum(np.minimum(a[:, None, 1], b[:, 1]) - np.maximum(a[:, None, 0], b[:, 0]), 0)
        whole = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0]) - shared
        return np.asarray(shared / whole)


def window_average_precisions(
    predicted: Sequence[SpanLike], scores: Sequence[float], annotated: Sequence[SpanLike], thresholds: Sequence[float]
) -> np.ndarray:
    """Average precision of one query's predicted windows, at each IoU threshold.

    An IoU that is no number (0/0: a reversed window as long as the annotated one, or two points) is below no threshold
    and so finds its window, as officially.

    Args:
        predicted: P windows in seconds.
        scores: one for each window; of equal ones the earlier comes first.
        annotated: A windows, at least one.
        thresholds: T IoU thresholds; reached by >=.

    Returns:
        (T,) values in 0..1; 0 without predictions.
    """
    average = np.zeros(len(thresholds))
    if not predicted:
        return average
    order = sorted(range(len(predicted)), key=lambda index: -scores[index])
    ious = cross_iou([predicted[index] for index in order], annotated)
    # The better-matching annotated windows first, of equal ones the later, as the official scorer goes through them.
    preference = [row.argsort()[::-1] for row in ious]
    for place, threshold in enumerate(thresholds):
        free = np.ones(len(annotated), dtype=bool)
        correct = np.zeros(len(order))
        for index, row in enumerate(ious):
            for window in preference[index]:
                if row[window] < threshold:
                    break
                if free[window]:
                    free[window], correct[index] = False, 1.0
                    break
        found = correct.cumsum()
        average[place] = _interpolate_area(found / np.arange(1, len(order) + 1), found / len(annotated))
    return average


def _interpolate_area(precision: np.ndarray, recall: np.ndarray) -> float:
    """Area under the precision, raised to the best that comes at any higher recall. The last step, up to recall 1, is
    worth nothing, but numpy groups its sums by how many there are."""
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    steps = np.diff(recall, prepend=0.0, append=1.0)
    return float((steps * best)[steps != 0].sum())


def clip_average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Mean, over the distinct scores at which another positive clip is found, of the best precision from there down.

    Args:
        positive: (C,) bool.
        scores: (C,) predicted saliency; clips of equal score come together.

    Returns:
        A number in 0..1; 0 without positive clips, 1 without negative ones.
    """
    if positive.all() or not positive.any():
        return float(positive.any())
    order = np.argsort(-scores, kind="stable")
    last_of_score = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    found = positive[order].cumsum()[last_of_score]
    precision = found / (last_of_score + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # From the highest recall down: the mean is added up in the official order.
    return float(best[np.diff(found, prepend=0) > 0][::-1].mean())
