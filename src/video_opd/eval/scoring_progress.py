"""How far a scoring is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.markup import escape

from video_opd.eval.progress_bar import ProgressBar


class ScoringProgress(ProgressBar):
    """How many examples are scored, how fast, and how long it will take; a context manager."""

    SECONDS_BETWEEN_LINES = 10.0
    """Without a terminal."""

    def __init__(self, title: str, total: int, console: Console | None = None) -> None:
        super().__init__(escape(title), total, console=console, vanishes=True)
        self.title, self.total = title, total
        self.told = self.began
        self.done = 0

    def __enter__(self) -> Self:
        super().__enter__()
        self.told = self.began
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if not self.console.is_terminal and self.done:
            self.say(f"{self.title}: {self.done} examples in {time.monotonic() - self.began:.0f} s")

    def advance(self, count: int, left: int) -> None:
        """After `count` more examples, `left` are left."""
        self.done += count
        pace = self.done / max(time.monotonic() - self.began, 1e-9)
        if self.console.is_terminal:
            self.move(self.total - left, f"{pace:.1f} a second")
        elif time.monotonic() - self.told >= self.SECONDS_BETWEEN_LINES:
            self.told = time.monotonic()
            self.say(f"{self.title}: {self.total - left}/{self.total}  {pace:.1f} a second  {left / pace:.0f} s left")
