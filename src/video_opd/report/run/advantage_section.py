"""The section "Where the advantage goes": by what a token is for, by its position, and by whether the video decides."""

from __future__ import annotations

from dataclasses import dataclass

from video_opd.report.curves import Series, draw_curves, draw_key
from video_opd.report.figures import Figure, draw_bar
from video_opd.report.html_tables import Cell, Row, Table
from video_opd.report.run.advantage_contents import AdvantageStretch
from video_opd.report.run.run_contents import RunContents
from video_opd.report.run.teacher_sight import Sight, measure_sight
from video_opd.report.run.token_chips import REGION_NAMES
from video_opd.report.run.vital_signs import draw_regions
from video_opd.sample_size import count_of

_COLOURS = {"thinking": 4, "digits": 1, "format": 0, "end": 7}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvantageSection:
    """Everything that it shows; what is empty or None is left out."""

    shares: Table | None
    legend: list[tuple[str, int]]
    """Name and colour of each region."""
    position: Figure | None
    regions: list[Figure]
    sight: Table | None
    num_queries: int


def build_advantages(contents: RunContents) -> AdvantageSection | None:
    """None where no advantage was recorded."""
    stretches = [each for each in (contents.early, contents.late) if each.num_answers]
    sight = measure_sight(contents.timelines.timelines)
    regions = draw_regions(contents)
    if not (stretches or sight or regions):
        return None
    known = [region for region in REGION_NAMES if any(region in stretch.regions for stretch in stretches)]
    return AdvantageSection(
        shares=_build_shares(stretches, known) if stretches else None,
        legend=[(REGION_NAMES[region].capitalize(), _COLOURS[region]) for region in known],
        position=_draw_positions(stretches),
        regions=regions,
        sight=_build_sight(sight) if sight else None,
        num_queries=sight.num_queries if sight else 0,
    )


def _name(stretch: AdvantageStretch) -> str:
    if stretch.first_step == stretch.last_step:
        return f"Step {stretch.first_step:,}"
    return f"Steps {stretch.first_step:,} to {stretch.last_step:,}"


def _build_shares(stretches: list[AdvantageStretch], known: list[str]) -> Table:
    """One row for each stretch of steps: shares of the sum of all sizes, as a bar and as numbers."""
    rows = []
    for stretch in stretches:
        sums = [stretch.regions.get(region) for region in known]
        whole = sum(each.total for each in sums if each) or 1.0
        shares = [each.total / whole if each else 0.0 for each in sums]
        bar = draw_bar(
            f"{_name(stretch)}: shares of the advantage",
            [(_COLOURS[region], share) for region, share in zip(known, shares, strict=True)],
        )
        cells = [Cell("", image=bar, style="picture")]
        for each, share in zip(sums, shares, strict=True):
            note = f"{each.mean:.3f} nats per token" if each else ""
            cells.append(Cell(f"{100 * share:.0f} %" if each else "", (note,) if note else ()))
        rows.append(Row(_name(stretch), cells, note=count_of(stretch.num_answers, "answer", "answers")))
    return Table(["", *(REGION_NAMES[region].capitalize() for region in known)], rows)


def _draw_positions(stretches: list[AdvantageStretch]) -> Figure | None:
    series = [
        Series(
            name=_name(stretch),
            number=number,
            points=[(float(place), each.mean) for place, each in enumerate(stretch.positions, start=1) if each.count],
            band=[],
        )
        for number, stretch in enumerate(stretches)
    ]
    if not series:
        return None
    highest = max(y for each in series for _, y in each.points)
    heading = "Size of the advantage by position in the answer"
    said = "; ".join(
        f"{each.name}: largest at token {max(each.points, key=lambda point: point[1])[0]:.0f}" for each in series
    )
    return Figure(
        heading=heading,
        image=draw_curves(heading, series, x_unit="token", y_range=(0.0, highest or 1.0)),
        reading=f"{said}.",
        caption="Nats, mean over recorded training answers, without the sign. Good: peaks where the times stand, and "
        "the later line below the earlier one. A line that is high at the end of long answers shows that the teacher "
        "finds the student's earlier text improbable.",
    )


def list_keys(section: AdvantageSection) -> list[tuple[object, str]]:
    """What the lines of the figure by position are known by."""
    names = [row.who for row in section.shares.rows] if section.shares else []
    return [(draw_key(number), name) for number, name in enumerate(names)]


def _build_sight(sight: Sight) -> Table:
    """One row for each region: the teacher's log-probs with and without the video."""
    rows = [
        Row(
            REGION_NAMES[each.region].capitalize(),
            [
                Cell(f"{each.num_tokens:,}"),
                Cell(f"{each.advantage:.3f}"),
                Cell(_format_logprob(each.with_video)),
                Cell(_format_logprob(each.without_video)),
                Cell(f"{each.change:.3f}", style="apart" if each.change > each.advantage else ""),
                Cell(f"{100 * each.num_turned / each.num_tokens:.0f} %"),
            ],
        )
        for each in sight.regions
    ]
    columns = ["tokens", "size of the advantage", "log-prob with the video", "with grey frames", "change", "sign turns"]
    return Table(columns, rows)


def _format_logprob(value: float) -> str:
    text = f"{value:.3f}"
    return "0.000" if float(text) == 0 else text.replace("-", "−")
