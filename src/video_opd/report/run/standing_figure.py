"""The run in one picture: the student before and after, the teacher and the best constant answer on one axis."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from video_opd.files.run_records import EvaluationReport
from video_opd.report.run.verdict import Standing, format_interval

_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_MARGIN = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingRow:
    """One model on the axis."""

    who: str
    image: Markup
    value: str
    interval: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingFigure:
    """All rows, and the axis under them."""

    rows: list[StandingRow]
    axis: Markup


def draw_standing(standing: Standing) -> StandingFigure | None:
    """Draw the scores of all models that were asked the same queries; None where there is none."""
    if not standing.known:
        return None
    models = [("Student before", standing.before, "before"), ("Student after", standing.after, "after")]
    models += [(each.name.capitalize().replace("-", " "), each, "teacher") for each in standing.teachers]
    rows = [_draw_model(who, found, style) for who, found, style in models if found is not None]
    if standing.floor is not None:
        rows.append(_draw_row("Best constant answer", standing.floor, None, "floor"))
    return StandingFigure(rows=rows, axis=_draw_axis())


def _draw_model(who: str, found: EvaluationReport, style: str) -> StandingRow:
    return _draw_row(who, found.miou, found.interval("miou"), style)


def _draw_row(who: str, value: float, interval: tuple[float, float] | None, style: str) -> StandingRow:
    told = "" if interval is None else format_interval(interval)
    grid = Markup("").join(
        Markup('<line class="grid" x1="{0}" x2="{0}" y1="0" y2="100%"/>').format(_place(tick)) for tick in _TICKS
    )
    whisker = Markup("") if interval is None else Markup(
        '<line class="whisker" x1="{}" x2="{}" y1="50%" y2="50%"/>'
    ).format(*map(_place, interval))  # fmt: skip
    label = f"{who}: {value:.3f} mIoU" + (f", 95 % interval {told}" if told else "")
    image = Markup(
        '<svg class="standing {}" role="img" aria-label="{}">{}{}<circle cx="{}" cy="50%" r="5.5"/></svg>'
    ).format(style, label, grid, whisker, _place(value))
    return StandingRow(who=who, image=image, value=f"{value:.3f}", interval=told)


def _draw_axis() -> Markup:
    texts = Markup("").join(Markup('<text x="{}" y="13">{:g}</text>').format(_place(tick), tick) for tick in _TICKS)
    return Markup('<svg class="standing scale" aria-hidden="true">{}</svg>').format(texts)


def _place(value: float) -> str:
    return f"{100 * (min(max(value, 0.0), 1.0) + _MARGIN) / (1 + 2 * _MARGIN):.2f}%"
