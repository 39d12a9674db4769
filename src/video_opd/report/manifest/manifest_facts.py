"""A manifest's numbers in words, the same in the terminal and on the page."""

from __future__ import annotations

from dataclasses import astuple

from video_opd.data.manifest_statistics import NEAR_WHOLE, Constant, Histogram, Statistics
from video_opd.sample_size import MIN_QUERIES

_TOO_FEW = f"shares and quantiles are reliable only from {MIN_QUERIES} rows on"


def list_facts(statistics: Statistics) -> dict[str, str]:
    """What can be said in a few words, by name."""
    spans = sum(rows * spans for spans, rows in statistics.spans_per_row.items())
    most = max(statistics.spans_per_row)
    facts = {
        "rows": f"{statistics.rows:,}",
        "videos": f"{statistics.videos:,}, {_format_hours(statistics.hours)}",
        "rows with several spans": percent(statistics.multi_span) + (f", up to {most}" if most > 1 else ""),
        f"rows that ask for {100 * NEAR_WHOLE:g} % of the video or more": percent(statistics.near_whole),
        "boundaries on a whole second": percent(statistics.whole_seconds),
        "spans that end after the video": f"{statistics.past_end:,} of {spans:,}, "
        f"{statistics.past_end_by_a_second:,} by more than 1 s",
        "spans without length": f"{statistics.points:,}",
        "rows that repeat a question about a video": f"{statistics.repeated:,}",
        "videos with two durations": f"{statistics.two_durations:,}",
    }
    if statistics.rows < MIN_QUERIES:
        facts["what a data set is like"] = f"unknown: {_TOO_FEW}"
    if (best := statistics.best_constant) is not None:
        facts["best constant answer"] = _say_worth(best, "s", 1)
    if (best := statistics.best_share) is not None:
        facts["best constant share of the video"] = _say_worth(best, "%", 100)
    return facts


def write_sentences(statistics: Statistics) -> list[str]:
    """The most important of them, to stand above the pictures."""
    most = max(statistics.spans_per_row)
    several = (
        f"up to {most} spans, several in {percent(statistics.multi_span)} of the rows" if most > 1 else "one span each"
    )
    sentences = [
        f"{statistics.rows:,} rows about {statistics.videos:,} videos ({_format_hours(statistics.hours)}), {several}",
    ]
    if statistics.rows < MIN_QUERIES:
        sentences.append(f"too few rows to describe a data set: {_TOO_FEW}")
    if statistics.best_constant and statistics.best_share:
        sentences.append(
            f"best answer without looking: {_say_worth(statistics.best_constant, 's', 1)}, or as a share of the video: "
            f"{_say_worth(statistics.best_share, '%', 100)}"
        )
    return sentences


QUANTILES = "min", "5 %", "median", "mean", "95 %", "max"
"""Headings of `describe_quantities`."""


def describe_quantities(statistics: Statistics) -> dict[str, list[str]]:
    """How each quantity is distributed, by its name with the unit."""
    quantities = {
        "duration, s": (statistics.duration_s, 1),
        "span, s": (statistics.span_s, 1),
        "span / duration, %": (statistics.span_share, 100),
        "words per query": (statistics.words, 1),
        "queries per video": (statistics.queries_per_video, 1),
    }
    return {name: [f"{scale * value:,.1f}" for value in astuple(of)] for name, (of, scale) in quantities.items()}


OVERVIEW = "rows", "videos", "video, s", "span, s", "several", "best, s", "best, %"
"""Headings of `write_overview`."""
OVERVIEW_NOTE = (
    "video, span: median seconds; several: rows with several spans; "
    "best: mIoU of the best constant answer, in seconds and in shares of the video"
)


def write_overview(statistics: Statistics) -> list[str]:
    """What differs most between data sets."""
    return [
        f"{statistics.rows:,}",
        f"{statistics.videos:,}",
        f"{statistics.duration_s.median:,.1f}",
        f"{statistics.span_s.median:,.1f}",
        percent(statistics.multi_span),
        *(f"{best.miou:.3f}" if best else "-" for best in (statistics.best_constant, statistics.best_share)),
    ]


def percent(share: float) -> str:
    """A share as text; a little is not shown as nothing."""
    return f"{100 * share:.1f} %" if share == 0 or share >= 0.0005 else "< 0.1 %"


def label_bin(histogram: Histogram, index: int) -> str:
    """What a bin holds, in its unit: `10 - 15`, or `7200 -` for the last."""
    edges = histogram.edges
    return f"{edges[index]:g} - {edges[index + 1]:g}" if index + 1 < len(edges) else f"{edges[index]:g} -"


def _say_worth(best: Constant, unit: str, scale: int) -> str:
    start, end = (scale * edge for edge in best.span)
    return f"mIoU {best.miou:.3f} ({start:g} - {end:g} {unit}, step {scale * best.step:.3g} {unit})"


def _format_hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
