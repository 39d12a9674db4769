"""Run a command in a process that is forked from this one, disturb it, and see what it leaves behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from write_points import Disturbance, watch

_ENDS_WITHIN_S = 5.0
"""How long a process that was left behind may take to see that its parent has gone."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that has ended."""

    status: int
    """Exit status; of a signal its number, below 0."""
    out: str
    err: str
    points: list[str]
    """The points that it passed."""
    orphans: list[str]
    """Processes of its session that did not end with it."""


def run_command(words: Sequence[str], folder: Path, disturbance: Disturbance | None) -> Ended:
    """Run a command in a process of its own, which has imported what this one has imported.

    Args:
        words: of the command.
        folder: in which it runs. Its temporary files are in `tmp` there.
        disturbance: what happens to it; None: nothing.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as points:
        pid = os.fork()
        if pid == 0:
            _be_the_command(words, folder, (out.fileno(), err.fileno(), points.fileno()), disturbance)
        _, ended = os.waitpid(pid, 0)
        orphans = list(_end_session(pid))
        for file in (out, err, points):
            file.seek(0)
        said, complained, passed = (file.read().decode(errors="replace") for file in (out, err, points))
    status = os.waitstatus_to_exitcode(ended)
    return Ended(status=status, out=said, err=complained, points=passed.splitlines(), orphans=orphans)


def _be_the_command(
    words: Sequence[str], folder: Path, files: tuple[int, int, int], disturbance: Disturbance | None
) -> None:
    """The forked process. Nothing that the process it came from does at its end is done."""
    status = 1
    try:
        os.setsid()
        os.dup2(files[0], 1)
        os.dup2(files[1], 2)
        os.chdir(folder)
        os.environ |= {"TMPDIR": str(folder / "tmp"), "HF_HUB_OFFLINE": "1"}
        tempfile.tempdir = os.environ["TMPDIR"]  # else Python tries whether it can write there
        signal.signal(signal.SIGINT, signal.default_int_handler)
        import torch

        from video_opd.cli import main

        # A fork breaks torch's pool of threads, and the next call makes a new one: here, before two threads that read
        # weights do so at once, for then one of them finds none ("Invalid thread pool!").
        torch.set_num_threads(1)
        watch(folder, files[2], disturbance)
        status = main(list(words))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _end_session(session: int) -> Iterator[str]:
    """Wait until every process of a session has ended; end those that do not, and describe them."""
    until = time.monotonic() + _ENDS_WITHIN_S
    while (left := dict(_list_session(session))) and time.monotonic() < until:
        time.sleep(0.02)
    for pid, words in left.items():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        yield f"process {pid} ({words})"


def _list_session(session: int) -> Iterator[tuple[int, str]]:
    """The processes of a session, with their command lines. One that only waits to be asked how it ended has ended."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield int(folder.name), words.strip()[:80]


def find_held_locks(folder: Path) -> Iterator[str]:
    """Files of which a process still holds the lock."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield f"{path.relative_to(folder)} is locked"
