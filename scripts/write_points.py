"""Every place at which a process changes something on the disk, and what can happen to the process there.

`watch` is called in a process that is about to run a command. From then on each change below a folder is a point with
a name, such as `os.rename run/checkpoints/step-#`: a file is made, a part of a write is done, a file is synced, renamed
or removed. The process may be killed there or be sent a signal, at once or after a delay.
"""

from __future__ import annotations

import builtins
import io
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START = "start"
"""The point at which nothing was done yet."""

_CHANGES = frozenset({"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink"})
"""Events of Python that say that something on the disk is about to change."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What happens to a process, and where."""

    point: str
    """Name of the point."""
    occurrence: int = 1
    """At which passage of a point of that name."""
    number: int = signal.SIGKILL
    """The signal."""
    delay_s: float = 0.0
    """How long after the point."""

    def __str__(self) -> str:
        late = f" + {self.delay_s:.2f} s" if self.delay_s else ""
        return f"{signal.Signals(self.number).name} at {self.point} ({self.occurrence}){late}"


class WritePoints:
    """The points of this process.

    Args:
        root: only changes below this folder are points.
        log: descriptor to which the name of each point is written as it is passed; None: to nothing.
        disturbance: what happens on the way; None: nothing.
    """

    def __init__(self, root: Path, log: int | None, disturbance: Disturbance | None) -> None:
        self.root, self.log, self.disturbance = os.path.realpath(root), log, disturbance
        self.passed: Counter[str] = Counter()
        self.pid = os.getpid()
        self._is_inside = False

    def name(self, event: str, path: Any) -> str | None:
        """The name of a point; None where the path lies elsewhere. Numbers and random names differ between runs."""
        if isinstance(path, int):
            return None
        full = os.path.abspath(os.fsdecode(path))
        if not full.startswith(self.root + os.sep):
            return None
        short = re.sub(r"tmp-\d+(-[0-9a-f]{8})?", "tmp", os.path.relpath(full, self.root))
        for pattern, same in (r"^tmp/[^/]+", "tmp/*"), (r"[0-9a-f]{32}", "#"), (r"(?<=\d)\.\d", "#"), (r"\d+", "#"):
            short = re.sub(pattern, same, short)
        return f"{event} {short}"

    def pass_point(self, point: str | None, do_a_part: Callable[[], object] = lambda: None) -> None:
        """Count a point; at the one that was chosen, do a part of what is about to happen and send the signal."""
        if point is None or self._is_inside or os.getpid() != self.pid:
            return
        self.passed[point] += 1
        if self.log is not None:
            os.write(self.log, f"{point}\n".encode())
        chosen = self.disturbance
        if chosen is None or (point, self.passed[point]) != (chosen.point, chosen.occurrence):
            return
        if chosen.delay_s:
            timer = threading.Timer(chosen.delay_s, os.kill, (self.pid, chosen.number))
            timer.daemon = True
            timer.start()
            return
        self._is_inside = True
        if chosen.number == signal.SIGKILL:
            do_a_part()
        self._is_inside = False
        os.kill(self.pid, chosen.number)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an event of Python."""
        if event not in _CHANGES:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
            return
        self.pass_point(self.name(event, arguments[0] if event != "os.rename" else arguments[1]))


def watch(root: Path, log: int | None, disturbance: Disturbance | None) -> None:
    """Watch this process until it ends. There is no way back."""
    points = WritePoints(root, log, disturbance)
    _watch_writes(points)
    _watch_syncs(points)
    _watch_tensors(points)
    sys.addaudithook(points.audit)
    points.pass_point(START)


def _watch_writes(points: WritePoints) -> None:
    """Have files that are opened for writing say when they write: Python has no event for that."""
    plain_open = io.open

    class WatchedFile(io.FileIO):
        def write(self, content: Any) -> int:
            half = memoryview(content).cast("B")[: memoryview(content).nbytes // 2]
            points.pass_point(points.name("write", self.name), lambda: super(WatchedFile, self).write(half))
            return super().write(content)

        def truncate(self, size: int | None = None) -> int:
            points.pass_point(points.name("truncate", self.name))
            return super().truncate(size)

    def open_watched(
        file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, errors: str | None = None,
        newline: str | None = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        if not set(mode) & set("wax+") or points.name("open", file) is None:
            return plain_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = WatchedFile(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)

    io.open = builtins.open = open_watched


def _watch_syncs(points: WritePoints) -> None:
    plain_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        points.pass_point(points.name("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
        plain_fsync(descriptor)

    os.fsync = fsync


def _watch_tensors(points: WritePoints) -> None:
    """Weights are written by a library in Rust; a part of its file is the whole one, cut in the middle."""
    import safetensors.torch

    plain_serialize = safetensors.torch.serialize_file

    def serialize(tensors: Any, path: Any, metadata: Any = None) -> None:
        def write_a_part() -> None:
            plain_serialize(tensors, path, metadata=metadata)
            os.truncate(path, os.path.getsize(path) // 2)

        points.pass_point(points.name("write", path), write_a_part)
        plain_serialize(tensors, path, metadata=metadata)

    safetensors.torch.serialize_file = serialize
