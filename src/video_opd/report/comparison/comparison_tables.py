"""The tables of a comparison. Where nobody has a number to show there is no table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from video_opd.report.comparison.comparison_contents import CLOCKS, ComparisonContents, Estimate, Method, Trial
from video_opd.report.comparison.comparison_figures import Strip, key
from video_opd.report.figures import short, stacked_bar
from video_opd.report.html_tables import Cell, Row, Table
from video_opd.report.phases import Phase, colours, in_order, name_of
from video_opd.report.run.run_contents import Evaluation
from video_opd.report.run.verdict import METRICS, duration, reach, score_cell

_GIB = 1024**3


def accuracy(contents: ComparisonContents) -> Table | None:
    """Who did how well on the test queries, and at what price."""
    methods, others = contents.methods, [contents.before, contents.teacher]
    known = [other for other in others if other is not None]
    if not any(method.scores for method in methods) and not known:
        return None
    metrics = [name for name in METRICS if any(name in method.scores for method in methods)
               or any(name in other.scores for other in known)]  # fmt: skip
    asked = any(method.side_questions for method in methods) or contents.before_side_questions is not None
    columns = ["learning rate", *(METRICS[name] for name in metrics), CLOCKS[contents.clock]]

    def beside(who: str, evaluation: Evaluation, side_questions: Estimate | None) -> Row:
        cells = [Cell(""), *(score_cell(evaluation, name) for name in metrics), Cell("")]
        return Row(who, cells + ([_estimate(side_questions)] if asked else []))

    rows = [beside("Student before", contents.before, contents.before_side_questions)] if contents.before else []
    for number, method in enumerate(methods):
        cells = [_rate(method.learning_rate), *(_estimate(method.scores.get(name)) for name in metrics)]
        cells.append(_time(method.ledger.total_seconds))
        rows.append(Row(method.name, cells + ([_estimate(method.side_questions)] if asked else []), key=key(number)))
    if contents.teacher is not None:
        rows.append(beside("Teacher", contents.teacher, contents.teacher_side_questions))
    return Table([*columns, *(["side questions"] if asked else [])], rows)


def differences(contents: ComparisonContents) -> Table | None:
    """Every pair: the difference as a dot with its interval beside zero, and as numbers."""
    if not contents.differences:
        return None
    ends = [end for each in contents.differences for end in each.estimate.interval or ()]
    strip, rows = Strip.around(ends), []
    for each in contents.differences:
        estimate = each.estimate
        assert estimate.interval is not None
        (low, high), mean, who = estimate.interval, estimate.mean, f"{each.one} − {each.other}"
        told = f"{who}: {_signed(mean)}, from {_signed(low)} to {_signed(high)}"
        cells = [
            Cell("", image=strip.whisker(told, mean, (low, high)), style="picture"),
            Cell(_signed(mean)),
            Cell(f"{_signed(low)} to {_signed(high)}"),
            Cell("" if estimate.sd is None else f"{estimate.sd:.3f}"),
        ]
        rows.append(Row(who, cells))
    return Table([strip.scale(), "difference", "95 % interval", "sd over seeds"], rows)


def to_target(contents: ComparisonContents) -> Table | None:
    """How soon each method stood at the target."""
    if contents.target_miou is None or not any(method.reached for method in contents.methods):
        return None
    rows = []
    for number, method in enumerate(contents.methods):
        seeds = method.reached or []
        there = [seed for seed in seeds if seed is not None]
        steps = [None if seed is None else seed[0] for seed in seeds]
        seconds = [None if seed is None else seed[1] for seed in seeds]
        cells = [
            Cell(f"{len(there)} of {len(seeds)}" if seeds else ""),
            _over_seeds(steps, lambda step: f"{step:,.0f}"),
            _over_seeds(seconds, duration),
        ]
        rows.append(Row(method.name, cells, key=key(number)))
    return Table(["seeds that reached it", "steps", CLOCKS[contents.clock]], rows)


def work(contents: ComparisonContents) -> Table | None:
    """What each method was given and what the models had to do for it."""
    ledgers = [method.ledger for method in contents.methods]
    columns: list[tuple[str, str, Callable[[Method], float | None]]] = [
        ("", "examples", lambda method: method.ledger.counts.get("examples")),
        ("", "optimiser steps", lambda method: method.ledger.counts.get("optimiser_steps")),
    ]
    workers = list(
        dict.fromkeys(["student", "teacher", "reference", *(who for ledger in ledgers for who in ledger.work)])
    )
    for heading, count in (("answers written by", "answers_written"), ("prompt passes of", "prompt_passes")):
        columns += [
            (heading, who, lambda method, who=who, count=count: method.ledger.work.get(who, {}).get(count))  # type: ignore[misc]
            for who in workers
            if any(ledger.work.get(who, {}).get(count) for ledger in ledgers)
        ]
    columns.append(
        ("", "answer tokens learned from", lambda method: method.ledger.counts.get("answer_tokens_learned_from"))
    )
    known = [column for column in columns if any(column[2](method) is not None for method in contents.methods)]
    memory = [
        (name, count)
        for name, count in (("extra memory", "extra_memory_bytes"), ("weights asked", "model_bytes"))
        if any(ledger.counts.get(count) for ledger in ledgers)
    ]
    if not known and not memory:
        return None
    rows = []
    for number, method in enumerate(contents.methods):
        values = [value_of(method) for _, _, value_of in known]
        cells = [Cell("" if value is None else f"{value:,.0f}") for value in values]
        cells += [Cell(_memory(method.ledger.counts.get(count))) for _, count in memory]
        rows.append(Row(method.name, cells, key=key(number)))
    names = [name for _, name, _ in known] + [name for name, _ in memory]
    return Table(names, rows, groups=_grouped([heading for heading, _, _ in known] + [""] * len(memory)))


def phases(contents: ComparisonContents) -> list[Phase]:
    """The parts of the time, in the order in which a batch goes through them."""
    names = _phases(contents)
    return [Phase(name=name_of(name), colour=colour) for name, colour in zip(names, colours(names), strict=True)]


def _phases(contents: ComparisonContents) -> list[str]:
    return in_order(dict.fromkeys(phase for method in contents.methods for phase in method.ledger.seconds))


def time(contents: ComparisonContents) -> Table | None:
    """Seconds by phase, as bars of one scale and as numbers."""
    names = _phases(contents)
    coloured = list(zip(names, colours(names), strict=True))
    longest = max((method.ledger.total_seconds or 0.0 for method in contents.methods), default=0.0)
    if not longest:
        return None
    rows = []
    for number, method in enumerate(contents.methods):
        seconds = method.ledger.seconds
        shares = [(colour, seconds.get(phase, 0.0) / longest) for phase, colour in coloured]
        bar = stacked_bar(f"{method.name}: {_seconds(sum(seconds.values()))} s", shares)
        numbers = [Cell(_seconds(seconds[phase]) if phase in seconds else "") for phase in names]
        total = Cell(_seconds(method.ledger.total_seconds) if seconds else "", style="total")
        rows.append(Row(method.name, [Cell("", image=bar, style="picture"), total, *numbers], key=key(number)))
    return Table(["", "total, s", *map(name_of, names)], rows)


def sweep(contents: ComparisonContents) -> Table | None:
    """What each learning rate gave, and which was chosen."""
    rates = sorted({trial.learning_rate for trial in contents.sweep})
    if not rates:
        return None
    rows = []
    for number, method in enumerate(contents.methods):
        cells = []
        for rate in rates:
            tried = [trial.miou for trial in contents.sweep if _is_of(trial, method, rate)]
            chosen = method.learning_rate is not None and math.isclose(rate, method.learning_rate)
            mean = f"{statistics.fmean(tried):.3f}" if tried else ""
            cells.append(Cell(mean, ("chosen",) if chosen else (), style="chosen" if chosen else ""))
        rows.append(Row(method.name, cells, key=key(number)))
    return Table([short(rate) for rate in rates], rows)


def _is_of(trial: Trial, method: Method, rate: float) -> bool:
    return (trial.method, trial.learning_rate) == (method.name, rate)


def _estimate(estimate: Estimate | None) -> Cell:
    """A score with its interval and its standard deviation over seeds, as far as they are known."""
    if estimate is None:
        return Cell("")
    spread = () if estimate.sd is None else (f"sd {estimate.sd:.3f}",)
    return Cell(f"{estimate.mean:.3f}", (() if estimate.interval is None else (reach(estimate.interval),)) + spread)


def _rate(learning_rate: float | None) -> Cell:
    return Cell("" if learning_rate is None else short(learning_rate))


def _time(seconds: float | None) -> Cell:
    return Cell("" if seconds is None else duration(seconds))


def _over_seeds(values: list[float | None], said: Callable[[float], str]) -> Cell:
    """The mean of those that are known, and below it each."""
    known = [value for value in values if value is not None]
    if not known:
        return Cell("")
    each = ", ".join("–" if value is None else said(value) for value in values)
    return Cell(said(statistics.fmean(known)), (each,) if len(values) > 1 else ())


def _grouped(headings: list[str]) -> list[tuple[str, int]]:
    """Neighbours with the same heading as one; nothing if there are no headings."""
    groups: list[tuple[str, int]] = []
    for heading in headings:
        if groups and groups[-1][0] == heading:
            heading, width = groups.pop()
            groups.append((heading, width + 1))
        else:
            groups.append((heading, 1))
    return groups if any(headings) else []


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _seconds(value: float | None) -> str:
    value = value or 0.0
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _memory(count: float | None) -> str:
    """Nothing measured is recorded as 0."""
    if not count:
        return ""
    return f"{count / _GIB:.2f} GiB" if count >= _GIB else f"{count / 1024**2:.0f} MiB"
