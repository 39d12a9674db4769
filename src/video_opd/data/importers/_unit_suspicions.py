"""Check whether the times are in seconds: one span does not show it, but all spans of an import together do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from video_opd.data.importers._annotation import Annotation
from video_opd.data.video.video_sampling import DURATION_TOLERANCE_S, ROUNDING_S
from video_opd.types import Example

_OFF_SCALE_SHARE, _FEW = 0.05, 3
"""More spans than this share that begin after their video ends, and more than a few of them, are in another unit."""
_MOST = 0.5
"""More spans than this share that begin after their video ends, or end long after it, are in another unit however few
they are. Ends that are late by some seconds are sloppy (228 of Charades-STA's 3,720, and all of some of its videos)."""
_LONG = 0.2
"""An end is long after its video if it is later by this share of it, and a second."""
_SHORT_S = 2.0
"""In videos that are no longer, spans within the first second say nothing."""
_MANY, _EARLY_SHARE = 20, 0.02
"""So many spans do not all lie within this share of their videos."""
_SOME, _RATHER_EARLY_SHARE = 3, 0.1
"""So many hardly do within this one: frame numbers at 25 a second, set against seconds, end within the first 4 %."""


@dataclass(slots=True)
class Lateness:
    """How many spans lie after the ends of their videos, before any policy is applied."""

    num_spans: int = 0
    num_late: int = 0
    """End long after it."""
    num_off_scale: int = 0
    """Begin after it."""
    first_late: Annotation | None = None
    first_off_scale: Annotation | None = None

    def add(self, annotation: Annotation, start: float, end: float, duration: float) -> None:
        """Count one span, which is a possible one.

        Args:
            annotation: where it stands.
            start: seconds.
            end: seconds.
            duration: of the video, seconds.
        """
        self.num_spans += 1
        if end > duration * (1 + _LONG) + DURATION_TOLERANCE_S:
            self.num_late += 1
            self.first_late = self.first_late or annotation
        if end > duration + ROUNDING_S and start >= duration:
            self.num_off_scale += 1
            self.first_off_scale = self.first_off_scale or annotation

    def refuse_other_units(self) -> None:
        """Refuse the spans if too many of them lie after their video.

        Raises:
            DataError: at the first that does.
        """
        most = _MOST * self.num_spans
        first = self.first_off_scale
        if first and self.num_off_scale > min(most, max(_FEW, _OFF_SCALE_SHARE * self.num_spans)):
            count, what = self.num_off_scale, "begin after their video has ended"
        elif self.first_late and self.num_late > most:
            first, count, what = self.first_late, self.num_late, "end long after their video"
        else:
            return
        assert first is not None
        first.record.refuse(
            f"this and {count - 1} more of {self.num_spans} spans {what}, so times or durations are not all in seconds",
            "Check the unit (milliseconds, frame numbers, percentages) and the durations; `data import` of csv and "
            "jsonl has --unit",
        )


def refuse_early_spans(examples: Sequence[Example], last: Annotation) -> None:
    """Refuse the spans if all lie so early that the times or the durations cannot be in seconds.

    Raises:
        DataError: at the last annotation.
    """
    spans = [span for example in examples for span in example.spans]
    known = [example.duration for example in examples if example.duration is not None]
    if len(spans) <= _FEW or max(known, default=math.inf) <= _SHORT_S:
        return
    if 0 < max(span.end_s for span in spans) <= 1.0:
        last.record.refuse(
            f"this and all {len(spans)} spans end within the first second, so they are fractions of the video",
            "Convert them to seconds; `data import` of csv and jsonl has --unit fraction",
        )
    shares = _shares(examples)
    if len(shares) > _MANY and max(shares) < _EARLY_SHARE:
        last.record.refuse(
            f"this and all {len(shares)} spans end within the first {_EARLY_SHARE:.0%} of their video, so durations "
            "and times are not in one unit",
            "Check whether the durations are milliseconds or frame numbers: they are read as seconds whatever the unit "
            "of the spans",
        )


def find_suspicions(examples: Sequence[Example]) -> list[str]:
    """Warnings about spans that are possibly in another unit."""
    shares = _shares(examples)
    if len(shares) < _SOME or max(shares) >= _RATHER_EARLY_SHARE:
        return []
    return [
        f"all {len(shares)} spans end within the first {_RATHER_EARLY_SHARE:.0%} of their video: are the durations "
        "seconds? They are read as seconds whatever --unit says of the spans"
    ]


def _shares(examples: Sequence[Example]) -> list[float]:
    """Where the spans end, as shares of their videos, where those are known."""
    return [
        span.end_s / example.duration for example in examples if example.duration is not None for span in example.spans
    ]
