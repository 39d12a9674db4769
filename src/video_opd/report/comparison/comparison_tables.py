"""Build the tables of a comparison. A table without any number is left out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from video_opd.files.comparison_records import Comparison, Estimate, MethodResult
from video_opd.files.run_records import EvaluationReport, SideAccuracy
from video_opd.report.comparison.comparison_contents import (
    CLOCKS,
    choose_clock,
    find_student_before,
    find_teacher,
    list_certain_differences,
    seconds_by_phase,
    seconds_until,
)
from video_opd.report.comparison.comparison_figures import Strip
from video_opd.report.curves import draw_key
from video_opd.report.figures import draw_bar, shorten
from video_opd.report.html_tables import Cell, Row, Table
from video_opd.report.phases import Phase, choose_colours, name_phase, sort_phases
from video_opd.report.run.verdict import METRICS, build_score_cell, format_duration, format_interval, format_memory


def build_accuracy(contents: Comparison) -> Table | None:
    """Build the table of scores on the test queries."""
    methods, before, teacher = contents.methods, find_student_before(contents), find_teacher(contents)
    scores = {name: _find_scores(method) for name, method in methods.items()}
    known = [each.scores.keys() for each in (before, teacher) if each is not None]
    if not any(scores.values()) and not known:
        return None
    metrics = [name for name in METRICS if any(name in each for each in [*scores.values(), *known])]
    of_before, of_teacher = (
        each.side_questions if each else None for each in (contents.student_before, contents.teacher)
    )
    asked = any(method.side_questions for method in methods.values()) or of_before is not None
    clock = choose_clock(contents)

    def build_row(who: str, found: EvaluationReport, side_questions: SideAccuracy | None) -> Row:
        cells = [Cell(""), *(build_score_cell(found, name) for name in metrics), Cell("")]
        return Row(who, cells + ([_build_estimate(side_questions)] if asked else []))

    rows = [build_row("Student before", before, of_before)] if before else []
    for number, (name, method) in enumerate(methods.items()):
        cells = [_build_rate(method.learning_rate), *(_build_estimate(scores[name].get(metric)) for metric in metrics)]
        cells += [
            _build_duration(_sum_seconds(method, clock)),
            *([_build_estimate(method.side_questions)] if asked else []),
        ]
        rows.append(Row(name, cells, key=draw_key(number)))
    rows += [build_row("Teacher", teacher, of_teacher)] if teacher else []
    columns = ["learning rate", *(METRICS[name] for name in metrics), CLOCKS[clock]]
    return Table([*columns, *(["side questions"] if asked else [])], rows)


def _find_scores(method: MethodResult) -> dict[str, Estimate]:
    """By metric; of `miou` the estimate that has an interval."""
    return method.scores | ({"miou": method.test_miou} if method.test_miou else {})


def _sum_seconds(method: MethodResult, clock: str) -> float | None:
    seconds = seconds_by_phase(method, clock)
    return sum(seconds.values()) if seconds else None


def build_differences(contents: Comparison) -> Table | None:
    """Every pair: the difference as a dot with its interval beside zero, and as numbers."""
    found = list_certain_differences(contents)
    if not found:
        return None
    strip, rows = Strip.enclose([end for _, interval in found for end in interval]), []
    for each, (low, high) in found:
        mean, who = each.mean, f"{each.one} − {each.other}"
        told = f"{who}: {_format_signed(mean)}, from {_format_signed(low)} to {_format_signed(high)}"
        cells = [
            Cell("", image=strip.draw_whisker(told, mean, (low, high)), style="picture"),
            Cell(_format_signed(mean)),
            Cell(f"{_format_signed(low)} to {_format_signed(high)}"),
            Cell("" if each.spread is None else f"{each.spread:.3f}"),
        ]
        rows.append(Row(who, cells))
    return Table([strip.draw_scale(), "difference", "95 % interval", "sd over seeds"], rows)


def build_targets(contents: Comparison) -> Table | None:
    """Build the table of when each method reached the target."""
    if contents.target_miou is None or not any(method.to_target for method in contents.methods.values()):
        return None
    rows, clock = [], choose_clock(contents)
    for number, (name, method) in enumerate(contents.methods.items()):
        seeds = [point if point and point.step is not None else None for point in method.to_target or ()]
        steps = [None if point is None else point.step for point in seeds]
        seconds = [None if point is None else seconds_until(point, clock) for point in seeds]
        cells = [
            Cell(f"{len(seeds) - seeds.count(None)} of {len(seeds)}" if seeds else ""),
            _build_mean_over_seeds(steps, lambda step: f"{step:,.0f}"),
            _build_mean_over_seeds(seconds, format_duration),
        ]
        rows.append(Row(name, cells, key=draw_key(number)))
    return Table(["seeds that reached it", "steps", CLOCKS[clock]], rows)


def build_work(contents: Comparison) -> Table | None:
    """What each method was given and what the models had to do for it."""
    ledgers = {name: method.ledger for name, method in contents.methods.items()}
    workers = dict.fromkeys(
        ["student", "teacher", "reference", *(who for ledger in ledgers.values() for who in ledger.work)]
    )
    columns: list[tuple[str, str, list[float | None]]] = [
        ("", "examples", [ledger.examples for ledger in ledgers.values()]),
        ("", "optimiser steps", [ledger.optimiser_steps for ledger in ledgers.values()]),
    ]
    for heading, count in (("answers written by", "answers_written"), ("prompt passes of", "prompt_passes")):
        counts = ((who, [ledger.work.get(who, {}).get(count) for ledger in ledgers.values()]) for who in workers)
        columns += [(heading, who, values) for who, values in counts if any(values)]
    columns.append(
        ("", "answer tokens learned from", [ledger.answer_tokens_learned_from for ledger in ledgers.values()])
    )
    known = [column for column in columns if any(value is not None for value in column[2])]
    memory = [
        (name, values)
        for name, values in (
            ("extra memory", [ledger.extra_memory_bytes for ledger in ledgers.values()]),
            ("weights asked", [ledger.model_bytes for ledger in ledgers.values()]),
        )
        if any(values)
    ]
    if not known and not memory:
        return None
    rows = []
    for number, name in enumerate(ledgers):
        cells = [Cell("" if (value := values[number]) is None else f"{value:,.0f}") for *_, values in known]
        cells += [Cell(format_memory(values[number])) for _, values in memory]
        rows.append(Row(name, cells, key=draw_key(number)))
    names = [name for _, name, _ in known] + [name for name, _ in memory]
    return Table(names, rows, groups=_group([heading for heading, _, _ in known] + [""] * len(memory)))


def list_phases(contents: Comparison) -> list[Phase]:
    """The parts of the time, in the order in which a batch goes through them."""
    names = _list_phase_names(contents)
    return [
        Phase(name=name_phase(name), colour=colour) for name, colour in zip(names, choose_colours(names), strict=True)
    ]


def _list_phase_names(contents: Comparison) -> list[str]:
    clock = choose_clock(contents)
    return sort_phases(
        dict.fromkeys(phase for method in contents.methods.values() for phase in seconds_by_phase(method, clock))
    )


def build_time(contents: Comparison) -> Table | None:
    """Seconds by phase, as bars of one scale and as numbers."""
    names, clock = _list_phase_names(contents), choose_clock(contents)
    coloured = list(zip(names, choose_colours(names), strict=True))
    longest = max((_sum_seconds(method, clock) or 0.0 for method in contents.methods.values()), default=0.0)
    if not longest:
        return None
    rows = []
    for number, (name, method) in enumerate(contents.methods.items()):
        seconds = seconds_by_phase(method, clock)
        shares = [(colour, seconds.get(phase, 0.0) / longest) for phase, colour in coloured]
        bar = draw_bar(f"{name}: {_format_seconds(sum(seconds.values()))} s", shares)
        numbers = [Cell(_format_seconds(seconds[phase]) if phase in seconds else "") for phase in names]
        total = Cell(_format_seconds(sum(seconds.values())) if seconds else "", style="total")
        rows.append(Row(name, [Cell("", image=bar, style="picture"), total, *numbers], key=draw_key(number)))
    return Table(["", "total, s", *map(name_phase, names)], rows)


def build_sweep(contents: Comparison) -> Table | None:
    """What each learning rate gave, and which was chosen."""
    rates = sorted({trial.learning_rate for trial in contents.sweep})
    if not rates:
        return None
    rows = []
    for number, (name, method) in enumerate(contents.methods.items()):
        cells = []
        for rate in rates:
            tried = [trial.validation_miou for trial in contents.sweep
                     if (trial.method, trial.learning_rate) == (name, rate)]  # fmt: skip
            chosen = method.learning_rate is not None and math.isclose(rate, method.learning_rate)
            mean = f"{statistics.fmean(tried):.3f}" if tried else ""
            cells.append(Cell(mean, ("chosen",) if chosen else (), style="chosen" if chosen else ""))
        rows.append(Row(name, cells, key=draw_key(number)))
    return Table([shorten(rate) for rate in rates], rows)


def _build_estimate(estimate: Estimate | SideAccuracy | None) -> Cell:
    """A score with its interval and its standard deviation over seeds, as far as they are known."""
    if estimate is None:
        return Cell("")
    spread = () if estimate.spread is None else (f"sd {estimate.spread:.3f}",)
    return Cell(
        f"{estimate.mean:.3f}", (() if estimate.certain is None else (format_interval(estimate.certain),)) + spread
    )


def _build_rate(learning_rate: float | None) -> Cell:
    return Cell("" if learning_rate is None else shorten(learning_rate))


def _build_duration(seconds: float | None) -> Cell:
    return Cell("" if seconds is None else format_duration(seconds))


def _build_mean_over_seeds(values: list[float | None], said: Callable[[float], str]) -> Cell:
    """The mean of those that are known, and below it each."""
    known = [value for value in values if value is not None]
    if not known:
        return Cell("")
    each = ", ".join("–" if value is None else said(value) for value in values)
    return Cell(said(statistics.fmean(known)), (each,) if len(values) > 1 else ())


def _group(headings: list[str]) -> list[tuple[str, int]]:
    """Neighbours with the same heading as one; nothing if there are no headings."""
    groups: list[tuple[str, int]] = []
    for heading in headings:
        if groups and groups[-1][0] == heading:
            heading, width = groups.pop()
            groups.append((heading, width + 1))
        else:
            groups.append((heading, 1))
    return groups if any(headings) else []


def _format_signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _format_seconds(value: float | None) -> str:
    value = value or 0.0
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"
