"""`video-opd watch`: a run in the terminal as it goes, and on a page that refreshes itself."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table as Grid

from video_opd.errors import ConfigurationError
from video_opd.files.run_records import StepMetrics
from video_opd.report.page import refuse_foreign_page
from video_opd.report.run.run_follower import RunFollower
from video_opd.report.run.run_page import write_report
from video_opd.report.run.verdict import format_duration

POLL_S = 1.0
"""Seconds between two looks at the journal."""
RESTART_S = 15.0
"""A run whose process has ended may be started again (`--restarts`) within this time."""
_LEAST_SILENCE_S, _SILENT_STEPS = 60.0, 20
"""Without a row for so many seconds, and for the time of so many steps, a run may be dead."""
_WRITING_SHARE = 0.1
"""Most of the time that is spent writing the page, so that a training on the same machine is not slowed down."""
_NUM_LINES = 20
"""Without a terminal about this many lines are printed for a whole run."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 40
_SHOWN = (("mIoU of sampled answers", "miou"), ("reward", "reward"), ("reverse KL", "reverse_kl"), ("loss", "loss"))


@dataclass(kw_only=True)
class LivePage:
    """The page of a run that goes on, written again and again.

    Args:
        run: the folder.
        path: of the page.
        every_s: seconds between two writings, and after which a browser loads it again.
    """

    run: Path
    path: Path
    every_s: float
    next_s: float = 0.0

    def write_if_due(self) -> None:
        """Write it where its time has come."""
        began = time.monotonic()
        if began < self.next_s:
            return
        write_report(self.run, page=self.path, refresh_s=max(1, round(self.every_s)))
        ended = time.monotonic()
        self.next_s = max(began + self.every_s, ended + (ended - began) / _WRITING_SHARE)

    def write_last(self, *, with_frames: bool) -> None:
        """Write it once more, without loading again.

        Args:
            with_frames: look at the test videos, which may take a minute.
        """
        write_report(self.run, page=self.path, with_frames=with_frames)


def watch_run(
    run: Path, console: Console, page: LivePage | None = None, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Follow a run until no process works on it any more.

    Args:
        run: the folder.
        console: where it is shown.
        page: is kept up to date; None: no page.
        sleep: waits between two looks.

    Returns:
        How it ended, in one sentence.

    Raises:
        ConfigurationError: the folder holds no run, or the page's file is another one.
        DataError: a line of metrics.jsonl is broken.
    """
    follower = RunFollower(run)
    if not follower.run.recipe.exists():
        raise ConfigurationError(
            f"{run} is not the folder of a run",
            reason="it holds no recipe.toml",
            remedy="Name the folder that was given to `video-opd train --out`; it is there once the run has begun",
        )
    if page is not None:
        refuse_foreign_page(page.path)
    view = _TerminalView(follower, console) if console.is_terminal else _PlainView(follower, console)
    dead_since: float | None = None
    is_interrupted = False
    try:
        with view:
            while True:
                view.show(follower.read_new())
                if page is not None:
                    page.write_if_due()
                life, now = follower.find_life(), time.monotonic()
                if life is not True and follower.is_finished:
                    break
                dead_since = (dead_since or now) if life is False else None
                if dead_since is not None and now - dead_since >= RESTART_S:
                    break
                sleep(POLL_S)
    except KeyboardInterrupt:
        is_interrupted = True
        return "no longer watching; the run is not touched"
    finally:
        if page is not None:
            page.write_last(with_frames=not is_interrupted)
    return describe_end(follower)


def describe_end(follower: RunFollower) -> str:
    """How a run ended that no process works on any more."""
    last = follower.rows[-1].step if follower.rows else 0
    if follower.is_finished:
        validation = follower.read_validation()
        score = f", validation mIoU {validation[1]:.3f}" if validation else ""
        return f"the run has finished after step {last:,}{score}"
    steps = follower.num_steps
    of = f" of {steps:,}" if steps else ""
    state = f"no process works on the run; its last step was {last:,}{of}"
    if follower.has_taken_all_steps:
        state += ", and the student is not evaluated yet"
    # Without a number of steps and without a test manifest nothing says whether more was to come.
    opening = "The" if steps or follower.has_test else "If it is not finished, the"
    return f"{state}. {opening} `video-opd train` command that began it goes on with it"


def describe_silence(follower: RunFollower) -> str:
    """That no row has come for long; empty where that is nothing to wonder about."""
    silent, step = follower.silent_s, follower.seconds_per_step
    if follower.is_finished or silent < max(_LEAST_SILENCE_S, _SILENT_STEPS * (step or 0.0)):
        return ""
    usual = f"; a step takes {format_duration(step)}" if step else ""
    match follower.find_life():
        case True:
            why = "its process lives: the run is evaluating, selecting or saving"
        case False:
            why = "no process works on the run"
        case None:
            why = "the run is evaluating, selecting or saving, or its process has ended"
    return f"no new row for {format_duration(silent)}{usual}; {why}"


def draw_sparkline(values: Sequence[float]) -> str:
    """A curve of a few characters; of many values the means of stretches."""
    if len(values) > _WIDTH:
        bounds = [len(values) * index // _WIDTH for index in range(_WIDTH + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(bounds)]
    low, high = min(values), max(values)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((value - low) * scale)] for value in values)


def _describe_place(follower: RunFollower) -> str:
    """Step, pace and time left."""
    steps, step = follower.num_steps, follower.rows[-1].step if follower.rows else 0
    said = [f"step {step:,}" + (f" of {steps:,}" if steps else "")]
    if pace := follower.seconds_per_step:
        said.append(f"{format_duration(pace)} a step")
        if steps and steps > step:
            said.append(f"{format_duration(pace * (steps - step))} left")
    return ", ".join(said)


class _PlainView:
    """Lines, where there is no terminal."""

    def __init__(self, follower: RunFollower, console: Console) -> None:
        self.follower, self.console = follower, console
        self.told_silence = False
        self.told_step = -1

    def __enter__(self) -> _PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, new: Sequence[StepMetrics]) -> None:
        """Say a line for some of the new rows, and once where none comes for long."""
        every = max(1, (self.follower.num_steps or 0) // _NUM_LINES)
        for row in new:
            if row.step % every == 0 or row is new[-1]:
                self._say(f"step {row.step:,}{_list_numbers(row)}")
        silence = describe_silence(self.follower)
        if silence and not self.told_silence:
            self._say(silence)
        self.told_silence = bool(silence)
        validation = self.follower.read_validation()
        if validation is not None and validation[0] != self.told_step:
            self.told_step = validation[0]
            self._say(f"validation mIoU {validation[1]:.3f} at step {validation[0]:,}")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _list_numbers(row: StepMetrics) -> str:
    known = [(name, row.find_number(key)) for name, key in _SHOWN]
    return "".join(f"  {name} {value:.3f}" for name, value in known if value is not None)


class _TerminalView:
    """A few lines that change in their place."""

    def __init__(self, follower: RunFollower, console: Console) -> None:
        self.follower = follower
        self.live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> _TerminalView:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def show(self, _: Sequence[StepMetrics]) -> None:
        """Draw everything anew."""
        self.live.update(self._draw(), refresh=True)

    def _draw(self) -> Grid:
        follower = self.follower
        grid = Grid.grid(padding=(0, 2))
        grid.add_row(follower.path.resolve().name, "", _describe_place(follower))
        for name, key in _SHOWN:
            values = [value for row in follower.rows if (value := row.find_number(key)) is not None]
            if values:
                grid.add_row(name, f"{values[-1]:.3f}", draw_sparkline(values))
        if validation := follower.read_validation():
            grid.add_row("validation mIoU", f"{validation[1]:.3f}", f"at step {validation[0]:,}")
        if not follower.rows:
            grid.add_row("no step yet", "", "the run loads, selects or evaluates")
        if silence := describe_silence(follower):
            grid.add_row("", "", silence)
        return grid
