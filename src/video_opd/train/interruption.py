"""Stops a run at SIGTERM or SIGINT: the first signal after the current step, a second one at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from video_opd.ranks import current_job


class Interrupted(Exception):
    """The run was asked to stop, has saved its state, and goes on with the same command."""

    def __init__(self, signal_number: int, step: int) -> None:
        self.exit_code = 128 + signal_number
        self.step = step
        super().__init__(f"stopped by {signal.Signals(signal_number).name} after step {step}; the state is saved")


class StopRequest:
    """Which signal asked for a stop, if any."""

    def __init__(self) -> None:
        self._own: int | None = None

    @property
    def signal_number(self) -> int | None:
        """The signal that came to this process, or to another one of its job."""
        job = current_job()
        return self._own or (job.signal_number if job else None)

    @contextlib.contextmanager
    def listen(self) -> Iterator[StopRequest]:
        """Listen for SIGTERM and SIGINT inside the block, then restore what was there."""
        before = {number: signal.signal(number, self._note_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        if job := current_job():
            job.is_asked_for_signals = True
        try:
            yield self
        finally:
            if job:
                job.is_asked_for_signals = False
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note_signal(self, number: int, _: FrameType | None) -> None:
        if self._own is not None:
            os._exit(128 + number)
        self._own = number
