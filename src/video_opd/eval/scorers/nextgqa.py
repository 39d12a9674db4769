"""NExT-GQA (arXiv 2309.01327): `code/TempGQA/eval_ground.py` of doc-doc/NExT-GQA.

Every question is one of five options and a span. IoP is the intersection over the predicted span. Of several annotated
spans the best counts, for IoU and for IoP each on its own. A predicted point has no IoU, and IoP 1 where it lies in an
annotated span, ends included. Acc@GQA is the share of questions whose option is right and whose IoP is 0.5 or more.
Questions without a row in the file are left out of every number.

The option stands in `test-res.json` beside `test_ground….json`, or in our own rows as `"choice": "B"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from video_opd.eval.scorers._benchmark_results import find_choices_file
from video_opd.eval.scorers._scorer_types import (
    Answers,
    Convention,
    GroundTruth,
    MomentQuestion,
    OfficialScores,
    ResultAnswer,
)
from video_opd.eval.scorers._single_span import add_in_order, missing_notes, note_count
from video_opd.grounding import PARSER_VERSION, SpanLike
from video_opd.types import Example

_THRESHOLDS = (0.3, 0.5)

_CONVENTION = Convention(
    source="doc-doc/NExT-GQA, code/TempGQA/eval_ground.py",
    comparator=">=",
    rounding="scores to one decimal; times not at all",
    denominator="questions with a row in the file",
    prediction="first span; one that ends before it starts is worth 0",
    annotation="best span, for IoU and IoP apart",
    parser=f"video-opd {PARSER_VERSION}; the official scorer takes numbers only",
    units="percent",
    failure="0",
)


def score_nextgqa(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """The official numbers, under the names of the paper; Acc@GQA where anything says which options were chosen."""
    examples = [example for example in truth.examples if example.id in answers.by_id]
    values: dict[str, dict[str, float]] = {}
    right = {example.id: _is_right(answers.by_id[example.id], truth.questions.get(example.id)) for example in examples}
    with_choice = any(is_right is not None for is_right in right.values())
    empty = reversed_ = 0
    for example in examples:
        spans = answers.by_id[example.id].all_spans()
        iou, iop = best_iou_and_iop(spans[0], example) if spans else (0.0, 0.0)
        empty += not spans
        reversed_ += bool(spans) and spans[0].end_s < spans[0].start_s
        if with_choice:
            values.setdefault("Acc@GQA", {})[example.id] = float(iop >= 0.5 and bool(right[example.id]))
        for name, value in (("IoP", iop), ("IoU", iou)):
            values.setdefault(f"m{name}", {})[example.id] = value
            for threshold in _THRESHOLDS:
                values.setdefault(f"{name}@{threshold}", {})[example.id] = float(value >= threshold)
    return OfficialScores(
        convention=_CONVENTION,
        scores={name: float(f"{add_in_order(of.values()) / len(of) * 100:.1f}") for name, of in values.items()},
        per_query={name: {id_: 100 * value for id_, value in of.items()} for name, of in values.items()},
        notes=(
            *missing_notes(truth, answers, "left out of every number, as the official scorer does"),
            *note_count(empty, "answers hold no span: the official scorer takes numbers alone; counted as 0."),
            *note_count(reversed_, "spans end before they start: worth 0, as officially."),
            *_choice_notes(answers, list(right.values())),
        ),
    )


def _choice_notes(answers: Answers, right: Sequence[bool | None]) -> list[str]:
    unknown = sum(is_right is None for is_right in right)
    if unknown == len(right):
        return [
            "Acc@GQA needs the options chosen: `test-res.json` beside `test_ground….json`, or our rows with "
            '`"choice": "B"` and gsub_test.json beside test.csv as the ground truth.'
        ]
    notes = note_count(unknown, "answers have no option that can be judged: wrong; the official scorer crashes here.")
    if answers.format == "nextgqa":
        notes.append(
            f"Which options are right is taken from {find_choices_file(Path(answers.file)).name} beside the file."
        )
    return notes


def _is_right(answer: ResultAnswer, question: MomentQuestion | None) -> bool | None:
    """Whether the option chosen is the right one; None where nothing says so."""
    if answer.is_right is not None or answer.choice is None or question is None:
        return answer.is_right
    return find_option(answer.choice, question.options) == question.right


def find_option(choice: str, options: Sequence[str]) -> int | None:
    """Place of the option that an answer names by its letter (`B`, `b.`, `(B)`, `B. the dog`) or by its words."""
    said = choice.strip()
    for place, option in enumerate(options):
        if said.casefold() == option.strip().casefold():
            return place
    letter, behind = said.lstrip("( ")[:1].upper(), said.lstrip("( ")[1:2]
    place = ord(letter) - ord("A") if len(letter) == 1 else -1
    return place if 0 <= place < len(options) and not behind.isalnum() and behind not in (" ", "'") else None


def best_iou_and_iop(span: SpanLike, example: Example) -> tuple[float, float]:
    """The largest IoU and the largest IoP of a span with any annotated one, 0..1 each."""
    found = [_iou_and_iop(span, annotated) for annotated in example.spans]
    return max(0.0, *(iou for iou, _ in found)), max(0.0, *(iop for _, iop in found))


def _iou_and_iop(span: SpanLike, annotated: SpanLike) -> tuple[float, float]:
    (start, end), (first, last) = span, annotated
    if start == end:
        return 0.0, float(first <= start <= last)
    shared = min(last, end) - max(first, start)
    whole = max(last, end) - min(first, start)
    return shared / whole if whole > 0 else 0.0, shared / (end - start) if end > start else 0.0
