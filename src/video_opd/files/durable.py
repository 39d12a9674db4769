"""Files that exist completely or not at all, also if the process is killed or the machine stops.

This relies on two facts about POSIX. A rename is atomic, so a name shows the old content or the new one, never a part.
But neither content nor names are on the disk until they are fsynced, in this order: the content, its folder, the
rename, the folder of the new name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from video_opd.files.outputs import find_place, replace_file


def sync_file(path: Path) -> None:
    """Wait until the file's content is on the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Wait until the names in this folder (not what they point to) are on the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def write_durably(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write or replace a file so that a reader, and a crash, sees all of the old content or all of the new.

    Args:
        content: in one piece, or in pieces that are not in memory all at once.

    Links and pipes are treated as `outputs.replace_file` says.

    Raises:
        OSError: the file could not be written; the old content is unchanged and no new file remains.
    """
    with replace_file(path) as unfinished:
        with unfinished.open("wb") as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
        sync_file(unfinished)
    place = find_place(path)
    if place is not None:
        sync_folder(place.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
