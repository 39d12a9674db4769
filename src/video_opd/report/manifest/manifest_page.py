"""The picture of `data stats`: one SVG file, or a page with the numbers beside the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from video_opd.data.manifest_statistics import Statistics
from video_opd.errors import ConfigurationError
from video_opd.report.figures import Figure
from video_opd.report.html_tables import Cell, Row, Table
from video_opd.report.manifest.manifest_facts import (
    OVERVIEW,
    OVERVIEW_NOTE,
    QUANTILES,
    describe_quantities,
    list_facts,
    write_overview,
    write_sentences,
)
from video_opd.report.manifest.manifest_figures import draw_panels, draw_statistics
from video_opd.report.page import fill, write_page

ENDINGS = (".svg", ".html")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One manifest on the page."""

    name: str
    sentences: list[str]
    figures: list[Figure]
    quantities: Table
    facts: dict[str, str]
    sources: Table | None


def require_picture(path: Path) -> None:
    """Refuse, before anything is measured, a file name that no picture can have.

    Raises:
        ConfigurationError: a file name of another kind.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ConfigurationError(
            f"--picture {path}",
            reason=f"pictures are drawn as {' or '.join(ENDINGS)} files",
            remedy="use one of these endings; a browser can print an SVG as PNG or PDF",
        )


def write_statistics(path: Path, measured: Mapping[str, Statistics]) -> Path:
    """Draw manifests: as one SVG, or as a page where the file is named `.html`.

    Args:
        path: the file.
        measured: name of a manifest -> its statistics; at least one.

    Raises:
        ConfigurationError: a file name of another kind.
        OSError: it cannot be written.
    """
    require_picture(path)
    return write_page(path, draw_statistics(measured) if path.suffix.lower() == ".svg" else _render_page(measured))


def _render_page(measured: Mapping[str, Statistics]) -> str:
    return fill(
        "statistics.html.j2",
        title=", ".join(measured),
        overview=_build_overview(measured) if len(measured) > 1 else None,
        overview_note=OVERVIEW_NOTE,
        parts=[_build_part(name, statistics) for name, statistics in measured.items()],
    )


def _build_part(name: str, statistics: Statistics) -> Part:
    quantities = [
        Row(what, [Cell(value) for value in values]) for what, values in describe_quantities(statistics).items()
    ]
    return Part(
        name=name,
        sentences=write_sentences(statistics),
        figures=[panel.figure for panel in draw_panels(statistics)],
        quantities=Table(list(QUANTILES), quantities),
        facts=list_facts(statistics),
        sources=_build_overview(statistics.by_source) if statistics.by_source else None,
    )


def _build_overview(measured: Mapping[str, Statistics]) -> Table:
    rows = [Row(name or "(no source)", [Cell(value) for value in write_overview(of)]) for name, of in measured.items()]
    return Table(list(OVERVIEW), rows)
