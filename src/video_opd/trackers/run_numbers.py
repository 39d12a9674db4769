"""The numbers of a run folder in the order of steps, as trackers get them: what is new since the last look."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from video_opd.errors import DataError
from video_opd.files.journal import read_journal_after
from video_opd.runs.directory import RunDirectory
from video_opd.runs.evaluation_files import is_of_run, read_evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNumbers:
    """The row of a step, or an evaluation."""

    step: int
    evaluation: str = ""
    """The name of the evaluation; empty: a row of metrics.jsonl."""
    numbers: dict[str, float]


@dataclass(kw_only=True)
class RunNumbers:
    """Reads a run folder again and again, also while it is written."""

    run: RunDirectory
    last_step: int = 0
    """Of the rows that were read."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Name of an evaluation -> why it is left out."""
    _place: int = 0
    _inode: int = 0

    def read_new(self, *, after_step: int, without: Container[str], is_ended: bool) -> list[StepNumbers]:
        """Rows of later steps than `after_step`, and evaluations; rows that were read before are not there again.

        Args:
            after_step: the step up to which rows are left out.
            without: names of evaluations to leave out.
            is_ended: the run writes no more; else an evaluation after the last row waits for the next look.

        Raises:
            DataError: the journal is damaged.
        """
        rows = [row for row in self._read_rows() if isinstance(row.get("step"), int)]
        self.last_step = max([self.last_step, *(row["step"] for row in rows)])
        found = [
            StepNumbers(step=row["step"], numbers=dict(_flatten_numbers(row, "train/")))
            for row in rows
            if row["step"] > after_step
        ]
        # The journal was read first: what is evaluated after a step that is not in it yet would come too early.
        evaluations = [each for each in self._read_evaluations(without) if is_ended or each.step <= self.last_step]
        return sorted([*found, *evaluations], key=lambda each: each.step)

    def _read_rows(self) -> list[dict[str, Any]]:
        try:
            found = self.run.metrics.stat()
        except FileNotFoundError:
            return []
        if found.st_ino != self._inode or found.st_size < self._place:  # a resumed run has written it anew
            self._inode, self._place = found.st_ino, 0
        rows, self._place = read_journal_after(self.run.metrics, self._place)
        return rows

    def _read_evaluations(self, without: Container[str]) -> Iterator[StepNumbers]:
        for path in sorted(self.run.evaluation.glob("*.json")):
            name = path.stem
            if not is_of_run(name) or name in without:
                continue
            try:
                report = read_evaluation(path)
            except DataError as error:
                self.unreadable[name] = str(error)
                continue
            scores = dict(report["scores"])
            if side := report.get("side_questions"):
                scores["side_questions"] = side["accuracy"]
            kind = "validation" if name.startswith("validation") else name
            numbers = dict(_flatten_numbers(scores, f"evaluation/{kind}/"))
            yield StepNumbers(step=find_step(name, last=self.last_step), evaluation=name, numbers=numbers)


def find_step(evaluation: str, *, last: int) -> int:
    """The step of an evaluation by its name: of `validation-000020` 20, before training 0, after it `last`."""
    if evaluation == "student-after":
        return last
    return int(evaluation.rpartition("-")[2]) if evaluation.startswith("validation") else 0


def _flatten_numbers(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """The finite numbers of a row by names that every tracker accepts, such as `train/seconds_by_phase/decode`."""
    for key, value in table.items():
        name = prefix + re.sub(r"[^\w.-]", "_", key, flags=re.ASCII)
        if isinstance(value, Mapping):
            yield from _flatten_numbers(value, f"{name}/")
        elif _is_number(value) and name != "train/step":
            yield name, float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
