"""TimeLens (arXiv 2512.14698, `evaluation/compute_metrics.py`) and lmms-eval's `timelens` tasks.

One question, two scorers. TimeLens's inference rounds every predicted boundary to a whole second, half to even, and
stores the pair; its scorer prefers the stored pair to the text. lmms-eval scores the text, unrounded. So the same
answers get different numbers. Both keep results in a dict under `video>>>query>>>span`, so that a query that the
annotations hold twice counts once, with the answer written last.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from video_opd.eval.scorers._parsers import Pair, lmms_eval_charades, timelens
from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores, ResultAnswer
from video_opd.eval.scorers._single_span import (
    THRESHOLDS,
    Parser,
    is_hull_empty,
    missing_notes,
    parser_name,
    percent,
    point_notes,
    read_pairs,
    reading_notes,
    recalls,
    several_spans_notes,
    share,
)
from video_opd.grounding import temporal_iou
from video_opd.types import Example

_LMMS_EVAL = Convention(
    source="EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/timelens/utils.py",
    comparator=">=",
    rounding="none",
    denominator="every annotated query, where the official scorer counts the rows of its file; those of one video, "
    "query and span count once, with the last answer",
    prediction="first pair",
    annotation="first span",
    parser=parser_name("that of TimeLens's evaluation"),
    units="percent",
    failure="IoU 0",
)

_LMMS_EVAL_CHARADES = replace(
    _LMMS_EVAL,
    source="EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/charades_sta/utils.py",
    prediction="first pair; the ends of a reversed one are put in order",
    parser=parser_name("that of lmms-eval's Charades-STA task"),
)

_INFERRED = replace(
    _LMMS_EVAL,
    source="TencentARC/TimeLens, evaluation/compute_metrics.py, after its inference",
    rounding="predicted boundaries to whole seconds, half to even; scores not at all",
    failure="[duration + 10, duration + 20] takes the place of an answer that cannot be read",
)

_STORED = replace(
    _LMMS_EVAL,
    source="TencentARC/TimeLens, evaluation/compute_metrics.py",
    rounding="none: pairs as stored, which TimeLens's inference has rounded to whole seconds, half to even",
    prediction="first stored pair",
    parser="none: stored pairs are taken as they are",
)

_TEXTS = replace(
    _LMMS_EVAL,
    source="TencentARC/TimeLens, evaluation/compute_metrics.py",
    rounding="none: the file stores no pairs, only texts, and their numbers are taken as they stand, though TimeLens's "
    "own inference would have stored whole seconds",
    prediction="first pair of the text",
)

_STORED_AND_TEXTS = replace(
    _TEXTS,
    rounding="none: pairs as stored, texts as they stand; only the former were rounded by TimeLens's inference",
    prediction="first stored pair; where none is stored, first pair of the text",
)


def score_timelens(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """TimeLens's numbers, under the names that `compute_metrics.py` prints.

    A file in TimeLens's own format is scored as it stands: stored pairs as they are, texts without one unrounded.
    Answers from elsewhere first go through what TimeLens's inference does with them: parse, round, store.
    """
    if answers.format != "timelens":
        return _score(truth, answers, _Reading(_read_inferred, _NAMES, _timelens_key), _INFERRED)
    notes: list[str] = []
    stored = [answer.spans for answer in answers.by_id.values() if answer.spans is not None]
    if odd := sum(bool(spans) and not all(time_s.is_integer() for time_s in spans[0]) for spans in stored):
        notes.append(f"{odd} stored pairs are not whole seconds: taken as stored, as the official scorer does.")
    if only_text := len(answers.by_id) - len(stored):
        notes.append(f"{only_text} rows store no pair: their text is scored unrounded, as the official scorer does.")
    convention = _STORED if not only_text else _STORED_AND_TEXTS if stored else _TEXTS
    return _score(truth, answers, _Reading(_read_stored, _NAMES, _timelens_key, stored_first=True), convention, notes)


_NAMES = {threshold: f"IOU {threshold:g}" for threshold in THRESHOLDS}


def _timelens_key(example: Example) -> Hashable:
    return example.video.rpartition("/")[2], example.query, example.spans[0]


def score_lmms_eval(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """lmms-eval's numbers for the `timelens` group, unrounded."""
    return _score_as_lmms_eval(truth, answers, timelens, _LMMS_EVAL)


def score_lmms_eval_charades(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """lmms-eval's numbers for `temporal_grounding_charades`: the same with a parser of its own."""
    return _score_as_lmms_eval(truth, answers, lmms_eval_charades, _LMMS_EVAL_CHARADES)


def _score_as_lmms_eval(truth: GroundTruth, answers: Answers, parser: Parser, convention: Convention) -> OfficialScores:
    reading = _Reading(
        prediction=lambda answer, _: next(iter(read_pairs(answer, parser)), None),
        names={threshold: f"IOU@{threshold * 10:g}" for threshold in THRESHOLDS},
        key=lambda example: (example.video, example.query, example.spans[0]),
        parser=parser,
    )
    return _score(truth, answers, reading, convention)


@dataclass(frozen=True)
class _Reading:
    """How one of the scorers takes an answer, and what it calls its scores."""

    prediction: Callable[[ResultAnswer | None, Example], Pair | None]
    names: dict[float, str]
    """Threshold -> name of the rate."""
    key: Callable[[Example], Hashable]
    """Rows of one key count once."""
    parser: Parser = timelens
    stored_first: bool = False
    """Whether stored pairs count before the text."""


def _score(
    truth: GroundTruth, answers: Answers, reading: _Reading, convention: Convention, notes: Sequence[str] = ()
) -> OfficialScores:
    key = reading.key
    counted: dict[Hashable, Example] = {}
    for example in truth.order_as_file(answers):
        if example.id in answers.by_id or key(example) not in counted:
            counted[key(example)] = example
    if repeated := len(truth.examples) - len(counted):
        notes = [*notes, f"{repeated} rows have the video, query and span of another: they count once, the last one."]
    ious: dict[str, float] = {}
    points = 0
    for example in counted.values():
        pair = reading.prediction(answers.by_id.get(example.id), example)
        ious[example.id] = temporal_iou(pair, example.spans[0]) if pair else 0.0
        points += pair is not None and is_hull_empty(pair, example.spans[0])
    hits = recalls(ious, reading.names, operator.ge)
    return OfficialScores(
        convention=convention,
        scores={name: share(hit) for name, hit in hits.items()} | {"mIOU": percent(ious)},
        per_query=hits | {"mIOU": {id_: 100 * iou for id_, iou in ious.items()}},
        notes=(
            *notes,
            *several_spans_notes(truth, "the first"),
            *missing_notes(truth, answers, "counted as IoU 0, though the official scorer would not know of them"),
            *reading_notes(
                answers,
                reading.parser,
                "`The event happens in 12.5 - 18.3 seconds.`",
                stored_first=reading.stored_first,
            ),
            *(point_notes(points) if convention not in (_LMMS_EVAL, _LMMS_EVAL_CHARADES) else ()),
        ),
    )


def _read_stored(answer: ResultAnswer | None, _: Example) -> Pair | None:
    stored = answer.spans if answer is not None and answer.spans is not None else read_pairs(answer, timelens)
    return next(iter(stored), None)


def _read_inferred(answer: ResultAnswer | None, example: Example) -> Pair | None:
    if answer is None:
        return None
    for start_s, end_s in read_pairs(answer, timelens):
        return _whole_second(start_s), _whole_second(end_s)
    last_s = max((span.end_s for span in example.spans), default=0.0)
    end_s = last_s if example.duration is None else example.duration  # after every annotation it scores 0 all the same
    return end_s + 10, end_s + 20


def _whole_second(time_s: float) -> float:
    """Half to even: 2.5 -> 2, 3.5 -> 4."""
    return float(round(time_s)) if math.isfinite(time_s) else time_s
