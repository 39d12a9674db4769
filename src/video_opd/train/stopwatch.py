"""The cost of a step: time by phase, and the memory that it needs beyond what was in use before it."""

from __future__ import annotations

import ctypes
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from video_opd.files.run_records import StepPhase

_PROCESS = Path("/proc/self")


@dataclass(eq=False)
class Stopwatch:
    """Seconds by phase; on an accelerator the queue is emptied first."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Wall time."""
    cpu_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Time of all threads of this process: what a busy machine does not change. With threads that decode ahead, theirs
    too."""
    phase: StepPhase | Literal["teacher change"] = "read"
    """The one that was begun last."""

    @contextmanager
    def time_phase(self, name: StepPhase | Literal["teacher change"]) -> Iterator[None]:
        """Count the time spent inside towards `name`."""
        began, cpu_began = self._read_clocks()
        self.phase = name
        try:
            yield
        finally:
            ended, cpu_ended = self._read_clocks()
            self.seconds[name] += ended - began
            self.cpu_seconds[name] += cpu_ended - cpu_began

    def _read_clocks(self) -> tuple[float, float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter(), time.process_time()


@dataclass(eq=False)
class PeakMemory:
    """The most memory in use at once inside a block, less what was in use when it began.

    On CUDA of the device, elsewhere of the process, where Linux tells. What is freed and not given back makes the next
    block look smaller, so it is given back first.
    """

    device: torch.device
    extra_bytes: int | None = None
    """None: not known on this system."""

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch what happens inside."""
        before = self._begin()
        yield
        if before is not None:
            peak = torch.cuda.max_memory_allocated(self.device) if self._is_on_cuda else _read_status_bytes("VmHWM")
            self.extra_bytes = max(0, (peak or before) - before)

    @property
    def _is_on_cuda(self) -> bool:
        return self.device.type == "cuda"

    def _begin(self) -> int | None:
        if self._is_on_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
            return torch.cuda.memory_allocated(self.device)
        try:
            ctypes.CDLL(None).malloc_trim(0)
            (_PROCESS / "clear_refs").write_text("5", encoding="ascii")  # the peak starts again from now
            return _read_status_bytes("VmRSS")
        except (OSError, AttributeError):
            return None


def _read_status_bytes(name: str) -> int | None:
    for line in (_PROCESS / "status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return None
