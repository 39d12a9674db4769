"""Draw a manifest: how long videos and spans are, and where in the video the spans lie.

One file of SVG for papers and READMEs, or the same figures on a page. The file brings its colours along, light and
dark, since nothing stands around it that could define them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from video_opd.data.manifest_statistics import Histogram, Statistics
from video_opd.report.figures import Axes, Figure, choose_ticks, draw_canvas
from video_opd.report.manifest.manifest_facts import write_sentences
from video_opd.report.manifest.manifest_panels import SHARE, Panel, list_panels
from video_opd.report.page import MARK

WIDTH, HEIGHT = 380.0, 220.0
"""Of a chart in user units, without what is written around it."""
_ABOVE, _BELOW, _RIGHT = 12.0, 20.0, 12.0
"""Room for the names of the axes, and beside them."""
_MOST_LABELS = 8
_GAP, _HEADING, _SIDE = 24.0, 26.0, 24.0
_COLUMNS = 3
_FEWEST_BINS = 5
"""A histogram of one value shows that it is one value only if there is room beside it."""
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A panel with its picture."""

    figure: Figure
    """With its picture by itself."""
    inside: Markup
    """The picture's parts, to be placed on another canvas."""


def draw_panels(statistics: Statistics) -> list[Drawn]:
    """The charts of a manifest that a page shows."""
    return [_draw(panel) for panel in list_panels(statistics) if panel.heading]


def draw_statistics(measured: Mapping[str, Statistics]) -> str:
    """All charts of every manifest as one SVG file that needs nothing else."""
    parts: list[Markup] = []
    top = _SIDE
    for name, statistics in measured.items():
        shown = _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", name)
        parts.append(Markup('<text class="title" x="{}" y="{}">{}</text>').format(_SIDE, top + 22, shown))
        for sentence in write_sentences(statistics):
            parts.append(Markup('<text x="{}" y="{}">{}</text>').format(_SIDE, top + 44, sentence))
            top += 19
        top += 62
        panels = draw_panels(statistics)
        for number, panel in enumerate(panels):
            row, column = divmod(number, _COLUMNS)
            across = _SIDE + column * (WIDTH + _GAP)
            down = top + row * (_HEADING + _ABOVE + HEIGHT + _BELOW + _GAP)
            parts.append(
                Markup('<g transform="translate({:g} {:g})"><text class="heading" x="0" y="14">{}</text>').format(
                    across, down, panel.figure.heading
                )
                + Markup('<g transform="translate(0 {:g})">{}</g></g>').format(_HEADING, panel.inside)
            )
        top += -(-len(panels) // _COLUMNS) * (_HEADING + _ABOVE + HEIGHT + _BELOW + _GAP) + _GAP
    width = 2 * _SIDE + _COLUMNS * WIDTH + (_COLUMNS - 1) * _GAP
    canvas = Axes(width=width, height=top, x=(0.0, 1.0), y=(0.0, 1.0))
    paper = Markup('<style>{}</style><rect class="paper" width="100%" height="100%"/>').format(Markup(_read_style()))
    image = draw_canvas(canvas, _NOT_IN_XML.sub(" ", "Statistics of " + ", ".join(measured)), [paper, *parts])
    size = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{top:g}" '
    return f"{image}\n<!-- {MARK} -->\n".replace("<svg ", size, 1)


def _make_axes(num_bins: int, y_ticks: list[float]) -> Axes:
    y = (y_ticks[0], y_ticks[-1])
    return Axes(
        width=WIDTH, height=HEIGHT, x=(0.0, float(num_bins)), y=y, y_ticks=y_ticks, x_unit="", right=_RIGHT
    )  # fmt: skip


def _draw(panel: Panel) -> Drawn:
    """The marks with their scales and the names of the axes."""
    if not isinstance(panel.counts, Histogram):
        names = f"start, {panel.unit}", f"end, {panel.unit}"
        axes, marks, labels = _draw_positions(panel.counts)
    else:
        names = panel.unit, f"% of {panel.what}"
        axes, marks, labels = _draw_histogram(panel.counts, panel.unit, panel.what)
    left, floor = axes.place(0.0, 0.0)
    right, _ = axes.place(axes.x[1], 0.0)
    numbers = Markup("").join(
        Markup('<text class="mid" x="{:.1f}" y="{:.1f}">{}</text>').format(axes.place(at, 0.0)[0], floor + 18, label)
        for at, label in labels.items()
    )
    inside = (
        Markup('<g transform="translate(0 {:g})">{}{}{}</g>').format(_ABOVE, axes.draw_frame(), marks, numbers)
        + Markup('<text class="mid" x="{:.1f}" y="{:.1f}">{}</text>').format(
            (left + right) / 2, _ABOVE + floor + 36, names[0]
        )
        + Markup('<text x="0" y="10">{}</text>').format(names[1])
    )
    canvas = Axes(width=WIDTH, height=_ABOVE + HEIGHT + _BELOW, x=axes.x, y=axes.y)
    image = draw_canvas(canvas, panel.heading, [inside])
    return Drawn(Figure(heading=panel.heading, image=image, reading=panel.reading, caption=panel.caption), inside)


def _draw_histogram(histogram: Histogram, unit: str, what: str) -> tuple[Axes, Markup, dict[float, str]]:
    """Axes, columns and labels. Bins are equally wide on paper, whatever they hold; of shares all are shown."""
    if unit == SHARE:
        shown = range(len(histogram.edges))
        return *_draw_columns(histogram, shown, what), _label_shares(len(histogram.edges))
    shown = histogram.occupied
    while len(shown) < _FEWEST_BINS:
        shown = range(max(shown.start - 1, 0), min(shown.stop + 1, len(histogram.edges)))
    edges = [*shown, *([shown.stop] if shown.stop < len(histogram.edges) else [])]
    every = -(-len(edges) // _MOST_LABELS)
    labels = {float(edge - shown.start): f"{histogram.edges[edge]:g}" for edge in edges[::every]}
    return *_draw_columns(histogram, shown, what), labels


def _draw_columns(histogram: Histogram, shown: range, what: str) -> tuple[Axes, Markup]:
    """A column for every bin that is shown, and the axes it stands on."""
    total = sum(histogram.counts)
    heights = [100 * histogram.counts[index] / total for index in shown]
    y_ticks = choose_ticks(0.0, max(heights), 4)
    axes = _make_axes(len(shown), y_ticks)
    marks = []
    for place, (index, height) in enumerate(zip(shown, heights, strict=True)):
        left, top = axes.place(place, height)
        right, floor = axes.place(place + 1, 0.0)
        marks.append(
            Markup('<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">').format(
                left + 0.75, top, right - left - 1.5, floor - top
            )
            + Markup("<title>from {:g}: {} {}</title></rect>").format(
                histogram.edges[index], histogram.counts[index], what
            )
        )
    return axes, Markup("").join(marks)


def _draw_positions(counts: Sequence[Sequence[int]]) -> tuple[Axes, Markup, dict[float, str]]:
    """Start against end: the stronger the colour, the more spans."""
    size, most = len(counts), max(map(max, counts))
    axes = _make_axes(size, [0.0, 25.0, 50.0, 75.0, 100.0])
    marks = []
    for start, row in enumerate(counts):
        for end, count in enumerate(row):
            if not count:
                continue
            left, top = axes.place(start, 100 * (end + 1) / size)
            right, bottom = axes.place(start + 1, 100 * end / size)
            # The square root, or a data set with one crowded corner would be that corner on white.
            marks.append(
                Markup(
                    '<rect class="column" fill-opacity="{:.3f}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                ).format((count / most) ** 0.5, left, top, right - left, bottom - top)
                + Markup("<title>{} spans</title></rect>").format(count)
            )
    return axes, Markup("").join(marks), _label_shares(size)


def _label_shares(num_bins: int) -> dict[float, str]:
    return {num_bins * share / 100: str(share) for share in (0, 25, 50, 75, 100)}


def _read_style() -> str:
    """The rules for charts of the report's style sheet, with the colours written out: outside a page no program but a
    browser knows what a variable is."""
    text = (Path(__file__).parents[1] / "style.css").read_text(encoding="utf-8")
    rules = "\n".join(line for line in text.splitlines() if line.startswith(".chart ") and "{" in line)
    rules += "\n" + (Path(__file__).parents[1] / "statistics.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", text, flags=re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for block in blocks)

    def write_out(values: Mapping[str, str]) -> str:
        return re.sub(r"var\(--([\w-]+)\)", lambda found: values[found[1]], rules)

    return f"\n{write_out(light)}\n@media (prefers-color-scheme: dark) {{\n{write_out(light | dark)}\n}}\n"
