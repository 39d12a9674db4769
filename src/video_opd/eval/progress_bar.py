"""How far a long task is: a bar on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from video_opd.consoles import EscapingConsole


class ProgressBar:
    """The frame of a bar: name, count, bar, a few words, time left; a context manager.

    Args:
        name: stands before the count; rich's markup.
        total: what there is to do.
        done: how much of it is done already.
        console: None: stderr.
        vanishes: take the bar away at the end.
    """

    def __init__(
        self, name: str, total: int, *, done: int = 0, console: Console | None = None, vanishes: bool = False
    ) -> None:
        self.console = console or EscapingConsole(stderr=True)
        self.began = time.monotonic()
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=vanishes,
        )
        self.task = self.bar.add_task(name, total=total, completed=done, words="")

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def move(self, completed: int, words: str) -> None:
        """Show on the terminal how much is done, and a few words."""
        self.bar.update(self.task, completed=completed, words=words)

    def say(self, line: str) -> None:
        """One plain line."""
        say(self.console, line)


def say(console: Console, line: str) -> None:
    """One plain line; names of files and models may hold what rich would take for markup."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
