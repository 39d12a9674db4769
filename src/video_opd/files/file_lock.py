"""A lock on a file that one process writes. It ends with the process."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from video_opd.errors import DataError


@contextlib.contextmanager
def hold_file(
    path: Path,
    cause: str = "",
    remedy: str = "wait for it, or score a shard each with --shard into files of their own",
    *,
    waits: bool = False,
) -> Iterator[None]:
    """Lock a file for the block; it is made if it is not there. The lock ends with the process.

    Args:
        path: the file.
        cause: what another process does that has the lock; empty: it writes scores.
        remedy: what to do then.
        waits: wait for the other process, rather than refuse.

    Raises:
        DataError: another process has the lock.
        OSError: the file cannot be opened or locked.
    """
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            raise DataError(
                cause or f"scores {path} are being written by another process",
                reason="two processes would write every row twice",
                remedy=remedy,
            ) from None
        yield
