"""Which test queries a report shows: the most improved, the most hurt, those where student and teacher differ most, and
some at random. Also which queries are asked and scored again at the end of a run, to show them token by token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from video_opd.files.timeline_records import (
    FORMAT,
    NUM_SHOWN,
    QUERY_KINDS,
    ModelAnswer,
    QueryKind,
    QueryTimeline,
    Timelines,
)
from video_opd.grounding import ParsedAnswer, best_iou, parse_answer, read_answers, temporal_iou
from video_opd.seeds import derive_seed
from video_opd.types import Example

BEFORE, AFTER = "student-before", "student-after"
NUM_SAMPLED = 12
"""Queries that are drawn at random. What is said of all test queries is measured on them."""

AnswerTexts = Mapping[str, Mapping[str, str]]
"""Name of an evaluation -> example id -> the text of the answer."""


def read_texts(evaluation: Path) -> dict[str, dict[str, str]]:
    """Read the answers to the test queries in the folder `evaluation/` of a run, by the name of the evaluation.

    Raises:
        DataError: a file of answers is damaged.
    """
    paths = [evaluation / f"{name}.predictions.jsonl" for name in (BEFORE, AFTER)]
    paths += sorted(evaluation.glob("teacher*.predictions.jsonl"))
    return {
        path.name.removesuffix(".predictions.jsonl"): {
            id: answer.text for id, answer in read_answers(path).items() if answer.text is not None
        }
        for path in paths
        if path.exists()
    }


def draw_sample(examples: Sequence[Example], texts: AnswerTexts, seed: int) -> list[str]:
    """Draw ids at random among the queries that the student answered after training. The answers play no part.

    Args:
        examples: the test queries.
        texts: the answers to them.
        seed: of the draw, which does not depend on the order of the queries.
    """
    answered = texts.get(AFTER, {})
    return sorted((each.id for each in examples if each.id in answered), key=lambda id: _order(seed, id))[:NUM_SAMPLED]


def _order(seed: int, id: str) -> tuple[int, str]:
    return derive_seed(seed, "timelines", id), id


@dataclass(frozen=True, slots=True)
class _Answered:
    """A query with the answers to it."""

    example: Example
    parsed: Mapping[str, ParsedAnswer]
    texts: Mapping[str, str]

    def find_iou(self, name: str) -> float:
        spans = self.parsed[name].spans
        return best_iou(spans[0], self.example.spans) if spans else 0.0

    def find_agreement(self, teacher: str) -> float:
        """The IoU of the student's span with the teacher's; 0 where one of the two names none."""
        mine, theirs = self.parsed[AFTER].spans, self.parsed[teacher].spans
        return temporal_iou(mine[0], theirs[0]) if mine and theirs else 0.0

    def to_timeline(self, kind: str) -> QueryTimeline:
        example = self.example
        answers = {
            name: ModelAnswer(
                text=text,
                spans=list(self.parsed[name].spans),
                reason=self.parsed[name].reason,
                iou=round(self.find_iou(name), 6),
            )
            for name, text in self.texts.items()
        }
        timeline = QueryTimeline(
            id=example.id,
            kind=kind,
            query=example.query,
            video=example.video,
            duration=example.shown_s,
            annotated=list(example.spans),
            answers=answers,
        )
        rare = {"clip": example.clip, "frame_rate": example.frame_rate}
        return timeline.model_copy(update={key: value for key, value in rare.items() if value is not None})


def choose_timelines(examples: Sequence[Example], texts: AnswerTexts, seed: int) -> Timelines:
    """Choose the queries to show. Every query is shown once, under the first kind that it fits.

    Args:
        examples: the test queries.
        texts: the answers to them; a teacher's may be to some of them only.
        seed: of what is left to chance.
    """
    answered = texts.get(AFTER, {})
    known = {each.id: _read_answers_to(each, texts) for each in examples if each.id in answered}
    sample = draw_sample(examples, texts, seed)
    ids = sorted(known, key=lambda id: _order(seed, id))  # equals come in this order
    chosen: dict[str, QueryKind] = {}
    for kind in QUERY_KINDS:
        fitting = (id for id in _rank(kind, known, ids, sample) if id not in chosen)
        chosen |= dict.fromkeys(list(islice(fitting, NUM_SHOWN)), kind)
    return Timelines(
        format=FORMAT,
        seed=seed,
        num_queries=len(known),
        num_asked_teacher=sum(_find_teacher(each) is not None for each in known.values()),
        sample=sample,
        queries=[known[id].to_timeline(kind) for id, kind in chosen.items()]
        + [known[id].to_timeline("") for id in sample if id not in chosen],
    )


def _read_answers_to(example: Example, texts: AnswerTexts) -> _Answered:
    mine = {name: answers[example.id] for name, answers in texts.items() if example.id in answers}
    return _Answered(example, {name: parse_answer(text) for name, text in mine.items()}, mine)


def _find_teacher(answered: _Answered) -> str | None:
    """The teacher whose answer to this query is the best by its annotation; the first of equals."""
    names = [name for name in answered.texts if name not in (BEFORE, AFTER)]
    return max(names, key=answered.find_iou, default=None)


def _rank(kind: QueryKind, known: Mapping[str, _Answered], ids: Sequence[str], sample: Sequence[str]) -> list[str]:
    """The ids that fit a kind, the best example of it first."""
    if kind == "random":
        return list(sample)
    if kind == "disagreed":
        teachers = {id: _find_teacher(known[id]) for id in ids}
        agreement = {id: known[id].find_agreement(who) for id, who in teachers.items() if who is not None}
        return sorted((id for id, iou in agreement.items() if iou < 1), key=agreement.__getitem__)
    sign = 1 if kind == "improved" else -1
    gain = {
        id: sign * (known[id].find_iou(AFTER) - known[id].find_iou(BEFORE)) for id in ids if BEFORE in known[id].texts
    }
    return sorted((id for id, value in gain.items() if value > 0), key=lambda id: -gain[id])
