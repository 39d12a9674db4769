"""`video-opd report RUN RUN2 …`: several runs on one page, with one line for all seeds of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from video_opd.report.comparison.comparison_contents import CLOCKS, choose_clock
from video_opd.report.comparison.comparison_page import render
from video_opd.report.comparison.overlaid_runs import RunGroup, make_comparison, measure_time_of, read_groups
from video_opd.report.curves import Series, draw_curves, draw_key
from video_opd.report.figures import Figure, choose_unit, smooth
from video_opd.report.html_tables import Cell, Row, Table
from video_opd.report.page import refuse_foreign_page, write_page
from video_opd.report.run.run_contents import RunContents
from video_opd.report.run.verdict import format_duration, measure_elapsed
from video_opd.report.run.vital_signs import SMALL
from video_opd.report.visible_text import make_visible
from video_opd.runs.run_costs import Clock
from video_opd.sample_size import count_of

_MOST_POINTS = 200
_SMOOTHED_FROM = 30
"""Steps from which on a line is smoothed."""

Points = list[tuple[float, float]]


def write_overlay_report(runs: Sequence[Path], page: Path) -> Path:
    """Write a page that shows several runs together.

    Args:
        runs: their folders.
        page: the file.

    Raises:
        ConfigurationError: a folder holds no run, or the file is no page of this program.
        OSError: the page cannot be written.
    """
    refuse_foreign_page(page)
    return write_page(page, render_overlay(read_groups(runs)))


def render_overlay(groups: Sequence[RunGroup]) -> str:
    """The page as text."""
    contents = make_comparison(groups)
    return render(
        contents,
        kind="Runs",
        headline=_write_headline(groups),
        facts=[],
        vital_signs=draw_vital_signs_of(groups, choose_clock(contents)),
        runs=_build_runs(groups),
        source="the files of the run folders",
    )


def _write_headline(groups: Sequence[RunGroup]) -> str:
    runs = count_of(sum(len(group.runs) for group in groups), "run", "runs")
    steps = sorted({group.count_steps() for group in groups})
    reach = f"{steps[0]:,} to {steps[-1]:,} steps" if len(steps) > 1 else count_of(steps[0], "step", "steps")
    recipes = f", {len(groups)} recipes" if len(groups) > 1 else ""
    return f"{runs}{recipes}, {reach}."


def draw_vital_signs_of(groups: Sequence[RunGroup], clock: Clock) -> list[Figure]:
    """What is recorded at every step, one line for each group; the reverse KL against time too.

    Args:
        groups: in the order of their colours.
        clock: the clock that the time is measured by.
    """
    reverse_kl = "Reverse KL to the teacher, nats per token"
    caption = "How far student and teacher are apart on the student's answers. Good: a fast fall, then a slow one."
    figures = [
        _draw(groups, f"{reverse_kl}, against steps", caption, _read_by_step("reverse_kl"), labelled=True),
        _draw_by_time(groups, f"{reverse_kl}, against {CLOCKS[clock]}", "The same lines against their cost.", clock),
        *(_draw(groups, small.heading, small.caption, _read_by_step(small.key), small.y_range) for small in SMALL),
    ]
    return [figure for figure in figures if figure is not None]


def _read_by_step(key: str) -> Callable[[RunContents], Points]:
    def read(run: RunContents) -> Points:
        points = run.series(key)
        return smooth(points) if len(points) > _SMOOTHED_FROM else points

    return read


def _draw_by_time(groups: Sequence[RunGroup], heading: str, caption: str, clock: Clock) -> Figure | None:
    clocks = [[measure_time_of(run, clock) for run in group.runs] for group in groups]
    unit, size = choose_unit(max((max(each.values()) for times in clocks for each in times), default=0.0))
    series = []
    for number, (group, taken) in enumerate(zip(groups, clocks, strict=True)):
        if found := _join(group, number, _read_by_step("reverse_kl")):
            # The mean is over the runs that have the step: a run that has just begun has taken no time yet.
            known = {step: [each[round(step)] for each in taken if step in each] for step, _ in found.points}
            mean = {step: sum(values) / len(values) for step, values in known.items()}
            series.append(
                Series(
                    name=found.name,
                    number=number,
                    points=[(mean[step] / size, y) for step, y in found.points],
                    band=[(mean[step] / size, low, high) for step, low, high in found.band],
                )
            )
    if not any(x > 0 for each in series for x, _ in each.points):
        return None
    return Figure(heading=heading, image=draw_curves(heading, series, x_unit=unit), reading="", caption=caption)


def _draw(
    groups: Sequence[RunGroup],
    heading: str,
    caption: str,
    read: Callable[[RunContents], Points],
    y_range: tuple[float, float] | None = None,
    *,
    labelled: bool = False,
) -> Figure | None:
    series = [each for number, group in enumerate(groups) if (each := _join(group, number, read))]
    if not series:
        return None
    image = draw_curves(heading, series, labelled=labelled, y_range=y_range)
    return Figure(heading=heading, image=image, reading="", caption=caption)


def _join(group: RunGroup, number: int, read: Callable[[RunContents], Points]) -> Series | None:
    """Mean and range over the seeds that have a value, at the steps that all of these have."""
    curves = [dict(points) for run in group.runs if (points := read(run))]
    common = sorted(set.intersection(*map(set, curves))) if curves else []
    if not common:
        return None
    stride = -(-len(common) // _MOST_POINTS)
    kept = sorted({*common[::stride], common[-1]})
    at = {step: [curve[step] for curve in curves] for step in kept}
    return Series(
        name=group.name,
        number=number,
        points=[(step, sum(values) / len(values)) for step, values in at.items()],
        band=[(step, min(values), max(values)) for step, values in at.items()] if len(curves) > 1 else [],
    )


def _build_runs(groups: Sequence[RunGroup]) -> Table:
    rows = []
    for number, group in enumerate(groups):
        for folder, run, standing in zip(group.folders, group.runs, group.standings, strict=True):
            after = standing.after
            cells = [
                Cell(make_visible(str(run.settings.get("seed", "")), 20)),
                Cell(f"{run.rows[-1].step:,}" if run.rows else "0"),
                Cell(format_duration(measure_elapsed(run))),
                Cell(f"{standing.curve[-1].miou:.3f}" if standing.curve else ""),
                Cell(f"{after.miou:.3f}" if after is not None and after.name == "student-after" else ""),
            ]
            rows.append(Row(make_visible(str(folder), 80), cells, note=group.name, key=draw_key(number)))
    return Table(["seed", "steps", "training time", "validation mIoU", "test mIoU"], rows)
