"""CG-Bench (arXiv 2412.12075): `run/utils.py` and `run/stat_with_key.py` of CG-Bench/CG-Bench.

A question has options and clue intervals. mIoU is the mean IoU of both sets, each merged; rec@IoU the mean over five
thresholds of the share of questions that reach it, acc@IoU that of those whose option is right as well. Facts of how
the scripts behave, none of their code:

- The intervals of an answer are a JSON object `{"result": [[start, end], …]}` in a fenced block; where that cannot be
  used, all numbers of the text in twos, a minus sign included.
- What cannot be read at all leaves the question out of the mean: an empty text, an odd number of numbers, and numbers
  in twos that overlap or touch, on which the script stops with an error. A text without any number is IoU 0.
- An interval that ends before it starts counts with its negative length, so that an IoU can be more than 1.
- The option is that of a JSON block, or any single letter A to H of the text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from video_opd.eval.scorers._parsers import Pair
from video_opd.eval.scorers._scorer_types import (
    Answers,
    Convention,
    GroundTruth,
    MomentQuestion,
    OfficialScores,
    ResultAnswer,
)
from video_opd.eval.scorers._single_span import add_in_order, missing_notes, note_count, parser_name
from video_opd.files.strict_json import load_json
from video_opd.grounding import SpanLike

_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
_NUMBER = re.compile(r"-?(?<!\d)\d++\.?+\d*+")
_LETTER = re.compile(r"\b[A-H]\b")
_BARE_WORD = re.compile(r"(?<=:\s)([A-Za-z_]\w*)")
_FENCE = "```json"
_LARGEST = 10**300
"""Of whole numbers, so that a float holds them."""

_CONVENTION = Convention(
    source="CG-Bench/CG-Bench, run/utils.py and run/stat_with_key.py",
    comparator=">=",
    rounding="none",
    denominator="mIoU, rec@IoU: answers that can be read; long_acc: options that can be read; acc@IoU: both",
    prediction="all intervals, merged",
    annotation="all intervals, merged",
    parser=parser_name("that of CG-Bench's run/utils.py"),
    units="fractions",
    failure="left out; a text without any number is IoU 0",
)


def score_cg_bench(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """mIoU, rec@IoU, and, where our rows have a `choice` and the ground truth its options, long_acc and acc@IoU."""
    ious: dict[str, float] = {}
    right: dict[str, float] = {}
    unread = 0
    for example in truth.order_as_file(answers):
        if example.id not in answers.by_id:
            continue
        answer = answers.by_id[example.id]
        iou = _iou_of(answer, example.spans)
        is_right = _is_right(answer.choice, truth.questions.get(example.id))
        unread += iou is None
        if iou is not None:
            ious[example.id] = iou
        if is_right is not None:
            right[example.id] = float(is_right)
    both = [id_ for id_ in ious if id_ in right]
    reached = {t: {id_: float(iou >= t) for id_, iou in ious.items()} for t in _THRESHOLDS}
    hits = {t: {id_: reached[t][id_] * right[id_] for id_ in both} for t in _THRESHOLDS}
    scores: dict[str, Any] = {"mIoU": _mean(ious)} | _average_over_thresholds("rec@IoU", reached)
    per_query = {"mIoU": ious} | {f"rec@IoU@{t}": of for t, of in reached.items()}
    per_query["rec@IoU"] = {id_: sum(of[id_] for of in reached.values()) / len(reached) for id_ in ious}
    if right:
        scores |= {"long_acc": _mean(right)} | _average_over_thresholds("acc@IoU", hits)
        per_query |= {"long_acc": right} | {f"acc@IoU@{t}": of for t, of in hits.items()}
        per_query["acc@IoU"] = {id_: sum(of[id_] for of in hits.values()) / len(hits) for id_ in both}
    return OfficialScores(
        convention=_CONVENTION,
        scores=scores,
        per_query={name: of for name, of in per_query.items() if of},
        notes=(
            *missing_notes(truth, answers, "left out of every number, as the official scorer does"),
            *note_count(unread, "answers cannot be read as intervals: left out of the means, as officially."),
            *note_count(sum(iou > 1 for iou in ious.values()), "answers have an IoU above 1: an interval is reversed."),
            *_choice_notes(truth, answers, len(right)),
        ),
    )


def _average_over_thresholds(name: str, by_threshold: Mapping[float, Mapping[str, float]]) -> dict[str, float]:
    """The mean at each threshold, and that of all of them, as one division."""
    shares = {f"{name}@{threshold}": _mean(of) for threshold, of in by_threshold.items()}
    total = sum(len(of) for of in by_threshold.values())
    hits = sum(sum(of.values()) for of in by_threshold.values())
    return {name: hits / total if total else 0.0} | shares


def _mean(values: Mapping[str, float]) -> float:
    return add_in_order(values.values()) / len(values) if values else 0.0


def _choice_notes(truth: GroundTruth, answers: Answers, num_read: int) -> list[str]:
    given = sum(answer.choice is not None for answer in answers.by_id.values())
    if not given or not truth.questions:
        return [
            'long_acc and acc@IoU need the options chosen, `"choice": "B"` in our rows, and the original file '
            "(cgbench.json), which has the right ones."
        ]
    what = "answers have no option that can be read: left out of long_acc and acc@IoU."
    return note_count(len(answers.by_id) - num_read, what)


def _iou_of(answer: ResultAnswer, annotated: Sequence[SpanLike]) -> float | None:
    """None where the answer cannot be read, which is not the same as one without intervals."""
    if answer.text is None:
        return interval_iou(answer.spans or (), annotated)
    if not answer.text:
        return None
    if (intervals := _read_fenced_intervals(answer.text)) is not None:
        return interval_iou(answer.scale_spans(intervals), annotated)
    numbers = [float(number) for number in _NUMBER.findall(answer.text)]
    if len(numbers) % 2:
        return None
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    in_order = sorted(pairs, key=lambda pair: pair[0])
    if any(later[0] <= earlier[1] for earlier, later in itertools.pairwise(in_order)):
        return None
    return interval_iou(answer.scale_spans(pairs), annotated)


def _extract_fenced(text: str) -> str:
    """What the first fenced JSON block holds."""
    _, opened, behind = text.partition(_FENCE)
    content, closed, _ = behind.partition("```")
    return content.strip() if opened and closed else ""


def _read_fenced_intervals(text: str) -> list[Pair] | None:
    """Those of the fenced block, merged; None where they cannot be used."""
    try:
        value = load_json(_extract_fenced(text))
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or "result" not in value:
        return None
    intervals = value["result"] or []
    if not isinstance(intervals, list) or not all(map(_is_led_by_pair, intervals)):
        return None
    union = _merge_intervals([[float(start), float(end), *more] for start, end, *more in intervals])
    return [(start, end) for start, end in union] if all(len(interval) == 2 for interval in union) else None


def _is_led_by_pair(value: object) -> bool:
    if not isinstance(value, list) or len(value) < 2:
        return False
    return all(isinstance(time, float) or (isinstance(time, int) and abs(time) < _LARGEST) for time in value[:2])


def _is_right(choice: str | None, question: MomentQuestion | None) -> bool | None:
    """None where no option can be read, or the right one is not given."""
    if not choice or question is None:
        return None
    right = chr(ord("A") + question.right)
    if content := _extract_fenced(choice):
        try:
            value = load_json(_BARE_WORD.sub(r'"\1"', content))
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and "result" in value:
            return bool(value["result"] == right)
    letters = _LETTER.findall(choice)
    return right in letters if letters else None


def interval_iou(some: Sequence[SpanLike], others: Sequence[SpanLike]) -> float:
    """IoU of two sets of intervals, each merged; an interval that ends before it starts counts with its length below
    0, and where the union has no length it is 0."""
    a, b = _merge_intervals(some), _merge_intervals(others)
    shared = 0.0
    for one in a:
        for other in b:
            shared += max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    whole = sum(end - start for start, end in a) + sum(end - start for start, end in b) - shared
    return shared / whole if whole > 0 else 0.0


def _merge_intervals(intervals: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """In order of the starts alone: of those that start together the first given comes first, and what stands behind
    the two ends is that of the first."""
    union: list[list[Any]] = []
    for start, end, *more in sorted(intervals, key=lambda interval: interval[0]):
        if union and start <= union[-1][1]:
            union[-1][1] = max(union[-1][1], end)
        else:
            union.append([start, end, *more])
    return union
