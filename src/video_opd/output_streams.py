"""Standard output and standard error that never end the work: a line that cannot be written is dropped and remembered.

A full disk, a reader that has left (`… | head`) or a terminal that is gone makes every write fail. Progress, warnings
and the lines of libraries all go through `sys.stdout` and `sys.stderr`, so these two are replaced while a command runs.
A command asks at its end whether its results were written. A run tells its journal that lines were dropped.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from video_opd.errors import UserError
from video_opd.terminal import show

LOST_RESULTS_STATUS = 74
"""Exit status where the results could not be written to stdout: EX_IOERR of sysexits.h."""

BROKEN_PIPE_STATUS = 141
"""Exit status where the reader of stdout has left: 128 + SIGPIPE, as a shell shows it for other programs."""


class TolerantStream:
    """A text stream that drops what it cannot write.

    Args:
        stream: writes the text; everything else is asked of it too.
        failure: why lines are lost already.
    """

    def __init__(self, stream: TextIO, failure: OSError | ValueError | None = None) -> None:
        self._stream = stream
        self.failure = failure
        """The first error of a write."""

    def write(self, text: str) -> int:
        """Write the text, or drop it; returns its length."""
        with self._remembering_failure():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        with self._remembering_failure():
            self._stream.flush()

    def describe_failure(self) -> str:
        """Why a line could not be written, in the words of the operating system."""
        return getattr(self.failure, "strerror", None) or str(self.failure)

    @contextlib.contextmanager
    def _remembering_failure(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) and not self._stream.closed:  # such as a letter that it has no code for
                raise
            self.failure = self.failure or error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_IN_USE: dict[str, TolerantStream] = {}
"""By `stdout` and `stderr`. While a bar is on a terminal, rich replaces those of `sys` by its own."""


@contextlib.contextmanager
def tolerate_lost_output() -> Iterator[None]:
    """Drop what cannot be written to stdout or stderr while the block runs. Blocks may stand in each other.

    Where the program was started without stdout or stderr (`2>&-`), the null device takes their place: otherwise the
    next file that is opened would get their number, and the output of libraries would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    before = sys.stdout, sys.stderr, dict(_IN_USE)
    with contextlib.ExitStack() as opened:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, TolerantStream):
                continue
            # Whoever closes stdout wants no results. Whoever loses stderr may miss a warning, so the journal says it.
            failure = OSError("it is closed") if stream is None and name == "stderr" else None
            if stream is None:
                stream = opened.enter_context(open(os.devnull, "w", encoding="utf-8"))
            _IN_USE[name] = TolerantStream(stream, failure)
            setattr(sys, name, _IN_USE[name])
        try:
            yield
        finally:
            sys.stdout, sys.stderr, streams = before
            _IN_USE.clear()
            _IN_USE.update(streams)


def judge_results(status: int) -> int:
    """The exit status of a command, once its results are written; where stdout failed, say so on stderr.

    Args:
        status: what the command says itself. A failure (2 and above) stays what it is.
    """
    stream = _IN_USE["stdout"]
    stream.flush()
    if stream.failure is None or status > 1:
        return status
    if isinstance(stream.failure, BrokenPipeError):
        return BROKEN_PIPE_STATUS
    error = UserError(
        "the results could not be written to stdout",
        reason=stream.describe_failure(),
        remedy="free some space or choose another place for the output, then run the same command again",
    )
    show(f"video-opd: {error}", file=sys.stderr)
    return LOST_RESULTS_STATUS


class LostProgress:
    """Tells the journal of one run, once, that lines of its progress were dropped."""

    def __init__(self) -> None:
        self._is_told = False

    def tell_once(self) -> dict[str, str]:
        """The entry of the journal's next row; empty where all lines were written, or the journal has it already."""
        stream = _IN_USE.get("stderr")
        if self._is_told or stream is None or stream.failure is None:
            return {}
        self._is_told = True
        return {"progress_lost": f"lines on stderr could not be written: {stream.describe_failure()}"}


def silence_failed_outputs() -> None:
    """Let Python end in peace: it writes what is left in its buffers, and would fail again. For the program's end."""
    for stream in _IN_USE.values():
        if stream.failure is not None:
            with contextlib.suppress(OSError, ValueError):  # it has no number, or is closed
                null = os.open(os.devnull, os.O_WRONLY)
                try:
                    os.dup2(null, stream.fileno())
                finally:
                    os.close(null)
