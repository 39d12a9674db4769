"""Checkpoints that a run needs no longer, and what killed saves have left: they are deleted here and nowhere else.

Only the process that holds the run's lock calls this. Files of others stay.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from video_opd.files.strict_json import load_json
from video_opd.runs.checkpoint_folders import (
    MARKER,
    NOT_A_MARKER,
    checkpoint_folder,
    find_free_name,
    hash_file,
    list_saved,
)

_UNFINISHED = re.compile(r"step-\d{6,}\.tmp-\d+")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRule:
    """Which checkpoints stay when a newer one is complete."""

    last: int | None = None
    """So many of the newest; None: all."""
    steps: Collection[int] = ()
    """Those of these steps stay always, such as the best one."""
    is_scheduled: Callable[[int], bool] = lambda _: True
    """Whether a run that nothing interrupts saves a checkpoint at a step. Others, saved because of a signal, stay only
    until there is a newer one: so a run that was interrupted ends with the same checkpoints as one that was not."""

    def __post_init__(self) -> None:
        if self.last is not None and self.last < 1:
            raise ValueError(f"last={self.last}: the value must be at least 1, because the newest checkpoint is kept")

    def choose(self, steps: Collection[int]) -> set[int]:
        """Those of the steps whose checkpoints stay."""
        if self.last is None:
            return set(steps)
        newest = max(steps, default=0)
        counted = sorted(step for step in steps if step == newest or self.is_scheduled(step))
        return {*counted[-self.last :], *(step for step in steps if step in self.steps)}


def delete_old_checkpoints(checkpoints: Path, keep: KeepRule, *, newest: int) -> None:
    """Delete the checkpoints that a rule does not keep. Failing at that costs disk space, not the run, so it is only
    logged.

    Args:
        checkpoints: the run's folder of them.
        keep: the rule.
        newest: step of the newest one that is intact; what claims to be newer is left alone.
    """
    complete = [step for step, path in list_saved(checkpoints) if step <= newest and (path / MARKER).exists()]
    for old in sorted(set(complete) - keep.choose(complete)):
        folder = checkpoint_folder(checkpoints, old)
        try:
            _delete(folder)
        except OSError as error:
            _log.warning("old checkpoint %s could not be deleted: %s", folder, error)


def sweep_unfinished(checkpoints: Path) -> None:
    """Remove what killed saves and killed deletions left. The run's lock guarantees that none of it is being written;
    on a network disk a reader may still keep a file of it. Failing at that is only logged, too."""
    if not checkpoints.is_dir():
        return
    for path in checkpoints.iterdir():
        if _UNFINISHED.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            try:
                shutil.rmtree(path)
            except OSError as error:
                _log.warning("leftover %s could not be deleted: %s", path, error)


def _delete(folder: Path) -> None:
    """Delete a checkpoint; what no save has put there stays, in a folder of another name."""
    saved = _list_saved_files(folder)
    if saved is None or folder.is_symlink():
        return  # no save has made it
    if {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()} == saved:
        doomed = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
        os.rename(folder, doomed)  # a half-deleted folder must not carry the name of a checkpoint
        shutil.rmtree(doomed)
        return
    kept = find_free_name(folder, "kept")
    _log.warning("%s holds files that this program did not save; they are kept in %s", folder, kept.name)
    os.rename(folder, kept)
    for path in saved:
        (kept / path.relative_to(folder)).unlink()
    for path in sorted(kept.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()


def _list_saved_files(folder: Path) -> set[Path] | None:
    """The files of a checkpoint that are as they were saved; None: nothing says which they are.

    Only what is younger than `COMPLETE.json`, which is written last, is read: the rest is large.
    """
    try:
        sealed = (folder / MARKER).stat().st_mtime_ns
        files = load_json((folder / MARKER).read_bytes())["files"]
        expected = {folder / name: (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except (OSError, *NOT_A_MARKER):
        return None
    as_saved = {folder / MARKER}
    for path, (size, digest) in expected.items():
        if os.path.islink(path) or not os.path.isfile(path):  # also where its name is none
            continue
        found = path.stat()
        if found.st_size == size and (found.st_mtime_ns <= sealed or hash_file(path) == digest):
            as_saved.add(path)
    return as_saved
