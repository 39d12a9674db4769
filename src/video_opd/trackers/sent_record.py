"""`tracker.json` of a run folder: under which id each tracker has the run, and how much of it was sent.

[{"tracker": "wandb", "project": null, "folder": null, "id": "1f0c…", "where": "https://…", "step": 40,
  "evaluations": ["student-before", "validation-000020"]}]
"""

# ruff: noqa: RUF012 - pydantic gives every record a default of its own
from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from video_opd.config.tracker_settings import TrackerSettings
from video_opd.errors import DataError, explain_write_errors
from video_opd.files.durable import write_durably
from video_opd.files.file_lock import hold_file
from video_opd.files.strict_json import load_json
from video_opd.files.written_record import Count, Text, WrittenRecord

TRACKER_FILE = "tracker.json"
TRACKER_LOCK = ".tracker.lock"


class SentRecord(WrittenRecord):
    """What one tracker has of the run."""

    tracker: Text
    project: Text | None = None
    folder: Text | None = None
    """Absolute. In another project or folder the run is another one."""
    id: Text
    where: Text = ""
    step: Count = 0
    """The last row that was sent."""
    evaluations: list[Text] = []

    def is_for(self, settings: TrackerSettings) -> bool:
        """Whether this is the record of such a tracker."""
        return (self.tracker, self.project, self.folder) == (settings.name, settings.project, find_folder(settings))


def find_folder(settings: TrackerSettings) -> str | None:
    """The folder of a tracker's files, the same wherever the command is called from."""
    return None if settings.folder is None else os.path.abspath(settings.folder)


def read_sent(run: Path) -> list[SentRecord]:
    """The records of a run folder; none where the run was sent nowhere.

    Raises:
        DataError: the file is damaged.
    """
    path = run / TRACKER_FILE
    try:
        found = load_json(path.read_bytes())
        if not isinstance(found, list):
            raise ValueError("it is no list")
        return [SentRecord.from_json(each) for each in found]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read",
            reason=f"it should say which trackers have the run ({error})",
            remedy="restore it from a copy; or remove it: the run is then sent as a new one",
        ) from error


def find_sent(run: Path, settings: TrackerSettings) -> SentRecord | None:
    """What such a tracker has of a run; None: nothing.

    Raises:
        DataError: as `read_sent`.
    """
    return next((each for each in read_sent(run) if each.is_for(settings)), None)


def write_sent(run: Path, record: SentRecord) -> None:
    """Put a record in the place of the earlier one of the same tracker, project and folder.

    Raises:
        ConfigurationError: it cannot be written.
    """
    key = (record.tracker, record.project, record.folder)
    others = [each for each in read_sent(run) if (each.tracker, each.project, each.folder) != key]
    path = run / TRACKER_FILE
    with explain_write_errors(path):
        content = json.dumps([each.to_json() for each in (*others, record)], indent=1)
        write_durably(path, (content + "\n").encode())


@contextlib.contextmanager
def hold_sent(run: Path, *, waits: bool) -> Iterator[None]:
    """Hold the file for the block, so that no two processes send the same run.

    Args:
        run: the run folder.
        waits: wait for another process, rather than refuse.

    Raises:
        DataError: another process sends the run.
        ConfigurationError: nothing can be written to the folder.
    """
    cause = f"{run} is being sent to a tracker by another process"
    remedy = "wait for it; where the run is being trained, it is sent until the run ends"
    with contextlib.ExitStack() as stack:
        with explain_write_errors(run / TRACKER_LOCK):
            stack.enter_context(hold_file(run / TRACKER_LOCK, cause, remedy, waits=waits))
        yield
