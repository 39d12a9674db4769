"""Follows a run that is under way, or not any more: its rows as they come, and whether a process still works on it.

Nothing is locked and nothing is written here, so that a run that starts meanwhile is not disturbed.
"""

from __future__ import annotations

import itertools
import os
import socket
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_opd.files.older_names import read_json
from video_opd.files.run_records import EvaluationReport, StepMetrics
from video_opd.files.strict_json import load_json
from video_opd.files.toml_text import load_toml
from video_opd.runs import RunDirectory
from video_opd.runs.directory import LOCK
from video_opd.runs.evaluation_files import list_validations

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
    _offset: int = 0
    _identity: tuple[int, int] | None = None

    @property
    def run(self) -> RunDirectory:
        """The parts of the folder."""
        return RunDirectory(self.path)

    def read_new(self) -> list[StepMetrics]:
        """The rows that were added since the last call; all of them where the file was replaced, as by a resume."""
        try:
            with self.run.metrics.open("rb") as file:
                found = os.fstat(file.fileno())
                if (found.st_dev, found.st_ino) != self._identity or found.st_size < self._offset:
                    self.rows, self._offset, self._identity = [], 0, (found.st_dev, found.st_ino)
                file.seek(self._offset)
                content = file.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]  # the last line may be half written
        self._offset += len(whole)
        new = list(StepMetrics.from_rows(map(_read_row, whole.splitlines())))
        self.rows += new
        return new

    @property
    def num_steps(self) -> int | None:
        """Steps of the whole run; None: the recipe leaves it to the number of examples."""
        try:
            training = load_toml(self.run.recipe.read_text(encoding="utf-8")).get("training")
            steps = training.get("steps") if isinstance(training, dict) else None
        except (OSError, ValueError):
            return None
        return steps if isinstance(steps, int) and steps > 0 else None

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
    def is_finished(self) -> bool:
        """Whether all steps are taken, or the student was evaluated at the end."""
        if (self.run.evaluation / "student-after.json").exists():
            return True
        return bool(self.rows) and self.num_steps is not None and self.rows[-1].step >= self.num_steps

    def find_life(self) -> bool | None:
        """Whether the process that holds the folder lives; None: it is one of another machine, or nothing is known."""
        try:
            holder = load_json((self.path / LOCK).read_bytes())
            pid, host, boot = holder["pid"], holder["host"], holder.get("boot_id")
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
        if host != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
            return None
        if boot is not None and boot != _read_boot_id():
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            return True
        return True


def _read_row(line: bytes) -> Any:
    try:
        return read_json(line)
    except (ValueError, RecursionError):
        return None


def _read_evaluation(path: Path) -> EvaluationReport | None:
    try:
        report = EvaluationReport.from_json(read_json(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None
    return report if report.is_evaluation else None


def _read_boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
