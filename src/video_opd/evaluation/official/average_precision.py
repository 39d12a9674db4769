"""Average precision as QVHighlights has it, for windows in time and for clips. Sources: `standalone_eval/utils.py` of
jayleicn/moment_detr, which follows ActivityNet's and the Pascal VOC 2011 rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from video_opd.evaluation.official.span_sets import pairwise_iou
from video_opd.grounding import SpanLike


def window_average_precisions(
    predicted: Sequence[SpanLike], scores: Sequence[float], annotated: Sequence[SpanLike], thresholds: Sequence[float]
) -> np.ndarray:
    """Average precision of one query's predicted windows, at each IoU threshold.

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
    ious = pairwise_iou([predicted[index] for index in order], annotated)
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
        average[place] = _interpolated(found / np.arange(1, len(order) + 1), found / len(annotated))
    return average


def _interpolated(precision: np.ndarray, recall: np.ndarray) -> float:
    """Area under the precision, raised to the best that comes at any higher recall."""
    best = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return float((steps * best).sum())


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
    return float(best[np.diff(found, prepend=0) > 0].mean())
