"""Files that are either wholly there or not there, whatever kills the process or the machine.

Two facts about POSIX carry it. A rename is atomic, so a name shows the old content or the new one, never half of
either. But neither content nor names are on the disk until they are fsynced, and in that order: content, its folder,
the rename, the folder it was renamed in.
"""

from __future__ import annotations

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Wait until the file's content is on the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Wait until the names in this folder (not what they point to) are on the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def write_durably(path: Path, content: bytes) -> None:
    """Write or replace a file so that a reader, and a crash, sees all of the old content or all of the new.

    Raises:
        OSError: the disk would not take it; the old content is untouched and nothing new is left behind.
    """
    unfinished = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        sync_file(unfinished)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
