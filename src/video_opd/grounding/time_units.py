"""Units of predicted times. A bare number does not say its unit: perfect answers as fractions of the video score 0 as
seconds, and nothing else shows it.

`likely_unit` looks at all predictions of a file together and names a unit only where three things agree: the numbers
are no seconds of these videos, in the other unit they score clearly better, and there each answer fits its own query
better than it fits other queries. The last tells a unit from a bad model, such as one that always says 0 - 1: its
answers fit every query alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from video_opd.grounding.first_spans import FirstSpans
from video_opd.grounding.packed_examples import PackedExamples, reduce_rows
from video_opd.grounding.parser import ParsedAnswer, parse_answer
from video_opd.grounding.span import SpanLike, temporal_ious
from video_opd.types import Example, Span

Unit = Literal["seconds", "fraction", "percent", "milliseconds", "minutes", "frames"]
UNITS: tuple[Unit, ...] = get_args(Unit)

FRAME_RATES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 20, 24, 25, 30, 50, 60)
"""Tried for frames; 23.976, 29.97 and 59.94 are near enough to theirs."""

_STRETCHES = (1.5, 2.0, 3.0, 4.0)
_NEIGHBOURS = (0.8, 0.87, 1.15, 1.25)
_LEAST_ANSWERS = 4
_LEAST_DISTINCT = 3
_MOST_SHIFTS = 25
_MOST_SPANS = 50
"""Annotated spans of a query that are looked at."""

_WORDS: Mapping[str, re.Pattern[str]] = {
    "percent": re.compile(r"%|(?<![a-z])per ?cent(?![a-z])", re.IGNORECASE),
    "milliseconds": re.compile(r"(?<![a-z])(?:milliseconds?|msecs?|ms)(?![a-z])", re.IGNORECASE),
    "minutes": re.compile(r"(?<![a-z])(?:minutes?|mins?)(?![a-z])", re.IGNORECASE),
    "frames": re.compile(r"(?<![a-z])frames?(?![a-z])", re.IGNORECASE),
}


def seconds_per_unit(unit: Unit, duration: float | None, fps: float | None = None) -> float | None:
    """The factor that turns times in a unit into seconds.

    Args:
        unit: of the times.
        duration: of the video in seconds, where it is known.
        fps: frames per second, for frames.

    Returns:
        None where the duration or the frame rate would be needed and is not known.
    """
    if unit in ("fraction", "percent"):
        if not duration or not math.isfinite(duration):
            return None
        return duration if unit == "fraction" else duration / 100
    if unit == "frames":
        return 1 / fps if fps else None
    return {"seconds": 1.0, "milliseconds": 0.001, "minutes": 60.0}[unit]


def remove_unit(text: str, unit: Unit) -> str:
    """A text without the words and signs of a unit, so that its numbers are read as bare ones."""
    return _WORDS[unit].sub("", text) if unit in _WORDS else text


def find_bare_spans(text: str, parsed: ParsedAnswer | None = None) -> tuple[Span, ...]:
    """The spans that an answer names, also where it gives them in percent or frames, as the numbers stand.

    Args:
        parsed: what `parse_answer` reads in it, where that is known.
    """
    parsed = parse_answer(text) if parsed is None else parsed
    if parsed.spans or not any(_WORDS[unit].search(text) for unit in ("percent", "frames")):
        return parsed.spans
    return parse_answer(remove_unit(remove_unit(text, "percent"), "frames")).spans


def read_spans_without_units(text: str) -> tuple[Span, ...]:
    """The spans that an answer names, as the numbers stand, with units ignored. So a parser without units reads it: it
    takes `200 ms - 400 ms` for seconds."""
    for unit in _WORDS.values():
        text = unit.sub("", text)
    return parse_answer(text).spans


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitEvidence:
    """Predictions that are very likely not in seconds."""

    unit: Unit
    fps: float | None
    """Frames per second, where the unit is frames: the one of `FRAME_RATES` that fits best."""
    miou: float
    """Mean IoU if the times are in that unit: first predicted span, best-matching annotated one, over the answers."""
    miou_as_seconds: float
    num_answers: int
    what_shows_it: str

    @property
    def options(self) -> str:
        """The options that say this unit on the command line."""
        return f"--unit {self.unit}" + (f" --fps {self.fps:g}" if self.fps else "")

    @property
    def sentence(self) -> str:
        """What is likely, and why."""
        named = {"fraction": "fractions of the video", "percent": "percent of the video"}.get(self.unit, self.unit)
        at = f" at {self.fps:g} a second" if self.fps else ""
        return (
            f"The predictions are very likely {named}{at}, not seconds: {self.what_shows_it}; mIoU is "
            f"{self.miou_as_seconds:.3f} as seconds and would be {self.miou:.3f} as {named.split(' ')[0]}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The record as a report holds it."""
        return asdict(self)


def likely_unit(predicted: Mapping[str, SpanLike], examples: Iterable[Example]) -> UnitEvidence | None:
    """The unit that predictions taken for seconds are in, where there is clear evidence of another.

    Args:
        predicted: example id -> first predicted span, as the numbers stand.
        examples: what was asked. One without a duration counts for units that do not need it.

    Returns:
        The best-fitting unit; None for seconds, and where it is unclear.
    """
    packed = PackedExamples.of(examples)
    return find_likely_unit(FirstSpans.of({id: [span] for id, span in predicted.items()}, packed), packed)


def find_likely_unit(predicted: FirstSpans, examples: PackedExamples) -> UnitEvidence | None:
    """`likely_unit` of spans that stand beside their examples already."""
    asked = np.flatnonzero(predicted.is_named & (np.diff(examples.first_spans) > 0))
    spans = predicted.spans_s[asked]
    usable = np.isfinite(spans).all(axis=1) & (spans[:, 0] <= spans[:, 1]) & (np.abs(spans) < 1e12).all(axis=1)
    spans = spans[usable]
    if len(spans) < max(_LEAST_ANSWERS, 0.5 * len(asked)) or len(np.unique(spans, axis=0)) < _LEAST_DISTINCT:
        return None
    table = _Table(examples, asked[usable], spans)
    suspects = table.find_suspects()
    if not suspects:
        return None
    as_seconds = float(table.ious(np.ones(len(table.spans))).mean())
    found = [
        UnitEvidence(
            unit=unit, fps=fps, miou=miou, miou_as_seconds=as_seconds, num_answers=len(table.spans), what_shows_it=shown
        )
        for unit, shown in suspects.items()
        for fps in (FRAME_RATES if unit == "frames" else (None,))
        if (miou := table.worth(unit, fps, as_seconds)) is not None
    ]
    # Of so many frame rates one fits somehow.
    return max(found, key=lambda evidence: evidence.miou * (0.9 if evidence.fps else 1), default=None)


class _Table:
    """Predictions beside what is known of their videos: N rows.

    Args:
        examples: what was asked.
        places: (N,) of the examples that were answered.
        spans: (N, 2) what was predicted.
    """

    def __init__(self, examples: PackedExamples, places: np.ndarray, spans: np.ndarray) -> None:
        self.spans = spans
        self._places, self._annotated_spans = places, examples.spans_s
        first = examples.first_spans
        self._first, self._count = first[:-1], np.minimum(np.diff(first), _MOST_SPANS)
        self.duration = examples.durations_s[places]  # a copy
        self.duration[self.duration == 0] = math.nan
        looked_at = np.arange(len(self._annotated_spans)) - np.repeat(self._first, np.diff(first)) < _MOST_SPANS
        self.last = reduce_rows(np.where(looked_at, self._annotated_spans[:, 1], -math.inf), first, math.nan)[places]
        # Where the length of a video is not known, it is at least as long as what is annotated.
        self.length = np.where(np.isnan(self.duration), self.last, np.fmax(self.duration, self.last))

    @cached_property
    def annotated(self) -> np.ndarray:
        """(N, W, 2) the annotated spans of each row, NaN behind the last."""
        count = self._count[self._places]
        annotated = np.full((len(count), int(count.max()), 2), math.nan)
        for number in range(annotated.shape[1]):
            rows = np.flatnonzero(count > number)
            annotated[rows, number] = self._annotated_spans[self._first[self._places[rows]] + number]
        return annotated

    def ious(self, scale: np.ndarray, shift: int = 0, later: float = 0.0) -> np.ndarray:
        """(N,) of each prediction, or of that of another row, with the best-matching annotated span of the row."""
        predicted = np.roll(self.spans, shift, axis=0) * scale[:, None] + later
        return np.asarray(temporal_ious(predicted[:, None], self.annotated).max(axis=1))

    def find_suspects(self) -> dict[Unit, str]:
        """Units that the numbers may be in because they are no seconds of these videos, and what shows it."""
        end, length = self.spans[:, 1], self.length
        typical = f"the videos are {np.median(length):.3g} s long"
        found: dict[Unit, str] = {}
        if not np.isnan(self.duration).all():
            # A few per cent over, where data sets annotate ends after their videos.
            if _share(end <= 1.1) >= 0.95 and (share := _share(end <= 1 + 1e-9)) >= 0.7 and np.median(length) > 2:
                found["fraction"] = f"{share:.0%} of the predicted ends are at most 1, and {typical}"
            if _share(end <= 110) >= 0.97 and (share := _share(end <= 100 + 1e-9)) >= 0.7:
                if _share(end > 1.1 * length + 1) >= 0.1:
                    found["percent"] = f"{share:.0%} of the predicted ends are at most 100, and {typical}"
                elif len(end) >= 20 and share >= 0.97 and (beyond := _share(self.last > 110)) >= 0.1:
                    found["percent"] = (
                        f"{share:.0%} of the predicted ends are at most 100, and {beyond:.0%} of the annotated ones "
                        "are more than 110"
                    )
            # Without durations percent would pass for frames.
            if (share := _share(end > 1.1 * length)) >= 0.35:
                found["frames"] = f"{share:.0%} of the predicted ends are after the end of the video, and {typical}"
        if (share := _share(end <= 1.1 * length / 60 + 0.05)) >= 0.95 and np.median(length) > 20:
            found["minutes"] = f"{share:.0%} of the predicted ends are within a sixtieth of the video, and {typical}"
        if (share := _share(end > 3 * length)) >= 0.9:
            found["milliseconds"] = f"{share:.0%} of the predicted ends are beyond three times the video, and {typical}"
        return {unit: shown.replace("%", " %") for unit, shown in found.items()}

    def worth(self, unit: Unit, fps: float | None, as_seconds: float) -> float | None:
        """Mean IoU in a unit; None if it is not clearly better, or if the answers fit other queries as well."""
        scale = self._find_scale(unit, fps)
        known = ~np.isnan(scale)
        if known.sum() < _LEAST_ANSWERS:
            return None
        ious = np.where(known, self.ious(np.nan_to_num(scale)), 0.0)
        if ious.mean() < 1.5 * as_seconds + 0.05:
            return None
        # A model that says everything too early or too late fits another stretch better still.
        stretched = (scale * by for by in _NEIGHBOURS) if fps else (np.ones(len(scale)) * by for by in _STRETCHES)
        if unit in ("percent", "frames") and any(
            self.ious(np.nan_to_num(by)).mean() > 1.1 * ious.mean() for by in stretched
        ):
            return None
        # Nor is one that says everything, say, 20 s too late in another unit.
        offset = float(np.median(self.annotated[:, 0].mean(axis=1) - self.spans.mean(axis=1)))
        if unit in ("percent", "frames") and self.ious(np.ones(len(ious)), later=offset).mean() > 1.1 * ious.mean():
            return None
        num = len(ious)
        shifts = sorted({1 + round(step * (num - 2) / _MOST_SHIFTS) for step in range(_MOST_SHIFTS)} | {num - 1})
        shifts = [shift for shift in shifts if 0 < shift < num]
        others = np.zeros(num)
        for shift in shifts:
            others += self.ious(np.nan_to_num(scale), shift)
        better = ious - others / len(shifts)
        spread = float(better.std(ddof=1)) / math.sqrt(num)
        clear = better.mean() >= (0.02 if num >= 30 else 0.1) and better.mean() > 3 * spread
        return float(ious.mean()) if clear else None

    def _find_scale(self, unit: Unit, fps: float | None) -> np.ndarray:
        """(N,) seconds per unit; NaN: not known."""
        if unit in ("fraction", "percent"):
            length = np.where(np.isfinite(self.duration), self.duration, math.nan)
            return length if unit == "fraction" else length / 100
        return np.full(len(self.spans), seconds_per_unit(unit, None, fps) or math.nan)


def _share(of: np.ndarray) -> float:
    return float(of.mean())
