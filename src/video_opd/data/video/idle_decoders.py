"""Decoding processes that wait for the next reader of videos: a new one takes 0.3 s of a processor to start."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from video_opd.data.video.decoding_workers import DecodingWorker

MOST_IDLE = 4
"""Most processes that wait."""
_idle: list[DecodingWorker] = []
_lock = threading.Lock()


def take_idle(kind: tuple[object, ...]) -> DecodingWorker | None:
    """A process of this kind that an earlier reader of videos has left; None: there is none."""
    with _lock:
        for worker in [each for each in _idle if each.kind == kind]:
            _idle.remove(worker)
            if worker.process.poll() is None:
                return worker
            worker.kill()
    return None


def leave_idle(worker: DecodingWorker) -> None:
    """Keep a process for the next reader of videos; it ends with this process. Where enough wait, end it."""
    with _lock:
        if len(_idle) < MOST_IDLE:
            _idle.append(worker)
            return
    worker.kill()


@atexit.register
def end_idle() -> None:
    """End the processes that wait."""
    with _lock:
        idle = [worker for worker in _idle if worker.kind[0] == os.getpid()]
        _idle.clear()
    for worker in idle:
        worker.kill()
