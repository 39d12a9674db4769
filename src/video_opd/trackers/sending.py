"""Sends the numbers of a run folder to a tracker: what it does not have yet, in the order of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_opd.config.tracker_settings import TrackerSettings
from video_opd.files.toml_text import load_toml
from video_opd.redaction import redact
from video_opd.runs.directory import RunDirectory
from video_opd.trackers import TRACKERS, TrackedRun, Tracker
from video_opd.trackers.run_numbers import RunNumbers, StepNumbers, find_step
from video_opd.trackers.sent_record import SentRecord, find_folder, find_sent, write_sent


@dataclass(kw_only=True)
class Sending:
    """One run on its way to one tracker. `hold_sent` is held meanwhile."""

    run: Path
    settings: TrackerSettings
    resumes_after: int | None = None
    """The step after which the run goes on: its later rows are new, even if the tracker had such steps before."""
    is_live: bool = False
    replaces: bool = False
    numbers: RunNumbers = field(init=False)
    record: SentRecord = field(init=False)
    num_sent: int = 0
    """Rows and evaluations."""
    _tracker: Tracker = field(init=False)
    _waiting: list[StepNumbers] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.numbers = RunNumbers(run=RunDirectory(self.run))

    def start(self) -> None:
        """Begin the run in the tracker, or go on with it.

        Raises:
            DataError: tracker.json is damaged.
            Exception: anything that the tracker raises.
        """
        settings, had = self.settings, find_sent(self.run, self.settings)
        kept = None if self.replaces else had
        step = kept.step if kept else 0
        evaluations = kept.evaluations if kept else []
        if self.resumes_after is not None and self.resumes_after < step:
            step = self.resumes_after
            evaluations = [name for name in evaluations if find_step(name, last=step + 1) <= step]
        self._tracker = TRACKERS[settings.name]()
        started = self._tracker.start(
            TrackedRun(
                folder=self.run,
                name=settings.run_name or self.run.resolve().name,
                project=settings.project,
                group=settings.group,
                store=settings.folder,
                config=read_config(self.run),
                id=had.id if had else None,
                replaces=self.replaces and had is not None,
                next_step=step + 1 if kept else 0,
                is_live=self.is_live,
            )
        )
        self.record = SentRecord(
            tracker=settings.name,
            project=settings.project,
            folder=find_folder(settings),
            id=started.id,
            where=redact(started.where),
            step=step,
            evaluations=evaluations,
        )
        write_sent(self.run, self.record)

    def send_new(self, *, is_ended: bool) -> None:
        """Send what is new since the last call. What could not be sent stays for the next call.

        Args:
            is_ended: the run writes no more.

        Raises:
            DataError: the journal is damaged.
            Exception: anything that the tracker raises.
        """
        known = {*self.record.evaluations, *(each.evaluation for each in self._waiting)}
        after = max([self.record.step, *(each.step for each in self._waiting if not each.evaluation)])
        self._waiting += self.numbers.read_new(after_step=after, without=known, is_ended=is_ended)
        step, evaluations, before = self.record.step, list(self.record.evaluations), self.record
        try:
            while self._waiting:
                next_ = self._waiting[0]
                if next_.numbers:
                    self._tracker.log(next_.step, next_.numbers)
                del self._waiting[0]
                self.num_sent += 1
                if next_.evaluation:
                    evaluations.append(next_.evaluation)
                else:
                    step = next_.step
        finally:
            self.record = before.model_copy(update={"step": step, "evaluations": evaluations})
            if self.record != before:
                write_sent(self.run, self.record)

    def finish(self) -> None:
        """Let the tracker hand over what waits in it."""
        self._tracker.finish()


def read_config(run: Path) -> dict[str, Any]:
    """The tables of a run's recipe, without secrets; empty where there is no recipe that can be read."""
    try:
        text = RunDirectory(run).recipe.read_text(encoding="utf-8")
        return _redact_values(load_toml(text))
    except (OSError, ValueError):
        return {}


def _redact_values(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redact_values(each) for key, each in value.items()}
    return [_redact_values(each) for each in value] if isinstance(value, list) else value


def count_unsent(run: Path, settings: TrackerSettings) -> tuple[int, int]:
    """How many rows and evaluations of a run such a tracker does not have, and how many there are.

    Raises:
        DataError: a file is damaged.
    """
    had = find_sent(run, settings)
    found = RunNumbers(run=RunDirectory(run)).read_new(after_step=0, without=(), is_ended=True)
    if had is None:
        return len(found), len(found)
    sent = [each.evaluation in had.evaluations if each.evaluation else each.step <= had.step for each in found]
    return sent.count(False), len(sent)


def explain(error: BaseException) -> str:
    """The first line of what a tracker said, with the kind of the error."""
    said = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
