"""How many damaged pictures FFmpeg painted over. It says so in its log alone.

A picture that is lost in part is filled from its neighbours, and the pictures that need it look wrong until the next
keyframe. FFmpeg's log comes from threads of its own, so it goes to a file and not through Python, which may wait for
those threads at the same time. That takes the place of stderr, which only a process for decoding can do without.
"""

from __future__ import annotations

import contextlib
import os
import tempfile

import av

_MOST_BYTES = 1 << 20
"""Of the log of one video; what comes after is lost."""
_SAID = b"concealing "
"""How FFmpeg begins to tell of one picture."""
_log: int | None = None


def follow_log() -> None:
    """From now on, have FFmpeg's log in a file without a name, in place of stderr. Not on Windows."""
    global _log
    import fcntl
    import resource

    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
    fcntl.fcntl(2, fcntl.F_SETFL, os.O_APPEND)
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_BYTES, _MOST_BYTES))
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.INFO)
    _log = 2


def forget_concealed() -> None:
    """Count from here."""
    if _log is not None:
        with contextlib.suppress(OSError):
            os.ftruncate(_log, 0)


def count_concealed() -> int:
    """Pictures that were painted over since `forget_concealed`; 0 where the log is not followed."""
    if _log is None:
        return 0
    try:
        return os.pread(_log, _MOST_BYTES, 0).count(_SAID)
    except OSError:
        return 0
