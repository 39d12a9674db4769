"""What the scorers of one span per query share: how a text was read, shares of queries, and sentences about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from video_opd.eval.scorers._parsers import OFFICIAL_PARSERS_VERSION, Pair
from video_opd.eval.scorers._scorer_types import Answers, GroundTruth, ResultAnswer
from video_opd.grounding import SpanLike, temporal_iou
from video_opd.grounding.packed_examples import PackedExamples

THRESHOLDS = (0.3, 0.5, 0.7)

Parser = Callable[[str], tuple[Pair, ...]]


def parser_name(name: str) -> str:
    """A parser of another project, with the version of our reading of it."""
    return f"{name}; video-opd's official parsers, version {OFFICIAL_PARSERS_VERSION}"


def read_pairs(answer: ResultAnswer | None, parser: Parser) -> tuple[Pair, ...]:
    """The pairs of an answer: its text by the scorer's own parser, or the numbers where the file has no text."""
    if answer is None:
        return ()
    return answer.scale_spans(parser(answer.text)) if answer.text is not None else answer.spans or ()


def is_hull_empty(one: SpanLike, other: SpanLike) -> bool:
    """Whether all four ends are one point, so that an IoU over the hull divides by zero."""
    return max(one[1], other[1]) == min(one[0], other[0])


def share(per_query: Mapping[str, float]) -> float:
    """The mean over queries, added up in order as the official scorers do."""
    return sum(per_query.values()) / len(per_query)


def add_in_order(values: Iterable[float]) -> float:
    """Add values one by one, as the originals' loops do. From Python 3.12 on, `sum` is more exact than that."""
    total = 0.0
    for value in values:
        total += value
    return total


def percent(ious: Mapping[str, float]) -> float:
    """The mean in percent, with the operations in TimeLens's order: to the last digit."""
    return sum(ious.values()) * 100 / len(ious)


def ious_of_first_pairs(truth: GroundTruth, answers: Answers, parser: Parser) -> tuple[dict[str, float], int]:
    """IoU of the first pair of every answer with the first annotated span, 0 where there is none; and how many of them
    are the same point as their annotation, where the formula divides by zero."""
    ious: dict[str, float] = {}
    points = 0
    for example in truth.order_as_file(answers):
        pairs = read_pairs(answers.by_id.get(example.id), parser)
        ious[example.id] = temporal_iou(pairs[0], example.spans[0]) if pairs else 0.0
        points += bool(pairs) and is_hull_empty(pairs[0], example.spans[0])
    return ious, points


def recalls(
    ious: Mapping[str, float], names: Mapping[float, str], comparator: Callable[[float, float], bool]
) -> dict[str, dict[str, float]]:
    """Name of each threshold -> example id -> 100 where the IoU compares as it should with it, else 0."""
    return {
        name: {id_: 100.0 if comparator(iou, threshold) else 0.0 for id_, iou in ious.items()}
        for threshold, name in names.items()
    }


def reading_notes(answers: Answers, parser: Parser, expects: str, *, stored_first: bool = False) -> list[str]:
    """Say how many answers the scorer's parser does not read, and how many of them ours does: most often the model
    answers in a form that the scorer was not made for.

    Args:
        answers: of one file.
        parser: the scorer's own.
        expects: an answer that it reads, for the sentence.
        stored_first: a text beside stored spans is not scored, and so not counted.
    """
    texts = [
        answer.text
        for answer in answers.by_id.values()
        if answer.text is not None and not (stored_first and answer.spans is not None)
    ]
    unread = [text for text in texts if not parser(text)]
    if not unread:
        return []
    ours = sum(bool(ResultAnswer(text=text).parse().spans) for text in unread)
    also = f"; ours finds a span in {ours} of them, and this one expects {expects}" if ours else ""
    return [f"{len(unread)} of {len(texts)} answers hold no span that this scorer's parser reads{also}."]


def note_count(count: int, what: str) -> list[str]:
    """Make a sentence with a count; no sentence for 0."""
    return [f"{count} {what}"] if count else []


def point_notes(count: int) -> list[str]:
    """Say how many answers are the same point as the annotation."""
    return note_count(
        count, "answers are the same point as the annotation: the official scorer divides by zero; here IoU 0."
    )


def several_spans_notes(truth: GroundTruth, which: str) -> list[str]:
    """Say how many queries are annotated with more spans than the scorer uses."""
    count = sum(len(example.spans) > 1 for example in truth.examples)
    return note_count(count, f"queries are annotated with several spans; this scorer looks at {which}.")


def zero_length_notes(truth: GroundTruth) -> list[str]:
    """Say how many annotated spans end where they begin."""
    spans_s = PackedExamples.of(truth.examples).spans_s
    count = int((spans_s[:, 0] == spans_s[:, 1]).sum())
    return note_count(
        count, "annotated spans have no length: no answer reaches them, and every answer has IoU 0 with them."
    )


def missing_notes(truth: GroundTruth, answers: Answers, what: str) -> list[str]:
    """Say how many queries have no row in the file."""
    return note_count(len(truth.find_missing(answers)), f"queries have no row in the file: {what}.")
