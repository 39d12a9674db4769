"""How examples flow through a curriculum: why they were not kept, where they lie by both models, and what became of
those that were kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from video_opd.report.figures import Axes, Figure, draw_bar, draw_canvas
from video_opd.report.html_tables import Cell, Row, Table
from video_opd.report.run.curriculum_contents import BINS, Round
from video_opd.report.run.run_contents import RunContents
from video_opd.report.visible_text import make_visible
from video_opd.sample_size import count_of

_MOST_REASONS = 8
_COLOURS = {"pool": 7, "passing": 0, "anchor": 2, "frontier": 1, "suspended": 7, "active": 1, "reactivated": 3}


def build_reasons(rounds: Sequence[Round]) -> Table | None:
    """Why examples of the pool were not kept, by round; the commonest reasons.

    Args:
        rounds: those that have a column.
    """
    counts = Counter[str]()
    for round in rounds:
        counts.update(round.left_out)
    if not counts:
        return None
    shown = [reason for reason, _ in counts.most_common(_MOST_REASONS)]
    rows = [
        Row(make_visible(reason, 120), [_build_count(round.left_out.get(reason, 0)) for round in rounds])
        for reason in shown
    ]
    if len(counts) > len(shown):
        others = [sum(round.left_out.values()) - sum(round.left_out.get(each, 0) for each in shown) for round in rounds]
        rows.append(Row("other reasons", [_build_count(count) for count in others]))
    return Table([f"round {round.number}" for round in rounds], rows)


def _build_count(count: int) -> Cell:
    return Cell(f"{count:,}" if count else "")


def draw_both_ious(rounds: Sequence[Round]) -> list[Figure]:
    """The teacher's IoU against the student's, a circle for all examples of a place and one for those that are kept.

    Args:
        rounds: those that are drawn.
    """
    drawn = [round for round in rounds if round.pool is not None and round.pool.pairs]
    most = max((max(round.pool.pairs.values()) for round in drawn if round.pool), default=1)
    several = len(drawn) > 1
    figures = []
    for round in drawn:
        assert round.pool is not None
        kept = round.kept.pairs if round.kept else Counter[tuple[int, int]]()
        title = "Teacher’s IoU against the student’s" + (f", round {round.number}" if several else "")
        count, num_kept = sum(round.pool.pairs.values()), sum(kept.values())
        figures.append(
            Figure(
                heading=title,
                image=_draw_places(title, round.pool.pairs, kept, most),
                reading=f"Kept: {num_kept:,} of the {count:,} that both models were asked about.",
                caption="",
            )
        )
    return figures


def _draw_places(title: str, pool: Counter[tuple[int, int]], kept: Counter[tuple[int, int]], most: int) -> Markup:
    axes = Axes.enclose([(0.0, 0.0), (1.0, 1.0)], y_range=(0.0, 1.0), height=300.0, x_unit="student")
    largest = (axes.place(1 / BINS, 0.0)[0] - axes.place(0.0, 0.0)[0]) / 2
    parts = [axes.draw_frame()]
    for style, counts in (("pool", pool), ("kept", kept)):
        for (tau, sigma), count in sorted(counts.items()):
            across, down = axes.place((sigma + 0.5) / BINS, (tau + 0.5) / BINS)
            told = f"teacher {(tau + 0.5) / BINS:.3g}, student {(sigma + 0.5) / BINS:.3g}: {kept[tau, sigma]} of "
            parts.append(
                Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{}</title></circle>').format(
                    style, across, down, max(1.2, largest * math.sqrt(count / most)), f"{told}{pool[tau, sigma]} kept"
                )
            )
    return draw_canvas(axes, title, parts)


def build_flow(contents: RunContents) -> Table | None:
    """What became of the examples of a curriculum that tells anchors and frontier apart; None of another one."""
    round = next((each for each in contents.curriculum.rounds if each.facts.kinds), None)
    if round is None or not contents.series("coupling.active"):
        return None
    active, again, suspended = (contents.total(f"coupling.{name}") for name in ("active", "reactivated", "suspended"))
    counted = [
        ("In the pool", "pool", round.counts.get("pool")),
        ("The teacher is right", "passing", round.counts.get("passing")),
    ]
    counted += [(f"Kept as {kind}", kind, count) for kind, count in round.facts.kinds.items()]
    used = [("Asked in training", "passing", active + suspended), ("Suspended: already right", "suspended", suspended)]
    used += [("Trained on", "active", active), ("of these after a suspension", "reactivated", again)]
    rows = [*_build_stage(counted, "example", "examples"), *_build_stage(used, "time", "times")]
    return Table(["", ""], rows)


def _build_stage(stage: Sequence[tuple[str, str, float | None]], one: str, many: str) -> list[Row]:
    """Rows with bars of one scale."""
    known = [(name, style, count) for name, style, count in stage if count is not None]
    most = max((count for *_, count in known), default=0.0) or 1.0
    rows = []
    for name, style, count in known:
        said = count_of(round(count), one, many)
        bar = draw_bar(f"{make_visible(name, 40)}: {said}", [(_COLOURS.get(style, 6), max(count, 0.0) / most)])
        rows.append(Row(make_visible(name, 40), [Cell("", image=bar, style="picture"), Cell(said)]))
    return rows
