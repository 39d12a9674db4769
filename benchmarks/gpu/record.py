"""What a section finds, written down after every figure, so that a section that is stopped leaves what it had."""

from __future__ import annotations

import gc
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass(eq=False)
class Record:
    """The figures of one section, and the file that they go to."""

    path: Path
    seconds: float
    """The section's budget. What would begin later is left out, and said to be."""
    found: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def __setitem__(self, name: str, value: Any) -> None:
        self.found[name] = value
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, self.path)
        print(f"  {name}: {json.dumps(value)[:300]}", flush=True)

    @property
    def is_over(self) -> bool:
        """Whether the section's time is used up."""
        return time.monotonic() - self.began > self.seconds

    def attempt(self, name: str, measure: Callable[[], Any]) -> Any:
        """Record what `measure` returns, or why it failed; the section goes on. Returns it, or None."""
        if self.is_over:
            self[name] = {"left_out": f"the section's {self.seconds:.0f} s are over"}
            return None
        try:
            value = measure()
        except torch.OutOfMemoryError as error:
            self[name] = {"out_of_memory": str(error).splitlines()[0][:400]}
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error}"[:600]
            self[name] = {"error": text, "at": f"{Path(where.filename).name}:{where.lineno}"}
            traceback.print_exc()
        else:
            self[name] = value
            return value
        release_memory()
        return None


def release_memory() -> None:
    """Give back what nothing holds any more; after a failure the traceback's frames held it until now."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronize() -> None:
    """Wait for the device; nothing on a CPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds spent inside to `into[name]`, the device's queue emptied before and after."""
    synchronize()
    began = time.perf_counter()
    yield
    synchronize()
    into[name] = into.get(name, 0.0) + time.perf_counter() - began


def gib(num_bytes: float) -> float:
    """In GiB, to three places."""
    return round(num_bytes / 2**30, 3)
