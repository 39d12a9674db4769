"""From a run folder to `report.html`: what is said, in which order. `template.html.j2` and `style.css` say how."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from video_opd.report import examples, figures, verdict
from video_opd.report.contents import RunContents, number, read_run
from video_opd.report.page import fill, write_page
from video_opd.runs import RunDirectory

PHASES = ("decode", "read", "answer", "teacher", "score", "backward", "step")
"""In the order in which a batch goes through them."""

_MAX_PROBES = 60
"""As many as can be told apart in one picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture with what to think of it."""

    heading: str
    image: Markup
    reading: str
    """What this run's numbers say."""
    caption: str
    """What good looks like, and what to do if it does not look like that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the time."""

    name: str
    colour: int
    seconds: float
    share: float
    """Of the whole, 0 to 1."""


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder, from nothing but what lies in it.

    The page is one file without scripts and without anything to load; the same folder always gives the same page. It
    can be written at any time, also while the run is under way.

    Returns:
        The page.

    Raises:
        ConfigurationError: the folder holds no run.
        OSError: the page cannot be written.
    """
    return write_page(RunDirectory(run).report, render(read_run(run)))


def render(contents: RunContents) -> str:
    """The page as text."""
    standing = verdict.Standing.of(contents.evaluations)
    phases = time_by_phase(contents)
    return fill(
        "template.html.j2",
        contents=contents,
        headline=verdict.headline(contents, standing),
        remarks=verdict.remarks(contents, standing),
        table=verdict.score_table(standing),
        facts=facts(contents),
        main_figures=[figure for figure in main_figures(contents, standing) if figure],
        small_figures=small_figures(contents),
        region_figures=region_figures(contents),
        phases=phases,
        phase_bar=figures.stacked_bar("Where the time went", [(phase.colour, phase.share) for phase in phases]),
        examples=examples.cards(contents.examples),
        credit_legend=examples.legend(contents.examples),
        convention=standing.convention,
    )


def facts(contents: RunContents) -> list[tuple[str, str]]:
    """(what, how much) for the strip under the headline; only what was recorded."""
    found: list[tuple[str, str]] = []
    if contents.rows:
        found.append(("steps", f"{contents.rows[-1]['step']:,}"))
        found.append(("training time", verdict.duration(verdict.elapsed(contents))))
    if contents.series("num_answer_tokens"):
        found.append(("answer tokens learned from", f"{contents.total('num_answer_tokens'):,.0f}"))
    set_aside = contents.series("num_set_aside")
    if set_aside:  # a running total
        found.append(("examples set aside", f"{set_aside[-1][1]:,.0f}"))
    return found


def time_by_phase(contents: RunContents) -> list[Phase]:
    """Seconds per phase over all steps, with what the clock saw and no phase claims."""
    seconds: dict[str, float] = {}
    for row in contents.rows:
        by_phase = row.get("seconds_by_phase")
        for name, value in by_phase.items() if isinstance(by_phase, dict) else ():
            seconds[name] = seconds.get(name, 0.0) + max(number(value) or 0.0, 0.0)
    if not any(seconds.values()):
        return []
    unclaimed = verdict.elapsed(contents) - sum(seconds.values())
    if unclaimed > 0.01 * sum(seconds.values()):
        seconds["anything else"] = unclaimed
    known = [name for name in PHASES if name in seconds]
    names = known + [name for name in seconds if name not in PHASES]
    whole = sum(seconds.values())
    return [
        Phase(name=name, colour=index % 8, seconds=seconds[name], share=seconds[name] / whole)
        for index, name in enumerate(names)
    ]


def main_figures(contents: RunContents, standing: verdict.Standing) -> list[Figure | None]:
    """The two or three pictures that answer whether it worked."""
    return [_validation(standing), _reverse_kl(contents), _probe(contents)]


def _validation(standing: verdict.Standing) -> Figure | None:
    points = [(float(student.step or 0), student.miou) for student in standing.curve]
    if len(points) < 2:
        return None
    bounds = [(float(student.step or 0), student.intervals.get("miou")) for student in standing.curve]
    rules = []
    if standing.teacher is not None and standing.curve_is_comparable:
        rules.append(figures.Rule(standing.teacher.miou, f"teacher {standing.teacher.miou:.2f}", "teacher"))
    floor = standing.curve[-1].constant_miou
    if floor is not None:
        rules.append(figures.Rule(floor, f"best constant answer {floor:.2f}", "floor"))
    (first_step, first), (last_step, last) = points[0], points[-1]
    return Figure(
        heading=f"mIoU on {verdict.kind_of_queries(standing.curve[-1])}",
        image=figures.line_chart(
            "mIoU over steps",
            points,
            y_range=(0.0, 1.0),
            band=[(step, *interval) for step, interval in bounds if interval is not None],
            rules=rules,
        ),
        reading=f"{first:.3f} at step {first_step:.0f}, {last:.3f} at step {last_step:.0f}.",
        caption="How well the student's spans overlap the annotated ones, from 0 to 1; the band is the 95 % interval. "
        "Good: it climbs away from the best constant answer towards the teacher. If it stays at the constant, the "
        "student has not learned to look at the video; if it climbs and falls again, take an earlier checkpoint.",
    )


def _reverse_kl(contents: RunContents) -> Figure | None:
    points = contents.series("reverse_kl")
    if not points:
        return None
    return Figure(
        heading="Reverse KL to the teacher, nats per token",
        image=figures.line_chart("Reverse KL per step", points),
        reading=_from_to(points),
        caption="How far the student's next-token choices are from the teacher's, on answers that the student itself "
        "wrote; 0 would be agreement. Good: a fast fall, then a slow one. If it stays flat, raise the learning rate or "
        "check that the teacher is better than the student; if it rises, lower the learning rate.",
    )


def _probe(contents: RunContents) -> Figure | None:
    after = dict(contents.series("reverse_kl_after"))
    probes = [(step, before, after[step]) for step, before in contents.series("reverse_kl_before") if step in after]
    if not probes:
        return None
    fell = sum(after < before for _, before, after in probes)
    stride = math.ceil(len(probes) / _MAX_PROBES)
    drawn = probes[::stride]
    note = "" if stride == 1 else f" One in {stride} is drawn."
    return Figure(
        heading="The same answers before and after one update, nats per token",
        image=figures.probe_chart("Reverse KL before and after an update", drawn),
        reading=f"It fell in {fell} of {len(probes)} probes.{note}",
        caption="Rings: reverse KL of a batch just before the update; dots: of the same tokens just after, orange if "
        "it rose. Good: the dot lies below its ring. This tests directly that the update does what it should; if it "
        "rises more than now and then, the steps are too large: lower the learning rate or raise the batch size.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _SmallMultiple:
    key: str
    heading: str
    caption: str
    y_range: tuple[float, float] | None = None
    reading: Callable[[list[tuple[float, float]]], str] | None = None


def _from_to(points: list[tuple[float, float]]) -> str:
    """First and last value; over many noisy steps, means of the first and the last tenth."""
    tenth = max(1, len(points) // 10)
    first = sum(y for _, y in points[:tenth]) / tenth
    last = sum(y for _, y in points[-tenth:]) / tenth
    if len(points) == 1:
        return f"{_plain(last)} so far."
    return f"From {_plain(first)} to {_plain(last)}."


def _plain(value: float) -> str:
    """No more than three decimals, unless nothing would be left."""
    return figures.short(round(value, 3) if abs(value) >= 0.0005 else value)


def _at_most(points: list[tuple[float, float]]) -> str:
    step, value = max(points, key=lambda point: point[1])
    return f"At most {_plain(value)}, at step {step:.0f}."


_SMALL = (
    _SmallMultiple(
        key="miou",
        heading="mIoU of sampled answers",
        y_range=(0.0, 1.0),
        caption="On training queries, whose annotations may be rough, so only the trend counts. Good: it climbs along "
        "with the held-out curve. If it climbs alone, the student learns the training set by heart.",
    ),
    _SmallMultiple(
        key="annotation_nll",
        heading="Annotated answers, nats per token",
        caption="How improbable the student finds the annotated text. Good: it falls; far below the level of the noise "
        "in the annotations, the student learns them by heart.",
    ),
    _SmallMultiple(
        key="gap_on_annotations",
        heading="Gap to the teacher on annotations",
        caption="Log-prob of the student's less that of the teacher's, nats per annotated token; it has either sign.",
    ),
    _SmallMultiple(
        key="reward",
        heading="Reward",
        caption="What the student's answers earned, mean over a step's. Good: it climbs, and the held-out curve with "
        "it.",
    ),
    _SmallMultiple(
        key="groups_without_spread",
        heading="Groups without spread",
        reading=_at_most,
        caption="Prompts whose answers all earned the same: they gave no gradient. If most are such, the questions are "
        "too hard or too easy for this student.",
    ),
    _SmallMultiple(
        key="format_rate",
        heading="Answers that name a span",
        y_range=(0.0, 1.0),
        caption="Good: near 1 after a few steps. If not, the examples below name the reasons; a cold student may need "
        "some steps of supervised training first.",
    ),
    _SmallMultiple(
        key="truncated_share",
        heading="Answers cut off by the length limit",
        y_range=(0.0, 1.0),
        caption="Good: near 0. If not, the student rambles, or the limit on new tokens is too low.",
    ),
    _SmallMultiple(
        key="sampler_learner_gap",
        heading="Sampler–learner gap, nats",
        reading=_at_most,
        caption="The model that wrote an answer and the model that learns from it are the same and should give each "
        "token the same log-prob. Good: rounding, below 0.0001 in float32 and about 0.01 in bfloat16. More means that "
        "answers are stale or the two see different inputs: stop and find out.",
    ),
    _SmallMultiple(
        key="clamped_share",
        heading="Credits cut at the limit",
        reading=_at_most,
        caption="Good: a few per cent at first, then next to none. If many are cut all along, the teacher finds the "
        "student's answers absurd: check that both use one tokenizer and one prompt.",
    ),
    _SmallMultiple(
        key="grad_norm",
        heading="Gradient norm",
        reading=_at_most,
        caption="Before clipping. Good: no trend upwards and few spikes. If it grows, lower the learning rate.",
    ),
    _SmallMultiple(
        key="entropy",
        heading="Entropy, nats per token",
        caption="How undecided the student is. Good: a slow fall to the teacher's level. If it collapses to 0 early, "
        "the student has stopped exploring: lower the learning rate.",
    ),
    _SmallMultiple(
        key="mean_answer_tokens",
        heading="Tokens per answer",
        caption="Good: it settles. If it grows without end, answers will be cut off; see there.",
    ),
)


_BY_REGION = tuple(
    _SmallMultiple(key=f"reverse_kl_by_region.{region}.mean", heading=heading, caption=caption)
    for region, heading, caption in (
        ("thinking", "In the reasoning", "What comes before the final answer."),
        ("digits", "In the times", "The digits of start and end: what was seen, and when."),
        ("format", "In the words around them", "Falls first; if it stays, the two were taught different wordings."),
        ("end", "At the end of turn", "If it stays, one of the two stops earlier than the other."),
    )
)


def region_figures(contents: RunContents) -> list[Figure]:
    """How far student and teacher are apart in each part of an answer."""
    return _drawn(contents, _BY_REGION)


def small_figures(contents: RunContents) -> list[Figure]:
    """The vital signs that were recorded."""
    return _drawn(contents, _SMALL)


def _drawn(contents: RunContents, wanted: Sequence[_SmallMultiple]) -> list[Figure]:
    recorded = ((small, contents.series(small.key)) for small in wanted)
    return [
        Figure(
            heading=small.heading,
            image=figures.line_chart(f"{small.heading} over steps", points, small=True, y_range=small.y_range),
            reading=(small.reading or _from_to)(points),
            caption=small.caption,
        )
        for small, points in recorded
        if points
    ]
