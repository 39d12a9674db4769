"""From `comparison.json` to one page of methods side by side; `comparison.html.j2` says how it is laid out.

What is claimed on the page are the sentences of the file, which are computed. All else is numbers, and captions that
say how to read them and are the same for every comparison.
"""

from __future__ import annotations

from pathlib import Path

from video_opd.report.comparison import comparison_tables as tables
from video_opd.report.comparison.comparison_contents import CLOCKS, ComparisonContents, Method, read_comparison
from video_opd.report.comparison.comparison_figures import Series, curves, key, unit_of
from video_opd.report.figures import Figure, Rule, short
from video_opd.report.page import fill, write_page
from video_opd.report.phases import SELECT

_HASH_LETTERS = 12


def write_comparison_report(folder: Path) -> Path:
    """Write `report.html` beside a `comparison.json`, from nothing but that file.

    The page is one file without scripts and without anything to load; the same file always gives the same page.

    Returns:
        The page.

    Raises:
        ConfigurationError: there is no comparison.json, or it is broken.
        OSError: the page cannot be written.
    """
    return write_page(folder / "report.html", render(read_comparison(folder)))


def render(contents: ComparisonContents) -> str:
    """The page as text."""
    return fill(
        "comparison.html.j2",
        contents=contents,
        headline=headline(contents),
        facts=facts(contents),
        keys=[(key(number), method.name) for number, method in enumerate(contents.methods)],
        accuracy=tables.accuracy(contents),
        is_small=contents.before is not None and contents.before.is_small,
        figures=figures(contents),
        differences=tables.differences(contents),
        to_target=tables.to_target(contents),
        work=tables.work(contents),
        time=tables.time(contents),
        phases=tables.phases(contents),
        selects=any(SELECT in method.ledger.seconds for method in contents.methods),
        clock=CLOCKS[contents.clock],
        sweep=tables.sweep(contents),
        convention=convention(contents),
    )


def headline(contents: ComparisonContents) -> str:
    """What is compared; how it went is for the sentences to say."""
    sentence = f"{_count(len(contents.methods), 'method')} side by side"
    lengths = sorted({method.curve[-1].step for method in contents.methods if method.curve})
    if lengths:
        first = "" if len(lengths) == 1 else f"{lengths[0]:,.0f} to "
        sentence += f", {first}{_count(round(lengths[-1]), 'step')} each"
    if contents.seeds:
        sentence += f", {_count(len(contents.seeds), 'seed')}"
    return sentence + "."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def facts(contents: ComparisonContents) -> list[tuple[str, str]]:
    """(what, how much) for the strip under the sentences."""
    found: list[tuple[str, str]] = []
    if contents.before is not None and contents.before.num_queries is not None:
        found.append(("test queries", f"{contents.before.num_queries:,}"))
    if contents.num_side_questions is not None:
        found.append(("side questions", f"{contents.num_side_questions:,}"))
    if contents.target_miou is not None:
        found.append(("target, validation mIoU", short(contents.target_miou)))
    return found


def figures(contents: ComparisonContents) -> list[Figure]:
    """Validation mIoU against steps and against time; none if nobody was evaluated twice."""
    if not any(len(method.curve) > 1 for method in contents.methods):
        return []
    rules = _rules(contents)
    numbered = [(number, method) for number, method in enumerate(contents.methods) if method.curve]
    series = [_series(number, method, [point.step for point in method.curve]) for number, method in numbered]
    found = [
        Figure(
            heading="Validation mIoU against steps",
            image=curves("Validation mIoU against steps", series, rules=rules, labelled=True),
            reading=_hardness(contents),
            caption="Lines: means over seeds; bands: from the lowest to the highest seed. Higher is better. Where "
            "bands lie in each other, methods are no further apart than seeds.",
        )
    ]
    clocked = [(number, method, [point.seconds for point in method.curve if point.seconds is not None])
               for number, method in numbered]  # fmt: skip
    clocked = [(number, method, seconds) for number, method, seconds in clocked if len(seconds) == len(method.curve)]
    longest = max((seconds[-1] for _, _, seconds in clocked), default=0.0)
    if longest > 0:
        unit, size = unit_of(longest)
        series = [_series(number, method, [s / size for s in seconds]) for number, method, seconds in clocked]
        heading = f"Validation mIoU against {CLOCKS[contents.clock]}"
        found.append(
            Figure(
                heading=heading,
                image=curves(heading, series, rules=rules, x_unit=unit),
                reading="",
                caption="The same lines over what they cost; evaluations are not counted. A line that ends early "
                "belongs to a method whose steps are cheap. Read upwards: how far a method comes in a given time; "
                "read across: how long it takes to come that far.",
            )
        )
    return found


def _series(number: int, method: Method, xs: list[float]) -> Series:
    placed = list(zip(xs, method.curve, strict=True))
    return Series(
        name=method.name,
        number=number,
        points=[(x, point.miou) for x, point in placed],
        band=[(x, point.lowest, point.highest) for x, point in placed],
    )


def _rules(contents: ComparisonContents) -> list[Rule]:
    before, teacher = contents.before, contents.teacher
    rules = []
    # A teacher that was asked other queries than the students cannot stand beside them.
    if (
        before is not None
        and teacher is not None
        and (before.split, before.num_queries) == (teacher.split, teacher.num_queries)
    ):
        rules.append(Rule(teacher.miou, f"teacher {teacher.miou:.2f}, on the test queries", "teacher"))
    if contents.target_miou is not None:
        rules.append(Rule(contents.target_miou, f"target {short(contents.target_miou)}", "target"))
    return rules


def _hardness(contents: ComparisonContents) -> str:
    """The student before on validation and on test queries: how far scores on both can be held against each other."""
    starts = [method.curve[0].miou for method in contents.methods if method.curve and method.curve[0].step == 0]
    if contents.before is None or not starts:
        return ""
    return f"Before training: {starts[0]:.3f} on these queries, {contents.before.miou:.3f} on the test queries."


def convention(contents: ComparisonContents) -> dict[str, str]:
    """How it was made and how the scores were computed."""
    made = {
        "seeds": ", ".join(contents.seeds),
        "device": contents.device,
        "data, SHA-256": contents.data_sha256[:_HASH_LETTERS],
    }
    evaluated = contents.before or contents.teacher
    return {name: text for name, text in made.items() if text} | (evaluated.convention if evaluated else {})
