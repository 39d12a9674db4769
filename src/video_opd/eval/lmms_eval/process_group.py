"""A process with a group of its own: what it prints as it comes, whether anything of the group lives, and its signals.

Reading a pipe to its end waits for every process that holds it, and waiting for a process leaves out those it started.
So what is printed is read for a time, and what counts is the group.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

_POLL_S = 0.1
"""Between two looks at the processes while nothing is printed."""

_CHUNK = 1 << 16
_MOST_CHUNKS = 16
"""The most that a pipe holds, as Linux has it: whoever goes on printing is not listened to for ever."""


class Output:
    """The standard output of a process, line by line.

    Args:
        process: started with a pipe for its standard output, in bytes.
        take: told every line. Its end is made `\\n`, also the lone `\\r` with which progress bars begin anew.
    """

    def __init__(self, process: subprocess.Popen[bytes], take: Callable[[str], None]) -> None:
        assert process.stdout is not None
        self._pipe = process.stdout
        self._take = take
        self._decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
        self._rest = ""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self.is_open = True
        """Some process holds the other end, or not all has been read."""

    def read_while(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Take what is printed while `condition` holds, at most so many seconds (None: for ever).

        Returns:
            whether `condition` came to an end.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while condition():
            wait_s = _POLL_S if deadline is None else min(_POLL_S, deadline - time.monotonic())
            if wait_s <= 0:
                return False
            self._read(wait_s)
        return True

    def close(self) -> None:
        """Take what has been printed up to now, and read no more."""
        try:
            for _ in range(_MOST_CHUNKS):
                if not self._read(0):
                    break
            if self.is_open:
                self._feed(b"")
        finally:
            self._selector.close()
            self._pipe.close()

    def _read(self, wait_s: float) -> bool:
        """Whether there was something to read."""
        if not self.is_open:
            time.sleep(wait_s)
            return False
        if not self._selector.select(wait_s):
            return False
        chunk = os.read(self._pipe.fileno(), _CHUNK)
        self._feed(chunk)
        if not chunk:
            self._selector.unregister(self._pipe)
            self.is_open = False
        return bool(chunk)

    def _feed(self, chunk: bytes) -> None:
        """Nothing is the end: then an unfinished line is a line."""
        *lines, self._rest = (self._rest + self._decoder.decode(chunk, final=not chunk)).split("\n")
        for line in lines:
            self._take(line + "\n")
        if not chunk and self._rest:
            self._take(self._rest)


def group_lives(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process, or another of the group that it leads, is there and no zombie.

    As long as one of the group is there, even as a zombie, its number is not given to others.
    """
    if process.poll() is None:
        return True
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):  # the latter is how macOS says that there are but zombies
        return False
    return any(state not in "ZX" for state in _states(process.pid))


def _states(group: int) -> list[str]:
    """Of every process of a group, by /proc; without one, of a system that reaps zombies, `?` for them all.

    Orphans pass to process 1, and in a container that is often a program that never reaps them.
    """
    if not Path("/proc/self/stat").exists():
        return ["?"]
    states = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended since
            state, _, its_group = file.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(its_group) == group:
                states.append(state)
    return states


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to all of the group that the process leads, if any of it lives."""
    if group_lives(process):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # ended this very moment
            os.killpg(process.pid, number)
