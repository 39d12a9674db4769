"""Stops a run at a signal after the current step, and at a second SIGTERM or SIGINT at once; see `stop_signals`."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from video_opd.ranks import current_job
from video_opd.stop_signals import StopNote, handle_stop_signals


class Interrupted(Exception):
    """The run was asked to stop, has saved its state, and goes on with the same command."""

    def __init__(self, signal_number: int, step: int) -> None:
        self.exit_code = 128 + signal_number
        self.step = step
        super().__init__(f"stopped by {signal.Signals(signal_number).name} after step {step}; the state is saved")


class StopRequest:
    """Which signal asked for a stop, if any."""

    def __init__(self) -> None:
        self._own = StopNote()

    @property
    def signal_number(self) -> int | None:
        """The signal that came to this process, or to another one of its job."""
        job = current_job()
        return self._own.number or (job.signal_number if job else None)

    @contextlib.contextmanager
    def listen(self) -> Iterator[StopRequest]:
        """Listen for all signals that ask for a stop inside the block, then restore what was there."""
        if job := current_job():
            job.is_asked_for_signals = True
        try:
            with handle_stop_signals(self._own.take):
                yield self
        finally:
            if job:
                job.is_asked_for_signals = False
