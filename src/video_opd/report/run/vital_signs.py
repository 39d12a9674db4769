"""What is recorded at every step, as small pictures with what good looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from video_opd.report import figures
from video_opd.report.figures import Figure
from video_opd.report.run.run_contents import RunContents


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallMultiple:
    """A quantity of every step, and how to read its picture."""

    key: str
    heading: str
    caption: str
    y_range: tuple[float, float] | None = None
    reading: Callable[[list[tuple[float, float]]], str] | None = None


def write_first_and_last(points: list[tuple[float, float]]) -> str:
    """First and last value; over many noisy steps, means of the first and the last tenth."""
    tenth = max(1, len(points) // 10)
    first = sum(y for _, y in points[:tenth]) / tenth
    last = sum(y for _, y in points[-tenth:]) / tenth
    if len(points) == 1:
        return f"{_format_plain(last)} so far."
    return f"From {_format_plain(first)} to {_format_plain(last)}."


def _format_plain(value: float) -> str:
    """No more than three decimals, unless nothing would be left."""
    return figures.shorten(round(value, 3) if abs(value) >= 0.0005 else value)


def _write_maximum(points: list[tuple[float, float]]) -> str:
    step, value = max(points, key=lambda point: point[1])
    return f"At most {_format_plain(value)}, at step {step:.0f}."


SMALL = (
    SmallMultiple(
        key="miou",
        heading="mIoU of sampled answers",
        y_range=(0.0, 1.0),
        caption="On training queries. Their annotations may be inaccurate, so only the trend counts. Good: it rises "
        "together with the held-out curve. If it rises alone, the student memorises the training set.",
    ),
    SmallMultiple(
        key="annotation_nll",
        heading="Annotated answers, nats per token",
        caption="How improbable the annotated text is for the student. Good: it falls. If it falls far below the "
        "level of the noise in the annotations, the student memorises them.",
    ),
    SmallMultiple(
        key="gap_on_annotations",
        heading="Gap to the teacher on annotations",
        caption="Log-prob by the student minus log-prob by the teacher, nats per annotated token. It can have either "
        "sign.",
    ),
    SmallMultiple(
        key="reward",
        heading="Reward",
        caption="The mean reward of the student's answers in a step. Good: it rises together with the held-out curve.",
    ),
    SmallMultiple(
        key="groups_without_spread",
        heading="Groups without spread",
        reading=_write_maximum,
        caption="Prompts whose answers all got the same reward: they gave no gradient. If most prompts are like "
        "this, the questions are too hard or too easy for this student.",
    ),
    SmallMultiple(
        key="groups_contradicted",
        heading="Groups that contradict the teacher",
        reading=_write_maximum,
        caption="Prompts for which the teacher scored an answer higher the worse it overlaps the annotation. There "
        "the teacher's scores were not used unchanged. Good: few. If most prompts are like this, the teacher or the "
        "annotations are poor.",
    ),
    SmallMultiple(
        key="cut_share",
        heading="Tokens behind the change point",
        y_range=(0.0, 1.0),
        caption="After this point the teacher no longer prefers any next token of the student, so these tokens were "
        "not trained on. Near 0, the cut has no effect. If it grows, answers become longer than the teacher can "
        "supervise.",
    ),
    SmallMultiple(
        key="distinct_answers",
        heading="Distinct answers",
        y_range=(0.0, 1.0),
        caption="The share of different texts among the answers to different prompts. Good: it stays about where it "
        "began. If it falls to 0, the student gives one answer to every prompt, which a small reverse KL hides. "
        "Use an earlier checkpoint, and lower the learning rate.",
    ),
    SmallMultiple(
        key="teacher_view_miou",
        heading="The teacher's own mIoU",
        y_range=(0.0, 1.0),
        caption="Of a teacher that follows the student: its greedy answers to a few training examples, in its view. "
        "Good: it stays or rises. If it falls, the teacher has taken over the student's errors: let it "
        "follow more slowly, or leave it frozen.",
    ),
    SmallMultiple(
        key="output_format_rate",
        heading="Output format rate",
        y_range=(0.0, 1.0),
        caption="The share of answers in which the parser finds a span. Good: near 1 after a few steps. If not, the "
        "examples below give the reasons; an untrained student may first need some steps of supervised fine-tuning.",
    ),
    SmallMultiple(
        key="truncated_share",
        heading="Answers cut off by the length limit",
        y_range=(0.0, 1.0),
        caption="Good: near 0. If not, the student writes too much, or the limit on new tokens is too low.",
    ),
    SmallMultiple(
        key="sampler_learner_gap",
        heading="Sampler–learner gap, nats",
        reading=_write_maximum,
        caption="The model that wrote an answer is also the model that learns from it, so both should give each "
        "token the same log-prob. Good: rounding only, below 0.0001 in float32 and about 0.01 in bfloat16. A larger "
        "gap means that answers are stale or that the two get different inputs: stop the run and find the cause.",
    ),
    SmallMultiple(
        key="clamped_share",
        heading="Tokens held at a bound",
        reading=_write_maximum,
        caption="Their advantage or their importance ratio was clipped to its bound. Good: a few per cent at first, "
        "then almost none. If many advantages are clipped throughout, the student's answers are very improbable for "
        "the teacher: check that both use the same tokenizer and prompt. If many ratios are clipped, make fewer "
        "updates per batch or lower the learning rate.",
    ),
    SmallMultiple(
        key="max_ratio",
        heading="Largest importance ratio",
        reading=_write_maximum,
        caption="The largest factor by which the updates on a batch raised the probability of one of its tokens. "
        "Good: near 1. If it keeps growing, few tokens decide the updates: set a bound (method.ratio_cap), or lower "
        "the learning rate.",
    ),
    SmallMultiple(
        key="grad_norm",
        heading="Gradient norm",
        reading=_write_maximum,
        caption="Before clipping. Good: no upward trend and few spikes. If it grows, lower the learning rate.",
    ),
    SmallMultiple(
        key="entropy",
        heading="Entropy, nats per token",
        caption="How uncertain the student is about the next token. Good: a slow fall to the teacher's level. If it "
        "falls to 0 early, the student has stopped exploring: lower the learning rate.",
    ),
    SmallMultiple(
        key="mean_answer_tokens",
        heading="Tokens per answer",
        caption="Good: it becomes stable. If it keeps growing, answers will be cut off by the length limit.",
    ),
)


_BY_REGION = tuple(
    SmallMultiple(key=f"reverse_kl_by_region.{region}.mean", heading=heading, caption=caption)
    for region, heading, caption in (
        ("thinking", "In the reasoning", "The text before the final answer."),
        ("digits", "In the times", "The digits of the start and the end of the span."),
        (
            "format",
            "In the words around them",
            "This falls first. If it stays, student and teacher were trained on different wordings.",
        ),
        ("end", "At the end of turn", "If it stays, one of the two stops earlier than the other."),
    )
)


def draw_regions(contents: RunContents) -> list[Figure]:
    """How far student and teacher are apart in each part of an answer."""
    return _draw_all(contents, _BY_REGION)


def draw_vital_signs(contents: RunContents) -> list[Figure]:
    """The vital signs that were recorded."""
    return _draw_all(contents, SMALL)


def _draw_all(contents: RunContents, wanted: Sequence[SmallMultiple]) -> list[Figure]:
    recorded = ((small, contents.series(small.key)) for small in wanted)
    return [
        Figure(
            heading=small.heading,
            image=figures.draw_line_chart(f"{small.heading} over steps", points, small=True, y_range=small.y_range),
            reading=(small.reading or write_first_and_last)(points),
            caption=small.caption,
        )
        for small, points in recorded
        if points
    ]
