"""Draw charts as inline SVG: numbers in, markup out. The style sheet gives each class its colours and strokes.

Every text goes through `Markup.format`, which escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from markupsafe import Markup

from video_opd.types import Span

Points = Sequence[tuple[float, float]]

COUNTED = ("step", "token")
"""Units of an x axis that are whole numbers, and are said before the number: step 12."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 20.0, 14.0, 26.0
"""Margins in user units, room for the numbers of the axes."""
_UNITS = ((180.0, "s", 1.0), (3 * 3600.0, "min", 60.0), (math.inf, "h", 3600.0))
"""Up to how many seconds: a unit, and its seconds."""
_MAX_POINTS = 400
"""More than a screen can show; a run of 100 000 steps must not make a page of 10 MB."""
_MANY = 30
"""From here on the eye wants a smoothed line, and dots run into one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture with what to think of it."""

    heading: str
    image: Markup
    reading: str
    """What this run's numbers say."""
    caption: str
    """What good looks like, and what to do if it does not look like that."""


class ReferenceLine(NamedTuple):
    """A horizontal line to compare with."""

    y: float
    label: str
    style: str
    """CSS class: `teacher`, `floor` or `target`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Where a number lands on the canvas."""

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    x_ticks: list[float] = field(default_factory=list)
    y_ticks: list[float] = field(default_factory=list)
    x_unit: str = "step"
    right: float = _RIGHT
    """Margin, wider where something is written beside the lines."""

    @classmethod
    def enclose(
        cls,
        points: Points,
        *,
        small: bool = False,
        y_range: tuple[float, float] | None = None,
        height: float | None = None,
        right: float = _RIGHT,
        x_unit: str = "step",
    ) -> Self:
        """Axes that hold the points, with round numbers at the ends of the y axis, which starts at 0 where it can.

        Args:
            points: (x, y), at least one.
            small: one of several small charts.
            y_range: ends of the y axis; None: from 0 to the largest value, outliers aside.
            height: of the canvas; None: the usual one.
            right: margin.
            x_unit: of the x axis.
        """
        xs, ys = [x for x, _ in points], [y for _, y in points]
        width, usual_height = (320.0, 150.0) if small else (480.0, 240.0)
        x = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 1, max(xs) + 1)
        bottom, top = y_range or (min(0.0, *ys), _find_top_without_outliers(ys))
        y_ticks = choose_ticks(bottom, top if top > bottom else bottom + 1.0, 3 if small else 5)
        # Steps are whole: half a step between two is no tick.
        whole = x_unit in COUNTED
        x_ticks = choose_ticks(*x, 4 if small else 6)
        return cls(
            width=width,
            height=usual_height if height is None else height,
            x=x,
            y=(y_ticks[0], y_ticks[-1]),
            x_ticks=[tick for tick in x_ticks if x[0] <= tick <= x[1] and (tick == int(tick) or not whole)],
            y_ticks=y_ticks,
            x_unit=x_unit,
            right=right,
        )

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Canvas position; what lies outside the y axis is drawn at its edge."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (min(max(y, self.y[0]), self.y[1]) - self.y[0]) / (self.y[1] - self.y[0])
        return (
            _LEFT + across * (self.width - _LEFT - self.right),
            self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM),
        )

    def path(self, points: Points) -> str:
        """The points as the `d` of a path."""
        return "M" + "L".join("{:.1f} {:.1f}".format(*self.place(x, y)) for x, y in points)

    def draw_frame(self) -> Markup:
        """Horizontal grid lines and the numbers of both axes."""
        right, bottom = self.width - self.right, self.height - _BOTTOM
        parts = []
        for tick, label in zip(self.y_ticks, label_ticks(self.y_ticks), strict=True):
            _, y = self.place(self.x[0], tick)
            parts.append(
                Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_LEFT, right, y, y)
                + Markup('<text class="end" x="{}" y="{:.1f}">{}</text>').format(_LEFT - 7, y + 4.5, label)
            )
        for tick, label in zip(self.x_ticks, label_ticks(self.x_ticks), strict=True):
            x, _ = self.place(tick, self.y[0])
            parts.append(Markup('<text class="mid" x="{:.1f}" y="{}">{}</text>').format(x, bottom + 18, label))
        unit = Markup('<text class="end" x="{}" y="{}">{}</text>').format(_LEFT - 12, bottom + 18, self.x_unit)
        parts.append(unit)
        return Markup("").join(parts)


def draw_line_chart(
    title: str,
    points: Points,
    *,
    small: bool = False,
    y_range: tuple[float, float] | None = None,
    band: Sequence[tuple[float, float, float]] = (),
    rules: Sequence[ReferenceLine] = (),
) -> Markup:
    """One quantity over steps.

    Args:
        title: read out in place of the picture.
        points: (step, value), at least one.
        small: one of several small multiples.
        y_range: ends of the y axis; None: from 0 to the largest value, outliers aside.
        band: (step, low, high), an interval around the points.
        rules: horizontal lines to compare with.
    """
    reach = [*points, *((points[0][0], rule.y) for rule in rules), *((x, high) for x, _, high in band)]
    axes = Axes.enclose(reach, small=small, y_range=y_range)
    parts = [axes.draw_frame()]
    if band:
        outline = [(x, low) for x, low, _ in band] + [(x, high) for x, _, high in reversed(band)]
        parts.append(Markup('<path class="band" d="{}Z"/>').format(axes.path(outline)))
    # A curve that climbs leaves room above on the left and below on the right.
    # One that ends below a line leaves the room above that.
    parts += [
        draw_rule(axes, rule, left=rule.style == "teacher", above=rule.style == "teacher" or points[-1][1] < rule.y)
        for rule in rules
    ]
    if len(points) > _MANY:
        parts.append(Markup('<path class="faint" d="{}"/>').format(axes.path(_thin_out(points))))
        parts.append(Markup('<path class="line" d="{}"/>').format(axes.path(_thin_out(smooth(points)))))
    else:
        parts.append(Markup('<path class="line" d="{}"/>').format(axes.path(points)))
        parts += [_draw_dot(axes, x, y, "dot") for x, y in points]
    highest_x, highest_y = max(points, key=lambda point: point[1])
    if highest_y > axes.y[1]:
        note = f"▲ {shorten(highest_y)} at {say_place('step', highest_x)}"
        parts.append(Markup('<text class="end" x="{}" y="11">{}</text>').format(axes.width - axes.right, note))
    return draw_canvas(axes, title, parts)


def say_place(unit: str, x: float) -> str:
    """A place of an x axis in words: step 12, or 3.5 min."""
    return f"{unit} {shorten(x)}" if unit in COUNTED else f"{shorten(x)} {unit}"


def draw_probes(title: str, probes: Sequence[tuple[float, float, float]]) -> Markup:
    """(step, before, after): a ring for the value before an update and a dot for the value after it, joined."""
    axes = Axes.enclose([(x, y) for x, *ys in probes for y in ys])
    parts = [axes.draw_frame()]
    for x, before, after in probes:
        style = "better" if after < before else "worse"
        parts.append(
            Markup('<path class="join {}" d="{}"/>').format(style, axes.path([(x, before), (x, after)]))
            + _draw_dot(axes, x, before, "ring")
            + _draw_dot(axes, x, after, f"dot {style}")
        )
    return draw_canvas(axes, title, parts)


def draw_bar(title: str, shares: Sequence[tuple[int, float]]) -> Markup:
    """One bar of (colour number, share of the whole); as wide as its place, so it needs no scale."""
    parts, left = [], 0.0
    for colour, share in shares:
        parts.append(
            Markup('<rect class="c{}" x="{:.3f}%" width="{:.3f}%" height="100%"/>').format(
                colour, 100 * left, 100 * share
            )
        )
        left += share
    return Markup('<svg class="bar" role="img" aria-label="{}">{}</svg>').format(title, Markup("").join(parts))


def draw_timeline(spans: Sequence[Span], duration: float, style: str) -> Markup:
    """Spans on a strip as long as the video; what lies outside it is cut at its ends."""
    parts = []
    for span in spans:
        start, end = (100 * min(max(edge / duration, 0.0), 1.0) for edge in span)
        width = max(end - start, 0.5)  # an empty span is still an answer and must be seen
        parts.append(
            Markup('<rect class="{}" x="{:.2f}%" width="{:.2f}%" height="100%" rx="2"/>').format(style, start, width)
        )
    label = ", ".join(f"{span.start_s:g} to {span.end_s:g} s" for span in spans) or "no span"
    return Markup('<svg class="track" role="img" aria-label="{}">{}</svg>').format(label, Markup("").join(parts))


def choose_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers, 1, 2 or 5 times a power of ten apart, from `low` or below to `high` or above."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    gap = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / gap + 1e-9), math.ceil(high / gap - 1e-9)
    return [round(index * gap, 12 - math.floor(math.log10(gap))) for index in range(first, last + 1)]


def choose_unit(seconds: float) -> tuple[str, float]:
    """The unit to write times up to this one in, and how many seconds it has."""
    return next((name, size) for most, name, size in _UNITS if seconds <= most)


def shorten(value: float) -> str:
    """A number in few characters: 0.25, 40, 12k, 2e-6."""
    if abs(value) >= 10_000 and value == int(value):
        return f"{value / 1e6:g}M" if abs(value) >= 1e6 else f"{value / 1e3:g}k"
    return (
        f"{value:{'.4g' if abs(value) >= 1000 else '.3g'}}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    )


def label_ticks(ticks: Sequence[float]) -> list[str]:
    """The numbers of an axis in few characters, and in as many as tell them apart: 17.12 and 17.14, not 17.1 twice.

    Args:
        ticks: the numbers.
    """
    labels = [shorten(tick) for tick in ticks]
    digits = 4
    while len(set(labels)) < len(set(ticks)) and digits < 12:
        labels, digits = [f"{tick:.{digits}g}" for tick in ticks], digits + 1
    return labels


def smooth(points: Points) -> list[tuple[float, float]]:
    """A centred moving average over about a tenth of the points; unlike a running one it does not lag."""
    reach = min(max(1, len(points) // 20), 50)
    windows = (points[max(0, index - reach) : index + reach + 1] for index in range(len(points)))
    return [(x, sum(y for _, y in window) / len(window)) for (x, _), window in zip(points, windows, strict=True)]


def _thin_out(points: Points) -> Points:
    """At most about `_MAX_POINTS`: of every stretch the lowest and the highest, so that no spike is lost."""
    size = math.ceil(2 * len(points) / _MAX_POINTS)
    if size <= 2:
        return points
    thinned: list[tuple[float, float]] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        extremes = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        thinned += sorted(extremes)
    return thinned


def _find_top_without_outliers(values: Sequence[float]) -> float:
    """The largest value, unless a few dwarf all others; one exploding step should not flatten a thousand good ones."""
    ordinary = sorted(values)[int(0.97 * (len(values) - 1))]
    few = len(values) >= _MANY and max(values) > 6 * ordinary > 0
    return 1.5 * ordinary if few else max(values)


def draw_rule(axes: Axes, rule: ReferenceLine, *, left: bool, above: bool) -> Markup:
    """A rule with its label at one of its ends.

    Args:
        axes: where it is drawn.
        rule: its height and its words.
        left: the label stands at the left end, not at the right one.
        above: the label stands above the line, not below it.
    """
    _, y = axes.place(axes.x[0], rule.y)
    return Markup(
        '<line class="rule {}" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text class="{}" x="{}" y="{:.1f}">{}</text>'
    ).format(
        rule.style,
        _LEFT,
        axes.width - axes.right,
        y,
        y,
        "start" if left else "end",
        _LEFT + 4 if left else axes.width - axes.right - 4,
        y - 6 if above else y + 15,
        rule.label,
    )


def _draw_dot(axes: Axes, x: float, y: float, style: str) -> Markup:
    across, down = axes.place(x, y)
    value = Markup("<title>{}: {}</title>").format(say_place(axes.x_unit, x), f"{y:.4g}")
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.2">{}</circle>').format(style, across, down, value)


def draw_canvas(axes: Axes, title: str, parts: Sequence[Markup]) -> Markup:
    """The parts on their canvas; the title is read out in place of it."""
    return Markup('<svg class="chart" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">{}</svg>').format(
        axes.width, axes.height, title, Markup("").join(parts)
    )
