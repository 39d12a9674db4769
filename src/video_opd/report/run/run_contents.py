"""What a run folder holds, read with the assumption that any part of it may be missing, unfinished or wrong.

A report is most wanted when something went wrong, so nothing found in here stops it: what cannot be read is left out,
and `notices` says so. Only a folder that is no run at all is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_opd.errors import ConfigurationError, DataError
from video_opd.report.run.curriculum_contents import CurriculumContents, read_curriculum
from video_opd.report.values import interval, listed, mapping, number, span, spans
from video_opd.runs import RunDirectory, iterate_journal, read_journal, read_json
from video_opd.sample_size import MIN_QUERIES
from video_opd.types import Span

_NUM_EXAMPLES_HELD = 8
_NUM_PAIRS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One file of `evaluation/`: how somebody did on a fixed set of queries."""

    name: str
    """`student-before`, `student-after`, `teacher` or of several `teacher-1` …, or `validation-000020`."""
    step: int | None
    split: str
    num_queries: int | None
    scores: dict[str, float]
    """By metric, each from 0 to 1."""
    intervals: dict[str, tuple[float, float]]
    """By metric: the 95 % interval of the score; none where there are fewer than `MIN_QUERIES` queries."""
    constant_span: Span | None
    """The one span that, given as the answer to every query, does best; seconds."""
    constant_miou: float | None
    convention: dict[str, str]
    """How the numbers were computed, in the evaluator's words."""

    @property
    def miou(self) -> float:
        """Mean temporal IoU, 0 to 1; what has none is not an evaluation."""
        return self.scores["miou"]

    @property
    def is_small(self) -> bool:
        """It has so few queries that no verdict can be had from it."""
        return self.num_queries is not None and self.num_queries < MIN_QUERIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token of an answer; the numbers are in nats, None where they were not recorded."""

    text: str
    advantage: float | None
    sampler_logprob: float | None
    teacher_logprob: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledAnswer:
    """One row of `answers.jsonl`."""

    step: int
    id: str
    query: str
    duration: float
    """Seconds; 0 if unknown."""
    annotated: tuple[Span, ...]
    spans: tuple[Span, ...]
    """Empty where the answer names no span; `reason` says why."""
    reason: str
    iou: float | None
    truncated: bool
    suspended: bool
    """It was good enough, so that the teacher was not asked and the student not trained on it."""
    answer: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContents:
    """Everything the report is made of."""

    name: str
    recipe: str | None
    environments: dict[str, str]
    """By file name, oldest first; the texts as they stand in the folder."""
    rows: list[dict[str, Any]]
    """Of `metrics.jsonl`, one a step, in the order of steps. Any key but "step" may be absent."""
    evaluations: list[Evaluation]
    examples: list[tuple[SampledAnswer, ...]]
    """Answers to show, grouped by query: the first answer and, if the query came again, the latest one."""
    notices: list[str]
    curriculum: CurriculumContents = field(default_factory=CurriculumContents)
    """How the examples were chosen; empty where all of them were taken."""

    def series(self, key: str) -> list[tuple[float, float]]:
        """(step, value) wherever the value is a finite number; a dotted key leads into the tables of a row."""
        values = ((row["step"], number(_at(row, key))) for row in self.rows)
        return [(float(step), value) for step, value in values if value is not None]

    def total(self, key: str) -> float:
        """The sum over all steps."""
        return sum(value for _, value in self.series(key))


def _at(row: Any, key: str) -> Any:
    """What stands under a dotted key, None where there is nothing."""
    for part in key.split("."):
        row = row.get(part) if isinstance(row, Mapping) else None
    return row


def read_run(path: Path) -> RunContents:
    """Read a run folder.

    Raises:
        ConfigurationError: the folder holds no run.
    """
    run = RunDirectory(path)
    if not any(part.exists() for part in (run.recipe, run.metrics, run.evaluation)):
        raise ConfigurationError(
            f"{path} is not the folder of a run",
            reason="it holds neither a recipe.toml nor a metrics.jsonl nor an evaluation folder",
            remedy="Name the folder that was given to `video-opd train --out`",
        )
    notices: list[str] = []
    try:
        rows = {row["step"]: row for row in read_journal(run.metrics) if _is_step(row.get("step"))}
    except DataError as error:
        rows = {}
        notices.append(f"The curves are left out: {error}")
    try:
        examples = _choose_examples(_answers(iterate_journal(run.answers)))
    except DataError as error:
        examples = []
        notices.append(f"The examples are left out: {error}")
    return RunContents(
        name=path.resolve().name,
        recipe=_text(run.recipe),
        environments={file.name: _text(file) or "" for file in _environments(run)},
        rows=[rows[step] for step in sorted(rows)],
        evaluations=_read_evaluations(run.evaluation, notices),
        examples=examples,
        curriculum=read_curriculum(run.rounds, notices),
        notices=notices,
    )


def _is_step(value: object) -> bool:
    return isinstance(value, int) and number(value) is not None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _environments(run: RunDirectory) -> list[Path]:
    """environment.json, environment-2.json, … environment-10.json, in that order."""
    return sorted(run.path.glob("environment*.json"), key=lambda path: (len(path.name), path.name))


def _read_evaluations(folder: Path, notices: list[str]) -> list[Evaluation]:
    evaluations = []
    for path in sorted(folder.glob("*.json")):
        try:
            evaluations.append(as_evaluation(path.stem, mapping(read_json(path.read_bytes()))))
        except (OSError, ValueError) as error:
            notices.append(f"evaluation/{path.name} is left out: {error}.")
    return evaluations


def as_evaluation(stem: str, found: Mapping[str, Any]) -> Evaluation:
    """What an evaluation said, as far as it can be understood.

    Args:
        stem: its name, if it does not say another.

    Raises:
        ValueError: without an mIoU it is none.
    """
    scores = {key: number(value) for key, value in mapping(found.get("scores")).items()}
    num_queries = scores.pop("num_queries", None)
    if scores.get("miou") is None:
        raise ValueError("it holds no mIoU")
    intervals = {key: interval(value) for key, value in mapping(found.get("intervals")).items()}
    if num_queries is not None and num_queries < MIN_QUERIES:
        intervals = {}  # earlier versions wrote some
    constant = mapping(found.get("best_constant"))
    step = number(found.get("step"))
    return Evaluation(
        name=str(found.get("name", stem)),
        step=None if step is None else int(step),
        split=str(found.get("split", "")),
        num_queries=None if num_queries is None else int(num_queries),
        scores={key: value for key, value in scores.items() if value is not None},
        intervals={key: ends for key, ends in intervals.items() if ends is not None},
        constant_span=span(constant.get("span")),
        constant_miou=number(constant.get("miou")),
        convention={
            str(key): value if isinstance(value, str) else json.dumps(value)
            for key, value in mapping(found.get("convention")).items()
        },
    )


def _answers(rows: Iterable[Mapping[str, Any]]) -> Iterable[SampledAnswer]:
    for row in rows:
        if not _is_step(row.get("step")):
            continue
        yield SampledAnswer(
            step=row["step"],
            id=str(row.get("id", "")),
            query=str(row.get("query", "")),
            duration=number(row.get("duration")) or 0.0,
            annotated=spans(row.get("annotated")),
            spans=spans(row.get("spans")),
            reason=str(row.get("reason") or ""),
            iou=number(row.get("iou")),
            truncated=row.get("truncated") is True,
            suspended=row.get("suspended") is True,
            answer=str(row.get("answer", "")),
            tokens=_tokens(row),
        )


def _tokens(row: Mapping[str, Any]) -> tuple[Token, ...]:
    """Tokens with their numbers. A list of another length than the tokens' belongs to something else: not shown."""
    texts = [str(text) for text in listed(row.get("tokens"))]
    columns = []
    for key in ("advantage", "sampler_logprobs", "teacher_logprobs"):
        values = [number(value) for value in listed(row.get(key))]
        columns.append(values if len(values) == len(texts) else [None] * len(texts))
    return tuple(
        Token(text=text, advantage=advantage, sampler_logprob=sampler, teacher_logprob=teacher)
        for text, advantage, sampler, teacher in zip(texts, *columns, strict=True)
    )


def _choose_examples(answers: Iterable[SampledAnswer]) -> list[tuple[SampledAnswer, ...]]:
    """The first queries of the first step, each with the latest answer to it; if none came again, of the last step too.

    Taken in the order in which they were sampled, so that nobody can be suspected of having picked the pretty ones.
    """
    early: dict[str, SampledAnswer] = {}
    again: dict[str, SampledAnswer] = {}
    late: dict[str, SampledAnswer] = {}
    first_step: int | None = None
    last_step = -1
    for answer in answers:
        first_step = answer.step if first_step is None else first_step
        if answer.step > last_step:
            late, last_step = {}, answer.step
        if answer.step == first_step and len(early) < _NUM_EXAMPLES_HELD:
            early.setdefault(answer.id, answer)
        elif answer.id in early and answer.step > again.get(answer.id, early[answer.id]).step:
            again[answer.id] = answer
        if answer.step == last_step and len(late) < _NUM_EXAMPLES_HELD:
            late.setdefault(answer.id, answer)
    if last_step == first_step:
        late = {}
    pairs = [(first, again[id]) for id, first in early.items() if id in again]
    if len(pairs) >= _NUM_PAIRS:
        return [*pairs[:_NUM_PAIRS]]
    return [(answer,) for answer in [*list(early.values())[:_NUM_PAIRS], *list(late.values())[:_NUM_PAIRS]]]
