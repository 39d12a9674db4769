"""`--restarts N`: a small process starts the command, and starts it again when it crashed.

Another try is worth it after a signal that does not ask for a stop (SIGKILL where memory ran out, SIGSEGV,
SIGBUS, SIGABRT), and after an error that the program does not know, such as one of CUDA. A mistake of the user (status
2) stays one, and a stop that was asked for is a stop. After two crashes in a row without a new row in any journal it
gives up. What happened is told on stderr, and written to `restarts.jsonl` in the folder of the run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from video_opd.child_environment import make_child_environment
from video_opd.cli import WORDS
from video_opd.errors import ConfigurationError, Stopped, UserError
from video_opd.files.journal import Journal
from video_opd.ranks import num_started
from video_opd.stop_signals import ASKED, WARNED, is_kept_ignored
from video_opd.terminal import show

JOURNAL = "restarts.jsonl"

PAUSE_S = 5.0
"""Before a restart: a driver needs a moment to free the memory of a process that was killed."""

_FLAG = "--restarts"

_UNKNOWN_ERROR = 1
"""Exit status of Python after a traceback."""

_PARENT_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)


def supervise_command(folder: Path, most: int, *, begins_again: bool = False) -> int:
    """Run the command line of this process without `--restarts` in a process of its own, and again after a crash.

    Args:
        folder: of the run or comparison.
        most: restarts.
        begins_again: `--restart` was given too.

    Raises:
        ConfigurationError: in a job of torchrun, with `--restart`, or on a system that does not tell who sent a signal.
    """
    if num_started() > 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigurationError(
            f"{_FLAG} under torchrun",
            reason="a process cannot restart the others of its job",
            remedy="leave it out, and give `torchrun --max-restarts N`, which starts all processes again",
        )
    if begins_again:
        raise ConfigurationError(
            f"{_FLAG} and --restart",
            reason="each restart would begin again at step 1",
            remedy=f"begin again with --restart alone; once the first checkpoint is saved, go on with {_FLAG}",
        )
    if not hasattr(signal, "sigwaitinfo"):
        raise ConfigurationError(
            _FLAG, reason="it needs Linux", remedy="leave it out, and start the command again after a crash"
        )
    return supervise(folder, most, [sys.executable, "-P", "-m", "video_opd", *leave_out_flag(WORDS.get())])


def leave_out_flag(words: Sequence[str]) -> Iterator[str]:
    """The words of a command line without `--restarts` and its number."""
    rest = iter(words)
    for word in rest:
        if word == _FLAG:
            next(rest, None)
        elif not word.startswith(f"{_FLAG}="):
            yield word


def supervise(folder: Path, most: int, command: Sequence[str], *, pause_s: float = PAUSE_S) -> int:
    """Run a command until it ends well, for good, or has crashed too often; returns its exit status.

    Args:
        folder: of the run or comparison, for the journals.
        most: restarts.
        command: with its arguments.
        pause_s: before each restart.

    Raises:
        Stopped: a signal came between two tries.
    """
    progress, num_idle, num_restarts = _Advance(folder), 0, 0
    with _Signals() as signals:
        while True:
            progress.count_new_rows()
            status = signals.wait_for(command)
            if signals.asked or not is_crash(status):
                return _as_a_shell_says(status)
            num_idle = 0 if progress.count_new_rows() else num_idle + 1
            verdict = f"it is started again (restart {num_restarts + 1} of {most})"
            if num_idle == 2:
                verdict = "it is not started again, because two crashes in a row came without progress"
            elif num_restarts == most:
                verdict = f"it is not started again, because {most} restarts are the most that {_FLAG} allows"
            row = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "ended": _describe(status)}
            _tell(folder, row | {"verdict": verdict})
            if num_idle == 2 or num_restarts == most:
                return _as_a_shell_says(status)
            if number := signals.take(pause_s):
                name = signal.Signals(number).name
                raise Stopped(number, f"stopped by {name} before the restart; the same command goes on")
            num_restarts += 1


def is_crash(status: int) -> bool:
    """Whether a process ended in a way that another try may be spared.

    Args:
        status: exit status; of a signal its number, below 0.
    """
    return status == _UNKNOWN_ERROR or (status < 0 and -status not in (*ASKED, *WARNED, signal.SIGPIPE, signal.SIGQUIT))


def _as_a_shell_says(status: int) -> int:
    return status if status >= 0 else 128 - status


def _describe(status: int) -> str:
    if status >= 0:
        return f"an error (exit status {status})"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"{name} (perhaps the machine had no memory left)" if -status == signal.SIGKILL else name


def _tell(folder: Path, row: dict[str, str]) -> None:
    """Say it on stderr, and in the journal of a run that has begun."""
    show(f"video-opd: the command ended with {row['ended']}; {row['verdict']}", file=sys.stderr)
    if not any((folder / name).exists() for name in ("recipe.toml", "runs")):
        return
    with contextlib.suppress(UserError), Journal(folder / JOURNAL) as journal:  # losing this costs no restart
        journal.append(row)


@dataclass
class _Advance:
    """The rows of all journals in a folder. Rows that are written a second time are none."""

    folder: Path
    most: dict[Path, int] = field(default_factory=dict)

    def count_new_rows(self) -> int:
        """How many rows the journals have beyond the most that each had at an earlier call."""
        num_new = 0
        for path in self.folder.rglob("*.jsonl"):
            with contextlib.suppress(OSError):
                num_rows = _count_rows(path) if path.name != JOURNAL else 0
                num_new += max(num_rows - self.most.get(path, 0), 0)
                self.most[path] = max(num_rows, self.most.get(path, 0))
        return num_new


def _count_rows(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


class _Signals:
    """Takes the signals of this process one by one, and passes on those that ask for a stop."""

    def __init__(self) -> None:
        self.asked: int | None = None
        """The first signal that asked for a stop."""
        self._stops = {number for number in (*ASKED, *WARNED) if not is_kept_ignored(number)}
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Signals:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, {*self._stops, signal.SIGCHLD})
        return self

    def __exit__(self, *_: object) -> None:
        while signal.sigtimedwait(self._stops, 0):  # they came too late
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def wait_for(self, command: Sequence[str]) -> int:
        """Run a command; returns its exit status."""
        before, parent = self._before, os.getpid()
        end_with_parent = _load_prctl()

        def prepare() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            end_with_parent()
            if os.getppid() != parent:
                os._exit(128 + signal.SIGTERM)

        with subprocess.Popen(command, env=make_child_environment(), preexec_fn=prepare) as self._child:
            while (status := self._child.poll()) is None:
                self.take(60.0)
        self._child = None
        return status

    def take(self, most_s: float) -> int | None:
        """Wait for a signal; returns the number of one that asked for a stop."""
        # Between two commands SIGCHLD may still be told of the first one.
        found = signal.sigtimedwait(self._stops | ({signal.SIGCHLD} if self._child else set()), most_s)
        if found is None or found.si_signo == signal.SIGCHLD:
            return None
        self.asked = self.asked or found.si_signo
        # The terminal sends Ctrl-C to the command too, and a second one would end it before it has saved.
        is_of_terminal = found.si_signo == signal.SIGINT and found.si_code > 0
        if self._child is not None and not is_of_terminal:
            self._child.send_signal(found.si_signo)
        return found.si_signo


def _load_prctl() -> Callable[[], object]:
    """What makes a process get SIGTERM when its parent is killed, so that it saves and ends too."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        prctl = ctypes.CDLL(None).prctl
        return lambda: prctl(_PARENT_DEATH, int(signal.SIGTERM))
    return lambda: None
