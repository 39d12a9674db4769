"""Pictures of a curriculum: where examples lie by a model's IoU, and how many are trained on at each step."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from video_opd.report.figures import Axes, draw_canvas
from video_opd.report.run.curriculum_contents import BINS

_MAX_COLUMNS = 60
"""As many as can be told apart."""


@dataclass(frozen=True, slots=True)
class Column:
    """What stands at a place of the x axis, from the bottom up: (CSS class, height)."""

    x: float
    parts: Sequence[tuple[str, float]]


def draw_histogram(title: str, pool: Counter[int], kept: Counter[int], *, most: float) -> Markup:
    """Examples by the IoU of one model, the kept part of each column at its foot.

    Args:
        title: read out in place of the picture.
        pool: examples by bin.
        kept: the same of the kept ones.
        most: the height of the y axis, so that several have one scale.
    """
    columns = [
        Column((index + 0.5) / BINS, (("kept", kept[index]), ("pool", max(pool[index] - kept[index], 0))))
        for index in range(BINS)
    ]
    return draw_columns(title, columns, x_unit="IoU", x_range=(0.0, 1.0), most=most)


def draw_columns(
    title: str,
    columns: Sequence[Column],
    *,
    x_unit: str = "step",
    x_range: tuple[float, float] | None = None,
    most: float = 0.0,
) -> Markup:
    """Parts of a whole, side by side.

    Args:
        title: read out in place of the picture.
        columns: at least one, evenly spaced, all with the same parts in the same order.
        x_unit: of the x axis.
        x_range: its ends; None: those of the columns, neighbours of which are then merged where there are many.
        most: the y axis reaches at least to here.
    """
    drawn = _merge_neighbours(columns) if x_range is None else columns
    gap = min((after.x - before.x for before, after in itertools.pairwise(drawn)), default=1.0)
    first, last = x_range or (drawn[0].x - gap / 2, drawn[-1].x + gap / 2)
    top = max(most, *(sum(height for _, height in column.parts) for column in drawn)) or 1.0
    axes = Axes.enclose([(first, 0.0), (last, top)], small=True, y_range=(0.0, top), x_unit=x_unit)
    parts = [axes.draw_frame()]
    for place, (style, _) in enumerate(drawn[0].parts):
        parts.append(Markup('<path class="fill {}" d="{}"/>').format(style, _draw_bars(axes, drawn, place, gap)))
    return draw_canvas(axes, title, parts)


def _draw_bars(axes: Axes, columns: Sequence[Column], place: int, gap: float) -> str:
    """One part of every column."""
    found = ""
    for column in columns:
        foot = sum(height for _, height in column.parts[:place])
        left, bottom = axes.place(column.x - 0.42 * gap, foot)
        right, top = axes.place(column.x + 0.42 * gap, foot + column.parts[place][1])
        if bottom - top > 0.05:
            found += f"M{left:.1f} {bottom:.1f}V{top:.1f}H{right:.1f}V{bottom:.1f}z"
    return found


def _merge_neighbours(columns: Sequence[Column]) -> list[Column]:
    """Means of neighbours, so that no more are left than can be told apart."""
    count = min(len(columns), _MAX_COLUMNS)
    bounds = [len(columns) * index // count for index in range(count + 1)]
    stretches = [columns[start:end] for start, end in itertools.pairwise(bounds)]
    return [
        replace(
            stretch[0],
            x=sum(column.x for column in stretch) / len(stretch),
            parts=[
                (style, sum(column.parts[place][1] for column in stretch) / len(stretch))
                for place, (style, _) in enumerate(stretch[0].parts)
            ],
        )
        for stretch in stretches
    ]
