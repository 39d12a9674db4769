"""What a user sees while training: a bar on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """A context manager; `show` is called after every step."""

    LINES = 20
    """Without a terminal about this many lines are printed for a whole run."""

    def __init__(self, total_steps: int, first_step: int = 0, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.total_steps, self.first_step = total_steps, first_step
        self.every = max(1, total_steps // self.LINES)
        self.began = time.monotonic()
        self.validation = ""
        self.bar = Progress(
            TextColumn("[bold]step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
        )
        self.task = self.bar.add_task("", total=total_steps, completed=first_step, numbers="")

    def __enter__(self) -> TrainingProgress:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def show(self, step: int, row: dict[str, Any]) -> None:
        """After optimiser step `step` of the run."""
        if "loss" not in row:
            return
        named = (("mIoU", "miou"), ("reward", "reward"), ("reverse KL", "reverse_kl"))
        shown = [f"{name} {row[key]:.3f}" for name, key in named if key in row] or [f"loss {row['loss']:.3f}"]
        numbers = "  ".join(shown) + self.validation
        if self.console.is_terminal:
            self.bar.update(self.task, completed=step, numbers=numbers)
        elif step % self.every == 0 or step == self.total_steps:
            pace = (time.monotonic() - self.began) / max(step - self.first_step, 1)
            left = pace * (self.total_steps - step)
            self.say(f"step {step}/{self.total_steps}  {numbers}  {left:.0f} s left")

    def evaluated(self, miou: float) -> None:
        """Remember the newest validation score."""
        self.validation = f"  validation mIoU {miou:.3f}"

    def say(self, line: str) -> None:
        """One plain line."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
