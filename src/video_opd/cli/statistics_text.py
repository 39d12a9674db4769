"""The text output of `data stats`: tables, and histograms made of characters, without colour, in 80 columns."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from video_opd.consoles import EscapingConsole
from video_opd.data.manifest_statistics import Histogram, Statistics
from video_opd.report.manifest.manifest_facts import (
    OVERVIEW,
    OVERVIEW_NOTE,
    QUANTILES,
    describe_quantities,
    label_bin,
    list_facts,
    write_overview,
)
from video_opd.report.manifest.manifest_panels import SECONDS, SHARE, list_terminal_panels

_UP, _ACROSS = " ▁▂▃▄▅▆▇█", " ▏▎▍▌▋▊▉█"
"""Characters from an empty to a full cell."""
_ASCII_UP, _ASCII_ACROSS = " .:|#", " #"
"""The same for a terminal that only knows ASCII."""
_BAR, _HEIGHT = 18, 4
"""Characters of the longest bar, and lines of the highest column."""
_WIDE = 78
"""Terminals of at least this width show two histograms side by side."""


def show_statistics(measured: Mapping[str, Statistics]) -> None:
    """Print every manifest by itself, and then, if there are several, a table of all."""
    console = EscapingConsole(highlight=False)
    for name, statistics in measured.items():
        console.print(Text(name, "bold"), soft_wrap=True)
        _show_one(console, statistics)
        if statistics.by_source:
            console.print(_make_overview("source", statistics.by_source))
        console.print()
    if len(measured) > 1:
        console.print(_make_overview("manifest", measured))


def _show_one(console: Console, statistics: Statistics) -> None:
    facts = Table.grid(padding=(0, 2))
    for name, value in list_facts(statistics).items():
        facts.add_row(name, value)
    console.print(facts)
    console.print(_summaries(statistics))
    up, across = (_ASCII_UP, _ASCII_ACROSS) if console.options.ascii_only else (_UP, _ACROSS)
    bars = [_bars(*panel, across) for panel in list_terminal_panels(statistics, SECONDS)]
    columns = [_columns(*panel, up) for panel in list_terminal_panels(statistics, SHARE)]
    for charts in (bars, columns):
        if console.width >= _WIDE:
            side_by_side = Table.grid(padding=(0, 3))
            side_by_side.add_row(*charts)
            console.print(side_by_side)
        else:
            for chart in charts:
                console.print(chart)


def _summaries(statistics: Statistics) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("", *QUANTILES):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, values in describe_quantities(statistics).items():
        table.add_row(name, *values)
    return table


def _make_overview(what: str, measured: Mapping[str, Statistics]) -> Table:
    """Print one row per manifest, with what differs most between data sets."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=OVERVIEW_NOTE)
    for heading in (what, *OVERVIEW):
        first = heading == what
        table.add_column(heading, justify="left" if first else "right", overflow="fold", no_wrap=not first)
    for name, of in measured.items():
        table.add_row(escape(name or "(no source)"), *write_overview(of))
    return table


def _bars(title: str, histogram: Histogram, blocks: str) -> RenderableType:
    """Draw one line per bin, from the first to the last bin that is not empty."""
    lines = [title]
    most, steps = max(histogram.counts), len(blocks) - 1
    for index in histogram.occupied:
        count = histogram.counts[index]
        whole, rest = divmod(round(_BAR * steps * count / most) or int(count > 0), steps)
        bar = blocks[-1] * whole + blocks[rest].strip()
        lines.append(f"{label_bin(histogram, index):>11} {bar:{_BAR}} {count:,}".rstrip())
    return Text("\n".join(lines) + "\n", no_wrap=True)


def _columns(title: str, histogram: Histogram, blocks: str) -> RenderableType:
    """Draw one column per bin, with a scale from 0 to 100 below."""
    most, steps = max(histogram.counts), len(blocks) - 1
    heights = [round(_HEIGHT * steps * count / most) or int(count > 0) for count in histogram.counts]
    floors = range((_HEIGHT - 1) * steps, -1, -steps)
    lines = ["".join(blocks[min(max(height - floor, 0), steps)] for height in heights) for floor in floors]
    scale = f"{'0':<{len(heights) // 2 - 1}}50{'100':>{len(heights) - len(heights) // 2 - 1}}"
    return Text("\n".join([title, *lines, scale]) + "\n", no_wrap=True)
