"""Files that are written, whatever bears their name already: nothing, a file, a link, a pipe or a device.

To put a finished file in the place of an old one is a rename, and a rename takes the name from whatever has it: a link
would no longer lead anywhere, and root would lose `/dev/null`. So a link is followed first, and what cannot be replaced
is written into.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path


def place_of(path: Path) -> Path | None:
    """Where a file of this name lies or will lie, links followed; None: a pipe or a device that takes characters.

    Raises:
        OSError: it is a folder, a disk, a socket or a link to itself.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG  # or a link to what is not there yet
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is neither a file nor a pipe")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write in the block, which bears the name `path` after it; if the block fails, nothing has changed.

    A pipe or device gets the content when it is whole.

    Raises:
        OSError: as `place_of`, or the disk would not take it.
    """
    place = place_of(path)
    if place is None:
        with tempfile.TemporaryDirectory() as folder:
            yield (unfinished := Path(folder) / "content")
            with unfinished.open("rb") as content, path.open("wb") as stream:
                shutil.copyfileobj(content, stream)
        return
    unfinished = place.with_name(f".{place.name}.tmp-{os.getpid()}")
    try:
        yield unfinished
        os.replace(unfinished, place)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def create(path: Path, content: bytes) -> None:
    """Make a file that is not there yet, whole or not at all. Nothing is ever replaced.

    Raises:
        FileExistsError: something has the name already, be it a link that leads nowhere.
        OSError: the disk would not take it.
    """
    unfinished = path.with_name(f".{path.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        with unfinished.open("xb") as file:
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
    finally:
        unfinished.unlink(missing_ok=True)
