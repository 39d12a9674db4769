"""Watches the rows of a run for a collapse of the student that the teacher's scores do not show.

A student that gives one answer to every prompt can be very close to its teacher, and the reverse KL is then small. The
watch follows figures of the answers themselves. Its state is a function of the rows of metrics.jsonl, so a run that
goes on knows what it knew before.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from video_opd.config.watch_settings import WatchSettings
from video_opd.errors import EngineError
from video_opd.files.journal import iterate_journal
from video_opd.files.run_records import StepMetrics
from video_opd.runs.best_checkpoint import find_best_checkpoint
from video_opd.runs.directory import RunDirectory

Row = Mapping[str, Any]

_log = logging.getLogger(__name__)


def _read_length(row: Row) -> float | None:
    """Mean tokens of the student's own answers; None where it wrote none that was trained on."""
    if "entropy" not in row:
        return None
    return row.get("mean_own_answer_tokens", row.get("mean_answer_tokens"))


@dataclass(frozen=True, kw_only=True)
class WatchedFigure:
    """A figure that is watched."""

    name: str
    """As in a sentence."""
    limit: str
    """The key of the settings that holds its limit."""
    read: Callable[[Row], float | None]
    """Its value in a row; None where the row does not have it."""
    is_relative_to_first: bool = False
    """Whether the limit is relative to the first window; else to the best window so far."""
    is_upper: bool = False
    """Whether the limit is an upper one."""
    least_best: float = 0.0
    """The figure is judged only after a window with at least this mean: a student may begin below it."""
    is_rare: bool = False
    """Whether it is measured only now and then, on examples that are always the same: then every value is judged, and
    no mean."""


FIGURES = (
    WatchedFigure(
        name="the share of distinct answers",
        limit="distinct_answers",
        read=lambda row: row.get("distinct_answers"),
        least_best=0.3,
    ),
    WatchedFigure(
        name="the output format rate",
        limit="output_format_rate",
        read=lambda row: row.get("output_format_rate"),
        least_best=0.5,
    ),
    WatchedFigure(name="the mean answer length", limit="shortest", read=_read_length, is_relative_to_first=True),
    WatchedFigure(
        name="the mean answer length", limit="longest", read=_read_length, is_relative_to_first=True, is_upper=True
    ),
    WatchedFigure(
        name="the teacher's mIoU in its view",
        limit="teacher_view_miou",
        read=lambda row: row.get("teacher_view_miou"),
        least_best=0.1,
        is_rare=True,
    ),
)
"""Every figure. One more needs a line here, a key in the settings, and its value in the rows."""


@dataclass(frozen=True, kw_only=True)
class Excess:
    """A figure beyond its limit."""

    figure: WatchedFigure
    step: int
    """Of the last row."""
    since: int
    """Of the first row of those that are all beyond the limit."""
    value: float
    """The mean over the window, or the last value of a rare figure."""
    limit: float
    share: float
    """The limit relative to the reference, as in the settings."""
    window: int

    def describe(self) -> str:
        """What was found, in one clause."""
        reference = "that of the first steps" if self.figure.is_relative_to_first else "the best so far"
        side = "above" if self.figure.is_upper else "below"
        measured = "" if self.figure.is_rare else f" (mean of {self.window} steps)"
        return (
            f"{self.figure.name} is {self.value:.3g}{measured}, {side} the limit of "
            f"{self.limit:.3g} since step {self.since} "
            f"(watch.{self.figure.limit} = {self.share:g}, relative to {reference})"
        )


class CollapseWatch:
    """Feed it the rows of a run in their order.

    Args:
        settings: the limits; None: the defaults.
        rows: those of the run so far. They give no warning.
    """

    def __init__(self, settings: WatchSettings | None, rows: Iterable[Row] = ()) -> None:
        self.settings = settings or WatchSettings()
        self._tracks = [_Track(figure, self.settings) for figure in FIGURES]
        for row in rows:
            self.note(row)

    def note(self, row: Row) -> list[Excess]:
        """Take in one more row; returns the figures that passed their limit with it."""
        return [excess for track in self._tracks if (excess := track.note(row)) and excess.since == excess.step]

    def note_and_warn(self, row: Row) -> None:
        """Take in one more row, and warn once of each figure that passed its limit with it."""
        then = f"the run stops if this lasts for {self.settings.window} more steps" if self.settings.stop else ""
        for excess in self.note(row):
            _log.warning(
                "step %d: %s; %s", excess.step, excess.describe(), then or "the run goes on (watch.stop = false)"
            )

    @property
    def is_alarmed(self) -> bool:
        """Whether a figure is beyond its limit now; then the best checkpoint is kept."""
        return any(track.excess for track in self._tracks)

    @property
    def last_sound_step(self) -> int:
        """The last step before the windows that are beyond a limit; 0 where there are none."""
        since = [track.excess.since for track in self._tracks if track.excess]
        return max(min(since) - self.settings.window, 0) if since else 0

    @property
    def collapse(self) -> Excess | None:
        """The figure that ends the run: it has been beyond its limit for one more window."""
        lasting = (track.excess for track in self._tracks if track.excess and track.is_lasting)
        return next(lasting, None) if self.settings.stop else None


def refuse_collapsed(watch: CollapseWatch, run: RunDirectory) -> NoReturn:
    """End a run whose student has collapsed.

    Args:
        watch: has found so.
        run: the folder; the state is saved there.

    Raises:
        EngineError: always.
    """
    excess = watch.collapse
    assert excess is not None
    best = find_best_checkpoint(run, before=watch.last_sound_step)  # the one that was kept
    if best is None:
        kept = "no checkpoint from before is left, so begin again"
    else:
        score = "not evaluated" if best.miou is None else f"validation mIoU {best.miou:.3f}"
        kept = f"use the best checkpoint, {best.folder} ({score}), and begin a new run"
    raise EngineError(
        f"after step {excess.step} {excess.describe()}",
        reason="the student seems to have collapsed, which a loss or a reverse KL may not show; the state is saved",
        remedy=f"look at answers.jsonl; {kept} with a lower training.learning_rate or another teacher. To go on all "
        "the same, run the same command with --watch.stop false, or with other limits",
    )


def read_steps(path: Path, *, until: int) -> Iterator[Row]:
    """The rows of a run's metrics.jsonl, oldest first.

    Args:
        path: the file; it need not exist.
        until: the last step that is wanted: a run that goes on from a checkpoint repeats the later ones.

    Raises:
        DataError: a line of the file is broken.
    """
    return (row.to_json() for row in StepMetrics.from_rows(iterate_journal(path)) if row.step <= until)


class _Track:
    """One figure over the steps."""

    def __init__(self, figure: WatchedFigure, settings: WatchSettings) -> None:
        self.figure, self.window = figure, settings.window
        self.share: float = getattr(settings, figure.limit)
        self.values: deque[float] = deque(maxlen=1 if figure.is_rare else settings.window)
        self.reference: float | None = None
        self.excess: Excess | None = None

    @property
    def is_lasting(self) -> bool:
        return self.excess is not None and self.excess.step - self.excess.since >= self.window

    def note(self, row: Row) -> Excess | None:
        """Take in one more row; returns the excess if the figure is beyond its limit. A row without it is passed."""
        value = self.figure.read(row)
        if value is None:
            return None
        self.values.append(value)
        if len(self.values) < (self.values.maxlen or 1):
            return None
        mean = sum(self.values) / len(self.values)
        if self.reference is None or (not self.figure.is_relative_to_first and mean > self.reference):
            self.reference = mean
        limit = self.share * self.reference
        is_beyond = mean > limit if self.figure.is_upper else mean < limit
        if not is_beyond or self.reference < self.figure.least_best:
            self.excess = None
            return None
        step = row["step"]
        self.excess = Excess(
            figure=self.figure,
            step=step,
            since=self.excess.since if self.excess else step,
            value=mean,
            limit=limit,
            share=self.share,
            window=self.window,
        )
        return self.excess
