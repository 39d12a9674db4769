"""Tracks a run while it is trained: starts the process that does it, repeats what it says, and ends it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import IO

from video_opd.child_environment import make_child_environment
from video_opd.config.tracker_settings import TrackerSettings
from video_opd.errors import UserError
from video_opd.trackers.sending import count_unsent
from video_opd.trackers.unfit_trackers import find_own_file, is_tracked

PROGRAM = "video_opd.trackers.tracking_process"

FINISH_S, STOP_S = 30.0, 5.0
"""How long a run waits for its tracker: at its end, and where it stops early."""
QUIET_S = 2.0
"""A longer wait is told."""


@contextlib.contextmanager
def track_beside(
    run: Path, settings: TrackerSettings | None, *, resumes_after: int, tell: Callable[[str], None]
) -> Iterator[None]:
    """Send what the block writes into a run folder to a tracker. Nothing that a tracker does fails or slows the block.

    Args:
        run: the run folder, whose journal has no row after `resumes_after`.
        settings: the tracker; None: no tracker.
        resumes_after: the step that the run goes on from; 0: it begins.
        tell: gets a line for the user, from another thread too.
    """
    if settings is None or not is_tracked(settings):
        yield
        return
    try:
        process = _start(run, settings, resumes_after)
    except OSError as error:
        tell(f"warning: {settings.name} gets nothing of this run, because no process could be started: {error}")
        yield
        return
    listener = Thread(target=_repeat, args=(process.stdout, tell), daemon=True)
    listener.start()
    try:
        yield
    except BaseException:
        _end(process, STOP_S, lambda: None)
        raise
    _end(process, FINISH_S, lambda: tell(f"waiting for {settings.name}, for at most {FINISH_S:.0f} s"))
    listener.join(QUIET_S)
    if said := _describe_loss(run, settings, is_finished=process.returncode == 0):
        tell(f"warning: {said}")


def _start(run: Path, settings: TrackerSettings, resumes_after: int) -> subprocess.Popen[str]:
    order = {
        "run": str(run),
        "settings": settings.model_dump(mode="json"),
        "resumes_after": resumes_after,
        "plugin": find_own_file(settings.name),
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-m", PROGRAM, json.dumps(order)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for the training: what it has written is still to be sent
        env=make_child_environment(),
    )


def _repeat(lines: IO[str], tell: Callable[[str], None]) -> None:
    with lines:
        for line in lines:
            tell(line.rstrip("\n"))


def _end(process: subprocess.Popen[str], most_s: float, say_waiting: Callable[[], None]) -> None:
    """Close its standard input, which tells it of the end, and wait a while; then end it with all that it started."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(QUIET_S, most_s))
            return
        say_waiting()
        process.wait(max(most_s - QUIET_S, 0.0))
    except BaseException as error:  # also a second signal, which ends the waiting
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def _describe_loss(run: Path, settings: TrackerSettings, *, is_finished: bool) -> str:
    """Say what a tracker does not have at the end of a run; empty where it has all."""
    again = f"`video-opd track {run} --to {settings.name}"
    try:
        num_unsent, num = count_unsent(run, settings)
    except UserError as error:
        return f"what {settings.name} has of this run is not known: {error}"
    if num_unsent:
        return f"{num_unsent} of {num} rows and evaluations are not in {settings.name}; {again}` sends them"
    if is_finished:
        return ""
    return f"{settings.name} did not finish, so the last rows may not be there; {again} --replace` sends all again"
