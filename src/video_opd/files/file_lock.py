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
    called: str = "scores",
    remedy: str = "wait for it, or score a shard each with --shard into files of their own",
) -> Iterator[None]:
    """Lock a file of scores, or another file named by `called`, for writing. The lock ends with the process.

    Raises:
        DataError: another process writes to it.
    """
    with path.open("ab") as file:  # created if it does not exist
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{called} {path} are being written by another process",
                reason="two processes would write every row twice",
                remedy=remedy,
            ) from None
        yield
