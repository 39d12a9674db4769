"""Draw several lines at once. The shape of its marks tells a line apart as much as its colour."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from video_opd.report.figures import (
    Axes,
    Points,
    ReferenceLine,
    draw_canvas,
    draw_rule,
    say_place,
)

_NUM_COLOURS = 8
"""`s0` to `s7` of `comparison.css`."""
_MOST_POINTS, _MOST_MARKS = 200, 8
"""Of one line: more points than that are not seen, and more marks hide what is under them."""
_LABEL_HEIGHT, _LABEL_LETTERS = 15.5, 14
_LETTER = 7.0
"""About how wide a letter is."""


def _turn(corners: int, angle: float, size: float = 1.0) -> list[tuple[float, float]]:
    steps = (angle + 2 * math.pi * corner / corners for corner in range(corners))
    return [(size * math.cos(step), size * math.sin(step)) for step in steps]


def _make_star(points: int, inner: float) -> list[tuple[float, float]]:
    outside, inside = _turn(points, -math.pi / 2, 1.3), _turn(points, -math.pi / 2 + math.pi / points, inner)
    return [corner for pair in zip(outside, inside, strict=True) for corner in pair]


_SHAPES = (
    _turn(20, 0.0),  # as good as a circle
    _turn(4, math.pi / 4, 1.2),
    _turn(3, -math.pi / 2, 1.35),
    _turn(4, 0.0, 1.35),
    _turn(3, math.pi / 2, 1.35),
    _make_star(4, 0.6),
    _make_star(5, 0.55),
)
"""Seven: with eight colours no two lines look alike before the 57th."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line, with the band it lies in."""

    name: str
    number: int
    """Decides how the line looks."""
    points: Points
    band: Sequence[tuple[float, float, float]]
    """(x, low, high)."""


def draw_mark(number: int, across: float, down: float, title: str = "", radius: float = 4.0) -> Markup:
    """Draw what the line of this number is known by.

    Args:
        number: of the line; decides shape and colour.
        across: place on the canvas, from the left.
        down: place on the canvas, from the top.
        title: shown when the pointer is over the mark.
        radius: size.
    """
    corners = _SHAPES[number % len(_SHAPES)]
    path = "M" + "L".join(f"{across + radius * x:.1f} {down + radius * y:.1f}" for x, y in corners) + "Z"
    told = Markup("<title>{}</title>").format(title) if title else Markup("")
    return Markup('<path class="mark s{}" d="{}">{}</path>').format(number % _NUM_COLOURS, path, told)


def draw_key(number: int) -> Markup:
    """Draw a piece of a line with its mark, to stand before its name."""
    style = number % _NUM_COLOURS
    return Markup(
        '<svg class="key" viewBox="0 0 26 12" aria-hidden="true"><path class="line s{}" d="M1 6H25"/>{}</svg>'
    ).format(style, draw_mark(number, 13, 6))


def draw_curves(
    title: str,
    series: Sequence[Series],
    *,
    rules: Sequence[ReferenceLine] = (),
    x_unit: str = "step",
    labelled: bool = False,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """Draw several lines, each with its band.

    Args:
        title: read out in place of the picture.
        series: at least one, with a point each.
        rules: horizontal lines to compare with.
        x_unit: of the x axis.
        labelled: names stand beside the lines, at the right.
        y_range: ends of the y axis; None: those of the values.
    """
    reach = [point for each in series for point in each.points]
    reach += [(x, y) for each in series for x, *ends in each.band for y in ends]
    reach += [(reach[0][0], rule.y) for rule in rules]
    ys = [y for _, y in reach]
    margin = 34 + _LETTER * max(len(_shorten_name(each)) for each in series) if labelled else 20.0
    axes = Axes.enclose(reach, y_range=y_range or (min(ys), max(ys)), height=310.0, right=margin, x_unit=x_unit)
    parts = [axes.draw_frame()]
    parts += [_draw_band(axes, each) for each in series if len(each.band) > 1]
    # The first line is drawn last: the others are compared with it.
    parts += [_draw_line(axes, each, x_unit) for each in reversed(series)]
    parts += _draw_rules(axes, rules, series)
    return draw_canvas(axes, title, [*parts, *(_draw_labels(axes, series) if labelled else ())])


def _draw_band(axes: Axes, series: Series) -> Markup:
    band = [series.band[index] for index in _choose_evenly(len(series.band), _MOST_POINTS)]
    outline = [(x, low) for x, low, _ in band] + [(x, high) for x, _, high in reversed(band)]
    return Markup('<path class="span s{}" d="{}Z"/>').format(series.number % _NUM_COLOURS, axes.path(outline))


def _draw_line(axes: Axes, series: Series, x_unit: str) -> Markup:
    points = [series.points[index] for index in _choose_evenly(len(series.points), _MOST_POINTS)]
    marked = [series.points[index] for index in _choose_evenly(len(series.points), _MOST_MARKS)]
    marks = [draw_mark(series.number, *axes.place(x, y), f"{series.name}, {say_place(x_unit, x)}: {y:.3f}")
             for x, y in marked]  # fmt: skip
    style = series.number % _NUM_COLOURS
    return Markup('<path class="line s{}" d="{}"/>{}').format(style, axes.path(points), Markup("").join(marks))


def _choose_evenly(length: int, most: int) -> list[int]:
    """At most about `most` of the indices, evenly spaced and the last among them."""
    return sorted({*range(0, length, math.ceil(length / most)), length - 1})


def _draw_rules(axes: Axes, rules: Sequence[ReferenceLine], series: Sequence[Series]) -> list[Markup]:
    """Draw rules, with each label where it hides least."""
    ink = [axes.place(*point) for each in series for point in _list_places_along(each.points)]
    drawn = []
    for rule in rules:
        boxes = {(left, above): _measure_label(axes, rule, left=left, above=above)
                 for left in (True, False) for above in (True, False)}  # fmt: skip
        hidden = {
            place: sum(low <= across <= high and top <= down <= bottom for across, down in ink)
            for place, (low, high, top, bottom) in boxes.items()
        }
        left, above = min(hidden, key=lambda place: hidden[place])
        low, high, top, bottom = boxes[left, above]
        ink += [(low + (high - low) * part / 50, (top + bottom) / 2) for part in range(51)]  # for the next not to hide
        drawn.append(draw_rule(axes, rule, left=left, above=above))
    return drawn


def _list_places_along(points: Points) -> list[tuple[float, float]]:
    """Places all along a line."""
    parts = [part / 20 for part in range(21)]
    return [
        (x + part * (next_x - x), y + part * (next_y - y))
        for (x, y), (next_x, next_y) in itertools.pairwise(points)
        for part in parts
    ]


def _measure_label(axes: Axes, rule: ReferenceLine, *, left: bool, above: bool) -> tuple[float, float, float, float]:
    """From and to where a label reaches, across and down."""
    (start, down), (end, _) = axes.place(axes.x[0], rule.y), axes.place(axes.x[1], rule.y)
    width = _LETTER * len(rule.label) + 8
    return (
        *((start, start + width) if left else (end - width, end)),
        *((down - 20, down - 2) if above else (down + 2, down + 20)),
    )


def _draw_labels(axes: Axes, series: Sequence[Series]) -> list[Markup]:
    """Names beside the ends of the lines, moved apart as far as they must be; none if there is no room for all."""
    low, high = axes.place(axes.x[1], axes.y[1])[1], axes.place(axes.x[1], axes.y[0])[1]
    if len(series) * _LABEL_HEIGHT > high - low:
        return []
    ordered = sorted(series, key=lambda each: axes.place(*each.points[-1])[1])
    ends = [axes.place(*each.points[-1]) for each in ordered]
    places = spread([y for _, y in ends], _LABEL_HEIGHT, low, high)
    edge = axes.width - axes.right
    return [
        Markup('<path class="lead s{}" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/><text x="{:.1f}" y="{:.1f}">{}</text>').format(
            each.number % _NUM_COLOURS, across + 6, down, edge + 20, at, edge + 24, at + 4.5, _shorten_name(each)
        )
        for each, (across, down), at in zip(ordered, ends, places, strict=True)
    ]


def _shorten_name(series: Series) -> str:
    return series.name if len(series.name) <= _LABEL_LETTERS else series.name[: _LABEL_LETTERS - 1] + "…"


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart: places as near to the wanted ones as possible.

    Without their gaps the places must only not fall: that is isotonic regression, solved by pooling neighbours.

    Args:
        wanted: places, ascending.
        gap: least distance between two.
        low: the first place is not before it.
        high: the last place is not after it.
    """
    pools: list[tuple[float, int]] = []
    for index, place in enumerate(wanted):
        mean, size = place - index * gap, 1
        while pools and pools[-1][0] > mean:
            other_mean, other_size = pools.pop()
            mean, size = (mean * size + other_mean * other_size) / (size + other_size), size + other_size
        pools.append((mean, size))
    last = high - (len(wanted) - 1) * gap
    bases = [min(max(mean, low), last) for mean, size in pools for _ in range(size)]
    return [base + index * gap for index, base in enumerate(bases)]
