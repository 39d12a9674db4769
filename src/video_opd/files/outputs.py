"""Write a file under a name that may be free, or the name of a file, a link, a pipe or a device.

A finished file replaces an old one by a rename, and a rename removes whatever had the name: a link would be lost, and
root would lose `/dev/null`. So a link is followed first, and a pipe or a device is written into.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from video_opd.errors import ConfigurationError
from video_opd.files.unfinished import hold, open_scratch_folder, sweep


def find_place(path: Path) -> Path | None:
    """The place of a file of this name, with links followed; None for a pipe or a character device.

    Raises:
        OSError: it is a folder, a disk, a socket or a link to itself.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG  # or a link to a file that does not exist yet
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is neither a file nor a pipe")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A file to write in the block; it gets the name `path` after the block. If the block fails, nothing has changed.

    A pipe or a device gets the content once it is complete.

    Raises:
        OSError: as `find_place`, or the file could not be written.
    """
    place = find_place(path)
    if place is None:
        with open_scratch_folder() as folder:
            yield (unfinished := folder / "content")
            with unfinished.open("rb") as content, path.open("wb") as stream:
                shutil.copyfileobj(content, stream)
        return
    try:
        with _hold_unfinished(place, f"{os.getpid()}") as unfinished:
            yield unfinished
            os.replace(unfinished, place)
    except BaseException as error:
        error.add_note(str(path))  # a write that fails does not say to which file
        raise


@contextlib.contextmanager
def _hold_unfinished(place: Path, ending: str) -> Iterator[Path]:
    """An empty file beside a place for the block. If the block fails, it is removed."""
    unfinished = place.with_name(f".{place.name}.tmp-{ending}")
    with hold(unfinished) as is_locked:
        try:
            unfinished.write_bytes(b"")  # a killed process of the same number may have left it
            if is_locked:  # else others could not lock theirs either
                sweep(place.parent, rf"\.{re.escape(place.name)}\.tmp-\d+(-[0-9a-f]{{8}})?")
            yield unfinished
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def refuse_foreign(path: Path, is_ours: Callable[[Path], bool], kind: str) -> None:
    """Refuse to replace a file that is not an earlier output of the same kind. An empty file may be replaced.

    Args:
        is_ours: whether an existing file is such an output.
        kind: the name of such an output, with its article.

    Raises:
        ConfigurationError: the file is something else.
        OSError: as `find_place`.
    """
    place = find_place(path)
    if place is not None and place.is_file() and place.stat().st_size and not is_ours(place):
        raise ConfigurationError(
            f"{path} is there already",
            reason=f"it is not {kind}, so it is not replaced",
            remedy="give another name, or move the file away",
        )


def create(path: Path, content: bytes) -> None:
    """Make a new file, completely or not at all. No file is ever replaced.

    Raises:
        FileExistsError: the name exists already; it may be a broken link.
        OSError: the file could not be written.
    """
    with _hold_unfinished(path, f"{os.getpid()}-{uuid.uuid4().hex[:8]}") as unfinished:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(unfinished, path)  # a rename would replace a file that came in between
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with path.open("xb") as file:
                file.write(content)
        unfinished.unlink(missing_ok=True)
