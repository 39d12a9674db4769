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
from collections.abc import Callable, Iterator
from pathlib import Path

from video_opd.errors import ConfigurationError


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


def refuse_foreign(path: Path, is_ours: Callable[[Path], bool], kind: str) -> None:
    """Refuse to replace a file that is no earlier output of the same kind. An empty file has nothing to lose.

    Args:
        is_ours: whether a file that is there is such an output.
        kind: how such an output is called, with its article.

    Raises:
        ConfigurationError: the file is something else.
        OSError: as `place_of`.
    """
    place = place_of(path)
    if place is not None and place.is_file() and place.stat().st_size and not is_ours(place):
        raise ConfigurationError(
            f"{path} is there already",
            reason=f"it is not {kind}, so it is kept as it is",
            remedy="give another name, or move the file away",
        )


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
