"""Files and folders under a provisional name: who writes one holds its lock, so what a killed process left is told.

The lock ends with the process. What has the name of an unfinished file and no lock is left over, and the next process
that writes the same removes it. Where a disk knows no locks, nothing is removed; nor on SMB, where the holder of a lock
could not write the file by its name.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

_SCRATCH = "video-opd-scratch-"


def sweep(folder: Path, name: str, *, kind: int = stat.S_IFREG) -> None:
    """Remove what killed processes left under a name.

    Args:
        folder: where to look; it need not exist.
        name: a regular expression for the whole name.
        kind: of what is removed, `S_IFREG` or `S_IFDIR`; anything else of that name stays.
    """
    with contextlib.suppress(OSError):
        for found in [entry for entry in os.scandir(folder) if re.fullmatch(name, entry.name)]:
            _remove_if_left(Path(found.path), kind)


@contextlib.contextmanager
def hold(path: Path, *, kind: int = stat.S_IFREG) -> Iterator[bool]:
    """Hold the lock of an unfinished file or folder in the block. Gives whether the disk has locks that can be used.

    Args:
        path: the file, which is made if it is not there, or the folder.
        kind: `S_IFREG` or `S_IFDIR`.

    Raises:
        FileNotFoundError: the folder is not there.
        OSError: it cannot be opened, or is a link.
    """
    if os.name == "nt":  # an open file cannot be renamed there
        yield False
        return
    descriptor, is_locked = _open_locked(path, kind)
    try:
        yield is_locked
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_scratch_folder() -> Iterator[Path]:
    """A folder among the system's temporary files for the block. What killed processes left of theirs is removed."""
    sweep(Path(tempfile.gettempdir()), re.escape(_SCRATCH) + r"\w{8}", kind=stat.S_IFDIR)
    with contextlib.ExitStack() as stack:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=_SCRATCH))
            with contextlib.suppress(FileNotFoundError):  # another process has swept it before it was locked
                stack.enter_context(hold(folder, kind=stat.S_IFDIR))
                break
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _open_locked(path: Path, kind: int) -> tuple[int, bool]:
    """Open a file or folder and lock it; another process may be about to remove the one of that name."""
    how = os.O_RDONLY | os.O_DIRECTORY if kind == stat.S_IFDIR else os.O_WRONLY | os.O_CREAT
    while True:
        descriptor = os.open(path, how | os.O_NOFOLLOW, 0o666)
        try:
            is_locked = _can_lock(descriptor, wait=True)
            if _is_at(descriptor, path):
                if is_locked and kind == stat.S_IFREG and not _can_write_beside(path):
                    _unlock(descriptor)
                    is_locked = False
                return descriptor, is_locked
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _can_lock(descriptor: int, *, wait: bool) -> bool:
    """Whether an open file or folder can be locked; it is locked then."""
    import fcntl  # here: not on Windows

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # another process holds it, or the disk knows no locks
        return False
    return True


def _unlock(descriptor: int) -> None:
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _can_write_beside(path: Path) -> bool:
    """Whether a locked file can be written through another descriptor: on SMB (Linux 5.5 and later) it cannot, see
    flock(2). The file is as it was afterwards."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    size = os.lseek(descriptor, 0, os.SEEK_END)
    try:
        os.write(descriptor, b"-")
    except PermissionError:
        return False
    except OSError:  # such as a full disk: that is told when the file itself is written
        pass
    finally:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        os.close(descriptor)
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _remove_if_left(path: Path, kind: int) -> None:
    """Remove a file or folder of this user that no process holds."""
    if os.name == "nt":
        return
    found, is_folder = path.lstat(), kind == stat.S_IFDIR
    if found.st_uid != os.getuid() or stat.S_IFMT(found.st_mode) != kind:
        return
    descriptor = os.open(path, (os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR) | os.O_NOFOLLOW)
    try:
        if _can_lock(descriptor, wait=False) and _is_at(descriptor, path):
            shutil.rmtree(path) if is_folder else path.unlink()
    finally:
        os.close(descriptor)
