"""Sends runs to a tracker that were trained without it, or whose rows it did not get: `video-opd track`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_opd.config.tracker_settings import TrackerSettings
from video_opd.errors import ConfigurationError, EngineError, Stopped, UserError
from video_opd.files.strict_json import load_json
from video_opd.runs.directory import RunDirectory
from video_opd.trackers.sending import Sending, count_unsent, explain, read_config
from video_opd.trackers.sent_record import find_sent, hold_sent, read_sent


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What became of one run."""

    run: Path
    num_sent: int
    """Rows and evaluations; 0: the tracker had them all."""
    id: str
    where: str
    unreadable: tuple[str, ...] = ()
    """Why evaluations were left out."""


def find_runs(folders: Sequence[Path]) -> list[tuple[Path, str | None]]:
    """The runs in folders, each with its group; the folder of a comparison gives all its runs.

    Raises:
        ConfigurationError: a folder holds no run.
    """
    found: list[tuple[Path, str | None]] = []
    for folder in folders:
        below = sorted(path for path in folder.glob("runs/*") if is_run(path))
        if not below and not is_run(folder):
            raise ConfigurationError(
                f"{folder} is not the folder of a run",
                reason="it holds neither a metrics.jsonl nor evaluations, nor runs of a comparison",
                remedy="name the folder that was given to `video-opd train --out` or `video-opd compare --out`",
            )
        found += [(path, _name_comparison(folder)) for path in below] if below else [(folder, None)]
    return found


def is_run(folder: Path) -> bool:
    """Whether a folder holds numbers of a run."""
    run = RunDirectory(folder)
    return run.metrics.is_file() or any(run.evaluation.glob("*.json"))


def _name_comparison(folder: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(load_json((folder / "comparison.json").read_bytes())["name"])
    return folder.resolve().name


def complete_settings(run: Path, given: TrackerSettings, group: str | None) -> TrackerSettings:
    """The settings of a run in a tracker: those that are given, and else those with which the run was sent before, and
    else those of its recipe.

    Raises:
        ConfigurationError: its recipe has a tracker that is not valid.
        DataError: its tracker.json is damaged.
    """
    said = {key: getattr(given, key) for key in given.model_fields_set if getattr(given, key) is not None}
    table = read_config(run).get("tracker")
    known = table if isinstance(table, dict) and table.get("name") == given.name else {}
    before = [each for each in read_sent(run) if each.tracker == given.name]
    if before and not said.keys() & {"project", "folder"}:
        known = known | {"project": before[-1].project, "folder": before[-1].folder}
    try:
        return TrackerSettings.model_validate({"group": group} | known | said)
    except ValueError as error:
        raise ConfigurationError(
            f"the table [tracker] in {RunDirectory(run).recipe}",
            reason=next(iter(str(error).splitlines())),
            remedy="correct it, or restore the file from a copy",
        ) from None


def replay(run: Path, settings: TrackerSettings, *, replaces: bool) -> Replay:
    """Send a run to a tracker: what it does not have yet, or everything again.

    Args:
        run: the run folder.
        settings: the tracker, as `complete_settings` gives it.
        replaces: everything again, in the place of what the tracker has.

    Raises:
        UserError: a file of the run is damaged, or the tracker fails.
    """
    with hold_sent(run, waits=False):
        had = find_sent(run, settings)
        if had is not None and not replaces and not count_unsent(run, settings)[0]:
            return Replay(run=run, num_sent=0, id=had.id, where=had.where)
        sending = Sending(run=run, settings=settings, replaces=replaces)
        with contextlib.redirect_stdout(sys.stderr):
            with _explain_failures(run, settings, "run the same command again: it sends what is missing"):
                sending.start()
                sending.send_new(is_ended=True)
            # All is noted as sent, and it is not known what the tracker still had to hand over.
            with _explain_failures(run, settings, "run the same command again with --replace: it sends all again"):
                sending.finish()
        record = sending.record
        reasons = tuple(sending.numbers.unreadable.values())
        return Replay(run=run, num_sent=sending.num_sent, id=record.id, where=record.where, unreadable=reasons)


@contextlib.contextmanager
def _explain_failures(run: Path, settings: TrackerSettings, again: str) -> Iterator[None]:
    """Turn whatever a tracker raises into one sentence."""
    try:
        yield
    except (UserError, Stopped):
        raise
    except (Exception, SystemExit) as error:
        raise EngineError(
            f"{settings.name} did not take {run}",
            reason=explain(error),
            remedy=f"correct this, and {again}",
        ) from error


def as_json(sent: Replay) -> dict[str, Any]:
    """What the command prints with --json."""
    return {"run": str(sent.run), "sent": sent.num_sent, "id": sent.id, "where": sent.where}
