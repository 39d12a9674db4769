"""How far a scoring is: a bar on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ScoringProgress:
    """How many examples are scored, how fast, and how long it will take; a context manager."""

    SECONDS_BETWEEN_LINES = 10.0
    """Without a terminal."""

    def __init__(self, title: str, total: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.title, self.total = title, total
        self.began = self.told = time.monotonic()
        self.done = 0
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
        )
        self.task = self.bar.add_task(escape(title), total=total, rate="")

    def __enter__(self) -> ScoringProgress:
        self.began = self.told = time.monotonic()
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bar.stop()
        elif self.done:
            self._say(f"{self.title}: {self.done} examples in {time.monotonic() - self.began:.0f} s")

    def advance(self, count: int, left: int) -> None:
        """After `count` more examples, `left` are left."""
        self.done += count
        pace = self.done / max(time.monotonic() - self.began, 1e-9)
        if self.console.is_terminal:
            self.bar.update(self.task, completed=self.total - left, rate=f"{pace:.1f} a second")
        elif time.monotonic() - self.told >= self.SECONDS_BETWEEN_LINES:
            self.told = time.monotonic()
            self._say(f"{self.title}: {self.total - left}/{self.total}  {pace:.1f} a second  {left / pace:.0f} s left")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
