"""Draws the picture of docs/SCALING.md: small charts, seconds on a logarithmic axis, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 260, 190
LEFT, RIGHT, TOP, BOTTOM = 40, 24, 26, 34

COLOURS = {"memory": "#0b5d8f", "split in a node": "#56b4e9", "in all": "#222222", "student": "#0072b2",
           "answers": "#d55e00", "teacher": "#009e73", "communication": "#aa4499"}  # fmt: skip
"""Told apart by readers who do not see all colours."""
DASHES = {"split in a node": "6 3", "answers": "7 3", "teacher": "2 3", "communication": "8 3 2 3"}
SECONDS = ("in all", "student", "answers", "teacher", "communication")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A column of two charts."""

    title: str
    names: Sequence[str]
    """Of the points, from left to right."""
    lines: dict[str, list[float]]


def draw(panels: Sequence[Panel], *, room_gib: float) -> str:
    """Draw memory above and seconds below, one column a panel.

    Args:
        panels: the columns.
        room_gib: of a card.
    """
    width, height = WIDTH * len(panels), 2 * HEIGHT + 46
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="11" fill="#222">',
        "<title>Memory of a card in GiB, and seconds of a card for one prompt</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for column, panel in enumerate(panels):
        memory = {name: panel.lines[name] for name in ("memory", "split in a node") if name in panel.lines}
        seconds = {name: panel.lines[name] for name in SECONDS}
        heading = f"GiB of a card: {panel.title}"
        parts += _draw_chart(column * WIDTH, 0, heading, panel.names, memory, (0, 250), limit=room_gib)
        heading = f"seconds a prompt: {panel.title}"
        parts += _draw_chart(column * WIDTH, HEIGHT, heading, panel.names, seconds, (0.1, 1000))
    parts += _draw_legend(2 * HEIGHT + 18)
    return "\n".join([*parts, "</svg>", ""])


def _draw_chart(
    x: float, y: float, heading: str, names: Sequence[str], lines: dict[str, list[float]], ends: tuple[float, float],
    limit: float | None = None,
) -> list[str]:  # fmt: skip
    right, bottom = x + WIDTH - RIGHT, y + HEIGHT - BOTTOM

    def place(number: int) -> float:
        return x + LEFT + (right - x - LEFT) * number / (len(names) - 1)

    def level(value: float) -> float:
        if limit is None:
            share = math.log(max(value, ends[0]) / ends[0]) / math.log(ends[1] / ends[0])
        else:
            share = value / ends[1]
        return bottom - min(1.0, share) * (bottom - y - TOP)

    parts = [f'<text x="{x + 8:.1f}" y="{y + 15:.1f}" font-weight="600">{heading}</text>']
    for tick in (0.1, 1, 10, 100, 1000) if limit is None else (0, 50, 100, 150, 200, 250):
        height = level(tick)
        parts.append(f'<line x1="{x + LEFT}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x + LEFT - 5}" y="{height + 4:.1f}" text-anchor="end">{tick:g}</text>')
    shown = [number for number in range(len(names)) if len(names) <= 8 or number % 3 == 0]
    for number in shown:
        anchor = "end" if number == len(names) - 1 and len(names[number]) > 4 else "middle"
        text = f'<text x="{place(number):.1f}" y="{bottom + 15:.1f}" text-anchor="{anchor}">{names[number]}</text>'
        parts.append(text)
    if limit is not None:
        parts.append(
            f'<line x1="{x + LEFT}" x2="{right}" y1="{level(limit):.1f}" y2="{level(limit):.1f}" stroke="#c00"/>'
            f'<text x="{right}" y="{level(12):.1f}" text-anchor="end" fill="#c00">the card has {limit:g}</text>'
        )
    for name, values in lines.items():
        points = [(place(number), level(value)) for number, value in enumerate(values) if value >= ends[0]]
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up in points)
        dash = f' stroke-dasharray="{DASHES[name]}"' if name in DASHES else ""
        stroke = f'stroke="{COLOURS[name]}" stroke-width="2"{dash}'
        parts.append(f'<polyline points="{path}" fill="none" {stroke}/>')
    return parts


def _draw_legend(y: float) -> list[str]:
    names = {"memory": "memory, weights split over all cards", "split in a node": "memory, weights split in a node",
             "in all": "seconds in all", "student": "student: read, score, backward, step", "answers": "answer",
             "teacher": "teacher", "communication": "communication"}  # fmt: skip
    parts, x = [], 10.0
    for name, text in names.items():
        if name == "in all":  # the next row
            x, y = 10.0, y + 18
        dash = f' stroke-dasharray="{DASHES[name]}"' if name in DASHES else ""
        stroke = f'stroke="{COLOURS[name]}" stroke-width="2"{dash}'
        parts.append(f'<line x1="{x:.1f}" x2="{x + 24:.1f}" y1="{y - 4}" y2="{y - 4}" {stroke}/>')
        parts.append(f'<text x="{x + 29:.1f}" y="{y}">{text}</text>')
        x += 29 + 6.2 * len(text) + 18
    return parts
