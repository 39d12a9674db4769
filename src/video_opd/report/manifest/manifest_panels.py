"""The charts of a manifest, described once: the terminal draws them with characters, a page with SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from video_opd.data.manifest_statistics import Histogram, Statistics, Summary
from video_opd.report.manifest.manifest_facts import percent

SECONDS, SHARE = "seconds", "% of the video"
"""What the x axis of a histogram shows; bins of `SECONDS` are not equally wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One chart. It has a title for the terminal, a heading for the page, or both: it is shown where it has a name."""

    counts: Histogram | Sequence[Sequence[int]]
    """A histogram; or counts by start (rows) and end (columns)."""
    unit: str = SHARE
    what: str = "spans"
    """What is counted."""
    title: str = ""
    heading: str = ""
    reading: str = ""
    """What the numbers say."""
    caption: str = ""
    """What good looks like."""


def list_panels(statistics: Statistics) -> list[Panel]:
    """All charts of a manifest, in order."""
    first, last, whole = (
        percent(histogram.counts[index] / sum(histogram.counts))
        for histogram, index in ((statistics.starts, 0), (statistics.ends, -1), (statistics.span_shares, -1))
    )
    return [
        Panel(
            counts=statistics.durations,
            unit=SECONDS,
            what="videos",
            title="duration of videos, s",
            heading="How long the videos are",
            reading=_describe_range(statistics.duration_s),
            caption="Each video or clip counts once.",
        ),
        Panel(
            counts=statistics.span_lengths,
            unit=SECONDS,
            title="length of spans, s",
            heading="How long the spans are",
            reading=_describe_range(statistics.span_s),
            caption="A model cannot see a span that is shorter than the time between two frames.",
        ),
        Panel(
            counts=statistics.span_shares,
            heading="How much of the video a span is",
            reading=f"{whole} are 95 % of the video or more.",
            caption="For such a question the whole video is a right answer, and no model has to look at it.",
        ),
        Panel(
            counts=statistics.starts,
            title="start / duration, %",
            heading="Where spans start",
            reading=f"{first} start in the first twentieth of the video.",
            caption="Good: flat, except at the right end, where little room for a span is left. A model soon learns "
            "a high first column.",
        ),
        Panel(counts=statistics.centres, title="centre / duration, %"),
        Panel(
            counts=statistics.ends,
            title="end / duration, %",
            heading="Where spans end",
            reading=f"{last} end in the last twentieth of the video, or after it.",
            caption="Good: flat, except at the left end.",
        ),
        Panel(
            counts=statistics.positions,
            heading="Where spans start and end together",
            reading="The stronger the colour, the more spans (by the square root).",
            caption="Spans at the left edge touch the start of the video, and spans at the top edge touch its end; a "
            "span in their corner is the whole video.",
        ),
    ]


def list_terminal_panels(statistics: Statistics, unit: str) -> list[tuple[str, Histogram]]:
    """Title and histogram of the charts with this x axis that a terminal shows."""
    return [(panel.title, panel.counts) for panel in list_panels(statistics)
            if panel.title and panel.unit == unit and isinstance(panel.counts, Histogram)]  # fmt: skip


def _describe_range(summary: Summary) -> str:
    return f"Median {summary.median:,.1f} s; nine in ten from {summary.low:,.1f} to {summary.high:,.1f} s."
