"""What a killed process leaves in a run folder beside the run: it is removed when the run goes on.

.NAME.tmp-PID                  a file that was being written (`files.outputs.replace_file`)
checkpoints/step-N.tmp-PID/    a checkpoint that was being written or deleted
checkpoints/step-N/            one that should have been deleted when a newer one was complete
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from video_opd.runs.directory import RunDirectory
from video_opd.runs.old_checkpoints import KeepRule, delete_old_checkpoints, sweep_unfinished

_UNFINISHED = re.compile(r"\..+\.(?:html|jsonl?|sha256|toml)\.tmp-(\d+)")
"""A file of a run while it is written, and the process that writes it."""


def remove_leftovers(run: RunDirectory, keep: KeepRule, *, newest: int) -> None:
    """Remove them. Only the process that holds the run's lock calls this, once it has accepted the newest checkpoint.

    Args:
        run: the folder.
        keep: which checkpoints stay.
        newest: step of the checkpoint that the run goes on from.
    """
    sweep_unfinished(run.checkpoints)
    delete_old_checkpoints(run.checkpoints, keep, newest=newest)
    for path, pid in _list_unfinished_files(run):
        if not _is_running(pid):  # `video-opd report` writes its page without the run's lock
            path.unlink(missing_ok=True)


def _list_unfinished_files(run: RunDirectory) -> Iterator[tuple[Path, int]]:
    for folder in (run.path, run.evaluation, run.rounds, *run.rounds.glob("*")):
        for path in sorted(folder.glob(".*.tmp-*")):
            found = _UNFINISHED.fullmatch(path.name)
            if found and path.is_file() and not path.is_symlink():
                yield path, int(found[1])


def _is_running(pid: int) -> bool:
    """Whether a process of that number runs on this machine; this one has nothing under way here."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
