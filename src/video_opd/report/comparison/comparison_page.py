"""From `comparison.json` to one page of methods side by side; `comparison.html.j2` says how it is laid out.

What is claimed on the page are the sentences of the file, which are computed. All else is numbers, and captions that
say how to read them and are the same for every comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from video_opd.files.comparison_records import Comparison, CurvePoint
from video_opd.report.comparison import comparison_tables as tables
from video_opd.report.comparison.comparison_contents import (
    CLOCKS,
    choose_clock,
    find_student_before,
    find_teacher,
    read_comparison,
    seconds_by_phase,
)
from video_opd.report.curves import Series, draw_curves, draw_key
from video_opd.report.figures import Figure, ReferenceLine, choose_unit, shorten
from video_opd.report.page import fill, write_page
from video_opd.report.phases import SELECT
from video_opd.report.run.verdict import format_convention

_HASH_LETTERS = 12


def write_comparison_report(folder: Path, page: Path | None = None) -> Path:
    """Write `report.html` beside a `comparison.json`, from nothing but that file.

    The page is one file without scripts and without anything to load; the same file always gives the same page.

    Args:
        folder: of the comparison.
        page: another place for the page.

    Returns:
        The page.

    Raises:
        ConfigurationError: there is no comparison.json, or it is broken.
        OSError: the page cannot be written.
    """
    return write_page(page or folder / "report.html", render(read_comparison(folder)))


def render(contents: Comparison, **more: Any) -> str:
    """The page as text.

    Args:
        contents: what is compared.
        more: parts of the template that are not as for a comparison; see `overlay_page`.
    """
    before, clock = find_student_before(contents), choose_clock(contents)
    parts = {
        "contents": contents,
        "kind": "Comparison",
        "before": before,
        "headline": write_headline(contents),
        "facts": list_facts(contents),
        "keys": [(draw_key(number), name) for number, name in enumerate(contents.methods)],
        "accuracy": tables.build_accuracy(contents),
        "is_small": before is not None and before.is_small,
        "figures": draw_figures(contents),
        "vital_signs": (),
        "runs": None,
        "differences": tables.build_differences(contents),
        "to_target": tables.build_targets(contents),
        "work": tables.build_work(contents),
        "time": tables.build_time(contents),
        "phases": tables.list_phases(contents),
        "selects": any(SELECT in seconds_by_phase(method, clock) for method in contents.methods.values()),
        "clock": CLOCKS[clock],
        "sweep": tables.build_sweep(contents),
        "convention": describe_convention(contents),
        "source": "comparison.json",
    }
    return fill("comparison.html.j2", **(parts | more))


def write_headline(contents: Comparison) -> str:
    """What is compared. The sentences below it say how it went."""
    sentence = f"{_format_count(len(contents.methods), 'method')} side by side"
    lengths = sorted({method.curve[-1].step for method in contents.methods.values() if method.curve})
    if lengths:
        first = "" if len(lengths) == 1 else f"{lengths[0]:,.0f} to "
        sentence += f", {first}{_format_count(round(lengths[-1]), 'step')} each"
    if contents.seeds:
        sentence += f", {_format_count(len(contents.seeds), 'seed')}"
    return sentence + "."


def _format_count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def list_facts(contents: Comparison) -> list[tuple[str, str]]:
    """(what, how much) for the strip under the sentences."""
    found: list[tuple[str, str]] = []
    before = find_student_before(contents)
    side_questions = contents.student_before.side_questions if contents.student_before else None
    if before is not None and before.num_queries is not None:
        found.append(("test queries", f"{before.num_queries:,}"))
    if side_questions is not None and side_questions.num_questions is not None:
        found.append(("side questions", f"{side_questions.num_questions:,}"))
    if contents.target_miou is not None:
        found.append(("target, validation mIoU", shorten(contents.target_miou)))
    return found


def draw_figures(contents: Comparison) -> list[Figure]:
    """Validation mIoU against steps and against time; none unless a method was evaluated twice."""
    if not any(len(method.curve) > 1 for method in contents.methods.values()):
        return []
    rules, clock = _make_rules(contents), choose_clock(contents)
    drawn = [(number, name, method.curve) for number, (name, method) in enumerate(contents.methods.items())
             if method.curve]  # fmt: skip
    series = [_make_series(number, name, curve, [point.step for point in curve]) for number, name, curve in drawn]
    found = [
        Figure(
            heading="Validation mIoU against steps",
            image=draw_curves("Validation mIoU against steps", series, rules=rules, labelled=True),
            reading=_describe_hardness(contents),
            caption="Lines: means over seeds. Bands: from the lowest to the highest seed. Higher is better. Where "
            "bands overlap, the lines differ no more than seeds do.",
        )
    ]
    clocked = []
    for number, name, curve in drawn:
        taken = [point.cpu_seconds if clock == "cpu_seconds" else point.seconds for point in curve]
        seconds = [estimate.mean for estimate in taken if estimate is not None]
        if len(seconds) == len(taken):
            clocked.append((number, name, curve, seconds))
    longest = max((seconds[-1] for *_, seconds in clocked), default=0.0)
    if longest > 0:
        unit, size = choose_unit(longest)
        series = [
            _make_series(number, name, curve, [s / size for s in seconds]) for number, name, curve, seconds in clocked
        ]
        heading = f"Validation mIoU against {CLOCKS[clock]}"
        found.append(
            Figure(
                heading=heading,
                image=draw_curves(heading, series, rules=rules, x_unit=unit),
                reading="",
                caption="The same lines against their cost; evaluations are not counted. A line that ends early "
                "belongs to a method with cheap steps. Read vertically, it shows how far a method gets in a given "
                "time. Read horizontally, it shows how long a method needs to get that far.",
            )
        )
    return found


def _make_series(number: int, name: str, curve: Sequence[CurvePoint], xs: Sequence[float]) -> Series:
    placed = [(x, point.miou) for x, point in zip(xs, curve, strict=True)]
    return Series(
        name=name,
        number=number,
        points=[(x, miou.mean) for x, miou in placed],
        band=[(x, _replace_none(miou.lowest, miou.mean), _replace_none(miou.highest, miou.mean)) for x, miou in placed],
    )


def _replace_none(value: float | None, other: float) -> float:
    return other if value is None else value


def _make_rules(contents: Comparison) -> list[ReferenceLine]:
    before, teacher = find_student_before(contents), find_teacher(contents)
    rules = []
    # A teacher that was asked other queries than the students cannot stand beside them.
    if (
        before is not None
        and teacher is not None
        and (before.split, before.num_queries) == (teacher.split, teacher.num_queries)
    ):
        rules.append(ReferenceLine(teacher.miou, f"teacher {teacher.miou:.2f}, on the test queries", "teacher"))
    if contents.target_miou is not None:
        rules.append(ReferenceLine(contents.target_miou, f"target {shorten(contents.target_miou)}", "target"))
    return rules


def _describe_hardness(contents: Comparison) -> str:
    """The student before on validation and on test queries: how far scores on both can be held against each other."""
    firsts = [method.curve[0] for method in contents.methods.values() if method.curve]
    starts, before = [first.miou.mean for first in firsts if first.step == 0], find_student_before(contents)
    if before is None or not starts:
        return ""
    return f"Before training: {starts[0]:.3f} on these queries, {before.miou:.3f} on the test queries."


def describe_convention(contents: Comparison) -> dict[str, str]:
    """How it was made and how the scores were computed."""
    made = {
        "seeds": ", ".join(map(str, contents.seeds)),
        "device": contents.device,
        "data, SHA-256": contents.data_sha256[:_HASH_LETTERS],
    }
    evaluated = find_student_before(contents) or find_teacher(contents)
    return {name: text for name, text in made.items() if text} | format_convention(
        evaluated.convention if evaluated else {}
    )
