"""What a user sees while training: a bar on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from video_opd.eval.progress_bar import ProgressBar


class TrainingProgress(ProgressBar):
    """A context manager; `show` is called after every step."""

    LINES = 20
    """Without a terminal about this many lines are printed for a whole run."""

    def __init__(self, total_steps: int, first_step: int = 0, console: Console | None = None) -> None:
        super().__init__("step", total_steps, done=first_step, console=console)
        self.total_steps, self.first_step = total_steps, first_step
        self.every = max(1, total_steps // self.LINES)
        self.validation = ""

    def show(self, step: int, row: dict[str, Any]) -> None:
        """After optimiser step `step` of the run."""
        if "loss" not in row:
            return
        named = (("mIoU", "miou"), ("reward", "reward"), ("reverse KL", "reverse_kl"))
        shown = [f"{name} {row[key]:.3f}" for name, key in named if key in row] or [f"loss {row['loss']:.3f}"]
        numbers = "  ".join(shown) + self.validation
        if self.console.is_terminal:
            self.move(step, numbers)
        elif step % self.every == 0 or step == self.total_steps:
            pace = (time.monotonic() - self.began) / max(step - self.first_step, 1)
            left = pace * (self.total_steps - step)
            self.say(f"step {step}/{self.total_steps}  {numbers}  {left:.0f} s left")

    def note_score(self, miou: float) -> None:
        """Remember the newest validation score."""
        self.validation = f"  validation mIoU {miou:.3f}"
