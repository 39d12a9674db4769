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
from video_opd.grounding.span import best_iou
from video_opd.types import Example, Span

MOST_COMPARISONS = 200_000_000
"""Number of comparisons in a search of about two seconds."""
_STEPS_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Step of the grid of answers, in seconds."""
_SHARE_STEP = 0.02
_ELEMENTS_AT_ONCE = 1_000_000
"""Bound on temporary arrays, so that memory does not grow with the number of queries."""


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
    latest_s = max((span.end_s for example in examples for span in example.spans), default=0.0)
    latest_s = min(latest_s, max((e.duration for e in examples if e.duration is not None), default=latest_s))
    num_spans = max(1, sum(len(example.spans) for example in examples))
    least_s = latest_s / max(10.0, math.sqrt(2 * most_comparisons / num_spans))
    return _find_best(examples, latest_s, next((step for step in _STEPS_S if step >= least_s), least_s))


def best_constant_share(examples: Sequence[Example]) -> Constant | None:
    """The best constant answer in shares of the video: it needs only the duration.

    IoU does not depend on the unit, so it is a search over videos of length 1.

    Raises:
        DataError: the duration of an example is not known.
    """

    def convert_to_shares(example: Example) -> Example:
        spans = tuple(Span(*(end / example.known_duration for end in span)) for span in example.spans)
        return replace(example, spans=spans, duration=1.0)

    return _find_best([convert_to_shares(example) for example in examples], 1.0, _SHARE_STEP)


def _find_best(examples: Sequence[Example], latest: float, step: float) -> Constant | None:
    def cut(example: Example) -> Example:
        return replace(example, spans=tuple(Span(*(min(end, latest) for end in span)) for span in example.spans))

    within = [cut(example) for example in examples]
    if not any(span.end_s for example in within for span in example.spans):
        return None
    answer, _ = best_constant_answer(within, resolution_s=step)
    return Constant(span=answer, miou=_miou(answer, examples), step=step)


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
    examples = list(examples)
    if not examples:
        raise DataError("no examples", reason="there is nothing to answer", remedy="give at least one example")
    annotated = [(span, row) for row, example in enumerate(examples) for span in example.spans]
    horizon_s = max((span[1] for span, _ in annotated), default=0.0)
    if not 0 < horizon_s < math.inf:
        raise DataError(
            f"annotated spans that end at {horizon_s} s",
            reason="a constant answer needs a span that ends after 0 s",
            remedy="check the spans of the manifest with `video-opd data check`",
        )
    starts_s, ends_s = np.array([span for span, _ in annotated], dtype=np.float64).T
    first_of_example = np.unique([row for _, row in annotated], return_index=True)[1]
    grid_s = np.arange(math.ceil(horizon_s / resolution_s) + 1) * resolution_s
    best_total, best = -1.0, Span(0.0, 0.0)
    step = max(1, _ELEMENTS_AT_ONCE // len(annotated))
    for index, start_s in enumerate(grid_s[:-1]):
        for chunk in range(index + 1, len(grid_s), step):
            end_s = grid_s[chunk : chunk + step, None]
            overlap = np.clip(np.minimum(end_s, ends_s) - np.maximum(start_s, starts_s), 0.0, None)
            iou = overlap / (np.maximum(end_s, ends_s) - np.minimum(start_s, starts_s))
            totals = np.maximum.reduceat(iou, first_of_example, axis=1).sum(axis=1)
            if totals.max() > best_total:
                best_total, best = float(totals.max()), Span(float(start_s), float(end_s[totals.argmax(), 0]))
    # The search only ranks; the reported number comes from `temporal_iou`.
    return best, _miou(best, examples)


def _miou(answer: Span, examples: Sequence[Example]) -> float:
    return math.fsum(best_iou(answer, example.spans) for example in examples) / len(examples)
