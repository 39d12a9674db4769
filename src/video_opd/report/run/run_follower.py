"""Follows a run that is under way, or not any more: its rows as they come, and whether a process still works on it.

Nothing is locked and nothing is written here, so that a run that starts meanwhile is not disturbed.
"""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_opd.files.journal import read_journal_after
from video_opd.files.older_names import read_json
from video_opd.files.run_records import EvaluationReport, StepMetrics
from video_opd.files.toml_text import load_toml
from video_opd.runs import RunDirectory
from video_opd.runs.evaluation_files import list_validations
from video_opd.runs.run_lock import find_life

_FEW_STEPS = 20
"""Steps whose median time is the time of a step."""


@dataclass(slots=True)
class RunFollower:
    """Reads what is new in a run folder.

    Args:
        path: the folder.
    """

    path: Path
    rows: list[StepMetrics] = field(default_factory=list)
    """All rows so far, in the order of steps."""
    _place: int = 0
    """The byte after the last row that was read."""
    _identity: tuple[int, int] | None = None

    @property
    def run(self) -> RunDirectory:
        """The parts of the folder."""
        return RunDirectory(self.path)

    def read_new(self) -> list[StepMetrics]:
        """The rows that were added since the last call; all of them where the file was replaced, as by a resume.

        Raises:
            DataError: a line before the last is broken, or the file cannot be read.
        """
        try:
            found = self.run.metrics.stat()
        except OSError:
            return []
        if (found.st_dev, found.st_ino) != self._identity or found.st_size < self._place:
            self.rows, self._place, self._identity = [], 0, (found.st_dev, found.st_ino)
        rows, self._place = read_journal_after(self.run.metrics, self._place)
        new = list(StepMetrics.from_rows(rows))
        self.rows += new
        return new

    @property
    def num_steps(self) -> int | None:
        """Steps of the whole run; None: the recipe leaves it to the number of examples."""
        steps = self._read_key("training", "steps")
        return steps if isinstance(steps, int) and steps > 0 else None

    @property
    def has_test(self) -> bool:
        """Whether the recipe names a test manifest: the run then ends with an evaluation on it."""
        return bool(self._read_key("data", "test"))

    def _read_key(self, table: str, key: str) -> Any:
        """A value of the recipe; None where it is not there."""
        try:
            found = load_toml(self.run.recipe.read_text(encoding="utf-8")).get(table)
        except (OSError, ValueError):
            return None
        return found.get(key) if isinstance(found, dict) else None

    @property
    def seconds_per_step(self) -> float | None:
        """Of the newest steps; None before the second one."""
        seconds = [row.seconds for row in self.rows[-_FEW_STEPS:] if row.seconds is not None]
        taken = [after - before for before, after in itertools.pairwise(seconds) if after > before]
        return statistics.median(taken) if taken else None

    @property
    def silent_s(self) -> float:
        """Seconds since the last row was written; since the run was begun where there is none."""
        for path in (self.run.metrics, self.run.recipe):
            try:
                return max(time.time() - path.stat().st_mtime, 0.0)
            except OSError:
                continue
        return 0.0

    def read_validation(self) -> tuple[int, float] | None:
        """Step and mIoU of the newest evaluation on the validation manifest."""
        found = list_validations(self.run.evaluation)
        for step in sorted(found, reverse=True):
            report = _read_evaluation(found[step])
            if report is not None:
                return step, report.miou
        return None

    @property
    def has_taken_all_steps(self) -> bool:
        """Whether the last row is of the last step."""
        return bool(self.rows) and self.num_steps is not None and self.rows[-1].step >= self.num_steps

    @property
    def is_finished(self) -> bool:
        """Whether the student was evaluated at the end, or, without a test manifest, whether all steps are taken."""
        if (self.run.evaluation / "student-after.json").exists():
            return True
        return not self.has_test and self.has_taken_all_steps

    def find_life(self) -> bool | None:
        """Whether a process works on the run; None: it is one of another machine, or nothing is known."""
        return find_life(self.path)


def _read_evaluation(path: Path) -> EvaluationReport | None:
    try:
        report = EvaluationReport.from_json(read_json(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None
    return report if report.is_evaluation else None
