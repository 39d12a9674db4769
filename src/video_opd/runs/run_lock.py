"""The lock of a run folder: one process works on a run at a time, and others can see whether one does."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from video_opd.errors import ConfigurationError
from video_opd.files.strict_json import load_json

LOCK = ".run.lock"


class RunInUse(ConfigurationError):
    """Another process holds the run's folder."""


class _Holder(NamedTuple):
    """The process that holds a folder, as the lock file says; the lock itself is the kernel's."""

    pid: int
    host: str
    boot_id: str | None


@contextlib.contextmanager
def hold_run(path: Path) -> Iterator[None]:
    """Hold the folder's lock. It belongs to the open file, so it ends with the process and cannot go stale.

    Worker processes forked meanwhile share the open file, and hold the lock for as long as they outlive their parent.
    The file stays when the lock is released: removing it would let two processes lock two files of the same name. It is
    empty then, because the process may live on, as in a comparison, and does not work on this run any more.

    Raises:
        RunInUse: another process holds it.
    """
    with (path / LOCK).open("a+", encoding="utf-8") as file:
        _hold(file, path)
        file.truncate(0)
        json.dump({"host": socket.gethostname(), "pid": os.getpid(), "boot_id": _read_boot_id()}, file)
        file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it is a note for those who look on; the run has its result
                file.truncate(0)


def is_lock(path: Path) -> bool:
    """Whether a file is a run's lock, or not there, or was just made; and not another file of that name."""
    try:
        text = path.read_bytes()
        return not text or load_json(text).keys() >= {"host", "pid"}
    except FileNotFoundError:
        return True
    except (ValueError, AttributeError):
        return b'{"host": "'.startswith(text[:10])  # a kill cut it short


def refuse_held(path: Path) -> None:
    """Say that another process holds the folder, and leave its lock as it is.

    Raises:
        RunInUse: one does.
    """
    if (path / LOCK).is_file():
        with (path / LOCK).open("rb") as file:
            _hold(file, path)


def find_life(path: Path) -> bool | None:
    """Whether a process works on a run; None: it is one of another machine, or nothing is known. Locks nothing."""
    try:
        if not (text := (path / LOCK).read_bytes()):
            return False
        holder = _read_holder(text)
    except (OSError, ValueError):
        return None
    if holder.host != socket.gethostname():
        return None
    if holder.boot_id is not None and holder.boot_id != _read_boot_id():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _hold(file: IO[Any], path: Path) -> None:
    """Take the lock on an open lock file until that is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            holder = _read_holder((path / LOCK).read_bytes())
            who = f"process {holder.pid} on {holder.host}"
        except ValueError:  # it has locked the file and not yet written its name
            who = "another process"
        raise RunInUse(
            f"run folder {path} is in use by {who}",
            reason="two processes that write to the same run would damage it",
            remedy="Wait for that process, stop it, or choose another folder with --out",
        ) from None


def _read_holder(text: bytes) -> _Holder:
    """Read the lock file.

    Raises:
        ValueError: it does not name a process.
    """
    try:
        found = load_json(text)
        holder = _Holder(found["pid"], found["host"], found.get("boot_id"))
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it names no process") from error
    if not isinstance(holder.pid, int) or holder.pid <= 0:
        raise ValueError("it has no number of a process")
    return holder


def _read_boot_id() -> str | None:
    """Tells apart two lives of one machine, in which one process id means two processes."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
