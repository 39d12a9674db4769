"""The signals that ask this program to stop: it finishes what it is doing, saves, and exits with 128 + the number.

SIGTERM and SIGINT come from a person or a scheduler. SIGHUP comes when a connection is lost, SIGUSR1 and SIGUSR2 as the
warning of a scheduler before it takes the machine away; these come more than once without any impatience behind it.
A scheduler that signals every process of a job, and a parent that passes on what it gets, tell a process twice.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

ASKED = (signal.SIGTERM, signal.SIGINT)
"""A second one of these ends the program at once, unless it comes with the first."""

SAME_REQUEST_S = 1.0
"""What comes within so many seconds after the first one is the same request, told twice."""

WARNED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

Handler = Callable[[int, FrameType | None], None]


class StopNote:
    """Remembers the first signal, and ends the program at a second SIGTERM or SIGINT, a moment later."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The first signal."""
        self._asked_at: float | None = None

    def take(self, number: int, _: FrameType | None) -> None:
        """Handle one signal."""
        if number in ASKED:
            if self._asked_at is None:
                self._asked_at = time.monotonic()
            elif time.monotonic() - self._asked_at > SAME_REQUEST_S:
                os._exit(128 + number)
        self.number = self.number or number


def is_kept_ignored(number: int) -> bool:
    """Whether SIGHUP, SIGUSR1 or SIGUSR2 is ignored, as by `nohup`: it stays so."""
    return number in WARNED and signal.getsignal(number) == signal.SIG_IGN


def set_handler(number: int, handler: Handler) -> None:
    """Handle a signal, unless it stays ignored."""
    if not is_kept_ignored(number):
        signal.signal(number, handler)


@contextlib.contextmanager
def handle_stop_signals(handler: Handler) -> Iterator[None]:
    """Handle all signals that ask for a stop inside the block, then restore the handlers that were there."""
    before = {number: signal.getsignal(number) for number in (*ASKED, *WARNED) if not is_kept_ignored(number)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
