"""The section "What it trained on": which examples were chosen, how they differ from the pool, what that cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from video_opd.files.run_records import ExamplesProfile
from video_opd.report.figures import Figure, draw_line_chart
from video_opd.report.html_tables import Cell, Row, Table
from video_opd.report.run import verdict
from video_opd.report.run.curriculum_contents import CurriculumContents, Round, UnfinishedScores
from video_opd.report.run.curriculum_figures import Column, draw_columns, draw_histogram
from video_opd.report.run.curriculum_flow import build_flow, build_reasons, draw_both_ious
from video_opd.report.run.run_contents import RunContents
from video_opd.report.visible_text import make_visible

MOSTLY_NOISE = 0.5
"""As in `curriculum.signals`, which this page does not load: a ranking less reliable than this is mostly noise."""
LARGE = 0.2
"""A difference between pool and kept ones above this share of the pool's value is set apart."""
_LARGE_POINTS = 0.02
"""A source's share must also differ by this much: three examples of a source never keep its share."""
_MAX_ROUNDS, _MAX_COLUMNS, _MAX_REASONS, _MAX_SOURCES = 40, 4, 3, 8
_KINDS = (("anchor", "Anchors"), ("frontier", "Frontier examples"))

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Everything that it shows; what is empty or None is left out."""

    cost: str
    scoring: list[str]
    rounds: Table | None
    left_out: str
    warnings: list[str]
    unscored: list[str]
    shift: Table | None
    ious: list[Figure]
    both: list[Figure]
    left_out_why: Table | None
    flow: Table | None
    coupling: list[Figure]


def build_section(contents: RunContents) -> Section | None:
    """None where no curriculum left a trace."""
    found, coupling = contents.curriculum, draw_coupling(contents)
    if not (found.rounds or found.scoring or coupling):
        return None
    shown = _choose_evenly(found.rounds, _MAX_ROUNDS)
    hidden = len(found.rounds) - len(shown)
    return Section(
        cost=write_cost_of_selecting(found, verdict.measure_elapsed(contents)),
        scoring=[_write_progress(each) for each in found.scoring],
        rounds=_build_rounds(shown),
        left_out=f"{hidden} rounds in between are not shown." if hidden else "",
        warnings=_gather_by_round([(round.number, round.facts.warnings) for round in found.rounds]),
        unscored=_gather_by_round([(round.number, _list_reasons(round)) for round in found.rounds]),
        shift=build_shift(_choose_evenly(found.rounds, _MAX_COLUMNS)),
        ious=draw_ious(found.rounds),
        both=draw_both_ious(_choose_evenly(found.rounds, 2)),
        left_out_why=build_reasons(_choose_evenly(found.rounds, _MAX_COLUMNS)),
        flow=build_flow(contents),
        coupling=coupling,
    )


def _choose_evenly(items: Sequence[_Item], most: int) -> list[_Item]:
    """At most so many, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[index * (len(items) - 1) // (most - 1)] for index in range(most)]


def write_cost_of_selecting(curriculum: CurriculumContents, training_s: float) -> str:
    """What choosing took beside training; nothing where it took nothing."""
    selecting = curriculum.cost_s
    if selecting <= 0 or training_s <= 0:
        return ""
    took = f"Selection took {verdict.format_duration(selecting)}, training {verdict.format_duration(training_s)}"
    return f"{took}: {selecting / training_s:.2f} to 1."


def _write_progress(scoring: UnfinishedScores) -> str:
    of = "" if scoring.num_examples is None else f" of {scoring.num_examples:,}"
    mean = "" if scoring.mean_iou is None else f", mean IoU {scoring.mean_iou:.3f}"
    return f"Scores of the {make_visible(scoring.whose, 60)}: {scoring.num_rows:,}{of} so far{mean}."


def _build_rounds(rounds: Sequence[Round]) -> Table | None:
    """One row a round."""
    counts = [
        (name, key)
        for name, key in (("pool", "pool"), ("unscored", "unscored"), ("passing", "passing"), ("kept", "kept"))
        if any(key in round.counts for round in rounds)
    ]  # fmt: skip
    models = [
        (whose, key)
        for whose, key in (("teacher’s IoU", "tau"), ("student’s IoU", "sigma"))
        if any(round.pool is not None and getattr(round.pool, key).count for round in rounds)
    ]
    if not rounds:
        return None
    rows = []
    for round in rounds:
        cells = [_build_count(round, key) for _, key in counts]
        for _, key in models:
            for tally in (round.pool, round.kept):
                ious = None if tally is None else getattr(tally, key)
                partly = ious is not None and tally is not None and 0 < ious.count < tally.count
                notes = (f"of {ious.count:,}",) if ious is not None and partly else ()
                cells.append(Cell(_format_score(None if ious is None else ious.mean), notes))
        cells += [_build_reliability(round), Cell(_format_score(round.miou))]
        start = "" if round.facts.first_step is None else f"from step {round.facts.first_step + 1:,}"
        rows.append(Row(f"Round {round.number}", cells, note=start))
    columns = [name for name, _ in counts] + ["pool", "kept"] * len(models) + ["reliability", "mIoU after it"]
    groups = [("examples", len(counts))] if counts else []
    groups += [(f"{whose}, mean", 2) for whose, _ in models] + [("ranking", 1), ("validation", 1)]
    return Table(columns, rows, groups)


def _build_count(round: Round, key: str) -> Cell:
    kinds = [f"{count:,} {make_visible(kind, 20)}" for kind, count in list(round.facts.kinds.items())[:4]]
    value = round.counts.get(key)
    return Cell("" if value is None else f"{value:,}", tuple(kinds) if key == "kept" else ())


def _format_score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _build_reliability(round: Round) -> Cell:
    """Of the ranking by the gap; where kinds are told apart by the student's IoU alone, of that."""
    reliability = round.facts.reliability_of_ranking
    if reliability is None:
        return Cell("")
    if reliability < MOSTLY_NOISE:
        return Cell(f"{reliability:.2f}", ("mostly noise",), style="apart")
    return Cell(f"{reliability:.2f}")


def _list_reasons(round: Round) -> list[str]:
    """Why examples have no score, the commonest first."""
    found = list(round.reasons.items())
    said = [f"{count:,} unscored: {make_visible(why, 160)}" for why, count in found[:_MAX_REASONS]]
    others = sum(count for _, count in found[_MAX_REASONS:])
    return said + ([f"{others:,} unscored for other reasons"] if others else [])


def _gather_by_round(said: Sequence[tuple[int, Sequence[str]]]) -> list[str]:
    """Every sentence once, with the rounds it was said in."""
    when: dict[str, list[int]] = {}
    for number, sentences in said:
        for sentence in sentences[:20]:
            when.setdefault(make_visible(sentence), []).append(number)
    found = []
    for sentence, numbers in when.items():
        every = len(numbers) == len(said) > 1
        which = "All rounds" if every else f"Round{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:20]))}"
        found.append(f"{which}: {sentence}")
    return found


def build_shift(rounds: Sequence[Round]) -> Table | None:
    """What the kept examples are like beside the pool; the pool is that of the first round, for it does not change."""
    pool = next((round.facts.pool for round in rounds if not round.facts.pool.is_empty), None)
    kept = [(round.number, round.facts.kept) for round in rounds if not round.facts.kept.is_empty]
    if pool is None or not kept:
        return None
    measures: list[tuple[str, Callable[[ExamplesProfile], float | None], Callable[[float], str]]] = [
        ("Start of the span", lambda profile: profile.start_s, _format_seconds),
        ("Start, as a share of the video", lambda profile: profile.start_share, lambda value: f"{value:.2f}"),
        ("Length of the span", lambda profile: profile.length_s, _format_seconds),
        ("Length of the video", lambda profile: profile.duration_s, _format_seconds),
    ]
    rows = [
        Row(
            name,
            [
                Cell(_format_if_known(of(pool), say)),
                *(_build_comparison(of(pool), of(profile), say) for _, profile in kept),
            ],
        )
        for name, of, say in measures
        if of(pool) is not None
    ]
    names = [name for name, _ in Counter(pool.sources).most_common()]
    names += [name for _, profile in kept for name in profile.sources if name not in pool.sources]
    for name in list(dict.fromkeys(names))[:_MAX_SOURCES] if len(set(names)) > 1 else ():
        share = pool.sources.get(name, 0.0)
        cells = [
            _build_comparison(share, profile.sources.get(name, 0.0), _format_percent, points=True)
            for _, profile in kept
        ]
        rows.append(Row(f"From {make_visible(name, 40)}", [Cell(_format_percent(share)), *cells]))
    return Table(["pool", *(f"kept, round {number}" for number, _ in kept)], rows) if rows else None


def _build_comparison(
    pool: float | None, kept: float | None, say: Callable[[float], str], *, points: bool = False
) -> Cell:
    """The kept ones' value and how far it is from the pool's.

    Args:
        points: the difference of two shares, in hundredths; else in hundredths of the pool's value.
    """
    if pool is None or kept is None:
        return Cell(_format_if_known(kept, say))
    change = kept - pool
    large = abs(change) > LARGE * abs(pool) and (not points or abs(change) >= _LARGE_POINTS)
    whole, unit = (1.0, "points") if points else (abs(pool), "%")
    notes = (_format_change(100 * change / whole, unit),) if whole else ()
    return Cell(say(kept), notes, style="apart" if large else "")


def _format_change(hundredths: float, unit: str) -> str:
    size = f"{abs(hundredths):,.0f}"
    if size == "0":
        return "same"
    return f"{'−' if hundredths < 0 else '+'}{size} {unit.removesuffix('s') if size == '1' else unit}"


def _format_if_known(value: float | None, say: Callable[[float], str]) -> str:
    return "" if value is None else say(value)


def _format_seconds(value: float) -> str:
    return f"{value:.2f} s" if abs(value) < 100 else f"{value:,.0f} s"


def _format_percent(value: float) -> str:
    return f"{100 * value:.0f} %" if value >= 0.095 or value == 0 else f"{100 * value:.1f} %"


def draw_ious(rounds: Sequence[Round]) -> list[Figure]:
    """Where the kept examples lie: by the teacher's IoU, which stays as it is, and by the student's at first and at
    last, as far as the two were asked."""
    judged = [round for round in rounds if round.pool is not None and round.pool.tau.count]
    asked = [round for round in rounds if round.pool is not None and round.pool.sigma.count]
    panels = [("Teacher’s", round, round.pool.tau, round.kept.tau)
              for round in judged[-1:] if round.pool and round.kept]  # fmt: skip
    panels += [("Student’s", round, round.pool.sigma, round.kept.sigma)
               for round in _choose_evenly(asked, 2) if round.pool and round.kept]  # fmt: skip
    most = {whose: max(max(pool.bins.values()) for each, _, pool, _ in panels if each == whose)
            for whose, *_ in panels}  # fmt: skip
    several = len(rounds) > 1
    return [
        Figure(
            heading=f"{whose} IoU" + (f", round {round.number}" if several else ""),
            image=draw_histogram(f"Examples by the {whose.lower()} IoU, round {round.number}", pool.bins, kept.bins,
                            most=most[whose]),
            reading=f"Kept: {kept.count:,} of the {pool.count:,} it was asked about.",
            caption="",
        )
        for whose, round, pool, kept in panels
    ]  # fmt: skip


def draw_coupling(contents: RunContents) -> list[Figure]:
    """Who was trained on, step by step, and the share of the examples that cost nothing but an answer."""
    everyone = _make_columns(contents, "")
    if not everyone:
        return []
    apart = [(name, _make_columns(contents, f"_{kind}")) for kind, name in _KINDS]
    panels = [(name, columns) for name, columns in apart if columns] or [("All examples", everyone)]
    found = [
        Figure(
            heading=name,
            image=draw_columns(f"{name} by what became of them, per step", columns),
            reading=_describe_outcome(columns),
            caption="",
        )
        for name, columns in panels
    ]
    shares = [
        (column.x, column.parts[-1][1] / scheduled) for column in everyone if (scheduled := _measure_height(column))
    ]
    if not shares:
        return found
    suspended, scheduled = sum(column.parts[-1][1] for column in everyone), sum(map(_measure_height, everyone))
    return [
        *found,
        Figure(
            heading="Share that cost only an answer",
            image=draw_line_chart("Share of suspended examples over steps", shares, small=True, y_range=(0.0, 1.0)),
            reading=f"{100 * suspended / scheduled:.0f} % of {scheduled:,.0f} scheduled examples.",
            caption="They cost no teacher pass and no backward pass. Good: the share grows as the student learns. If "
            "it stays near 0, the gate saves nothing. If it is near 1, almost nothing is left to learn: raise "
            "suspend_at, or use harder examples.",
        ),
    ]


def _make_columns(contents: RunContents, kind: str) -> list[Column]:
    """Trained on, trained on again, suspended: from the bottom up, at every step that counted them."""
    series = [
        dict(contents.series(f"coupling.{name}{kind}")) for name in ("active", "reactivated", "suspended")
    ]  # fmt: skip
    columns = []
    for step in sorted(series[0].keys() & series[2].keys()):
        active, reactivated, suspended = (max(each.get(step, 0.0), 0.0) for each in series)
        again = min(reactivated, active)
        parts = (("active", active - again), ("reactivated", again), ("suspended", suspended))
        columns.append(Column(step, parts))
    return columns


def _measure_height(column: Column) -> float:
    return sum(height for _, height in column.parts)


def _describe_outcome(columns: Sequence[Column]) -> str:
    active, again, suspended = (sum(column.parts[place][1] for column in columns) for place in range(3))
    trained = f"Trained on {active + again:,.0f} times, {again:,.0f} of them after a suspension"
    return f"{trained}; suspended {suspended:,.0f} times."
