"""What is recorded at every step, as small pictures with what good looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from video_opd.report import figures
from video_opd.report.figures import Figure
from video_opd.report.run.run_contents import RunContents


@dataclass(frozen=True, slots=True, kw_only=True)
class _SmallMultiple:
    key: str
    heading: str
    caption: str
    y_range: tuple[float, float] | None = None
    reading: Callable[[list[tuple[float, float]]], str] | None = None


def from_to(points: list[tuple[float, float]]) -> str:
    """First and last value; over many noisy steps, means of the first and the last tenth."""
    tenth = max(1, len(points) // 10)
    first = sum(y for _, y in points[:tenth]) / tenth
    last = sum(y for _, y in points[-tenth:]) / tenth
    if len(points) == 1:
        return f"{_plain(last)} so far."
    return f"From {_plain(first)} to {_plain(last)}."


def _plain(value: float) -> str:
    """No more than three decimals, unless nothing would be left."""
    return figures.shorten(round(value, 3) if abs(value) >= 0.0005 else value)


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
        key="groups_contradicted",
        heading="Groups that contradict the teacher",
        reading=_at_most,
        caption="Prompts to whose answers the teacher gave higher scores the worse they overlap with the annotation; "
        "there it was not listened to as it stands. Good: few. If most are such, teacher or annotations are poor.",
    ),
    _SmallMultiple(
        key="cut_share",
        heading="Tokens behind the change point",
        y_range=(0.0, 1.0),
        caption="Behind it the teacher prefers none of what the student might say next, so these tokens were not "
        "trained on. Near 0 the cut does nothing; if it grows, answers run on for longer than they can be taught.",
    ),
    _SmallMultiple(
        key="output_format_rate",
        heading="Output format rate",
        y_range=(0.0, 1.0),
        caption="Share of the answers in which the parser finds a span. Good: near 1 after a few steps. If not, the "
        "examples below name the reasons; a cold student may need some steps of supervised training first.",
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
        heading="Tokens held at a bound",
        reading=_at_most,
        caption="Their advantage or their importance ratio was cut at its limit. Good: a few per cent at first, then "
        "next to none. If many advantages are cut all along, the teacher finds the student's answers absurd: check "
        "that both use one tokenizer and one prompt. If it is ratios, make fewer updates a batch or lower the learning "
        "rate.",
    ),
    _SmallMultiple(
        key="max_ratio",
        heading="Largest importance ratio",
        reading=_at_most,
        caption="By how much the updates on a batch raised the probability of one of its tokens. Good: near 1. If it "
        "runs away, few tokens decide the updates: set a bound (method.ratio_cap), or lower the learning rate.",
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


def draw_regions(contents: RunContents) -> list[Figure]:
    """How far student and teacher are apart in each part of an answer."""
    return _draw_all(contents, _BY_REGION)


def draw_vital_signs(contents: RunContents) -> list[Figure]:
    """The vital signs that were recorded."""
    return _draw_all(contents, _SMALL)


def _draw_all(contents: RunContents, wanted: Sequence[_SmallMultiple]) -> list[Figure]:
    recorded = ((small, contents.series(small.key)) for small in wanted)
    return [
        Figure(
            heading=small.heading,
            image=figures.draw_line_chart(f"{small.heading} over steps", points, small=True, y_range=small.y_range),
            reading=(small.reading or from_to)(points),
            caption=small.caption,
        )
        for small, points in recorded
        if points
    ]
