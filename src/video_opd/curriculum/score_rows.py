"""One line of a file of scores: an example, its answers, and the time they took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from video_opd.curriculum.signals import ScoredAnswer, ScoredExample
from video_opd.errors import DataError
from video_opd.files.run_records import ScoreRow
from video_opd.files.strict_json import SHOWN, name_kind
from video_opd.files.written_record import LARGEST
from video_opd.types import Span

_OF_AN_ANSWER = {field.name for field in fields(ScoredAnswer)}


def make_row(example: ScoredExample, *, seconds: float = 0.0, cpu_seconds: float = 0.0) -> dict[str, Any]:
    """One line of the file."""
    row: dict[str, Any] = {"id": example.id}
    if example.answers:
        row |= {"mean_iou": example.mean_iou, "agreement": example.agreement}
        if (kl := example.reverse_kl()) is not None:
            row |= {"reverse_kl": kl, "reverse_kl_per_token": example.reverse_kl(per_token=True)}
        row["answers"] = [_answer_row(answer) for answer in example.answers]
    else:
        row["unscored"] = example.unscored
    row |= {"spans": list(example.spans), "duration": example.duration, "source": example.source}
    return ScoreRow(**row, seconds=seconds, cpu_seconds=cpu_seconds).to_json()


def _answer_row(answer: ScoredAnswer) -> dict[str, Any]:
    row = asdict(answer) | {"span": list(answer.span) if answer.span else None}
    return {name: value for name, value in row.items() if name != "reverse_kl" or value is not None}


def read_example(row: Mapping[str, Any], path: Path) -> ScoredExample:
    """Read the scores of an example from a line.

    Raises:
        DataError: a key is missing, or a value is not of its kind.
    """
    try:
        answers = tuple(_read_answer(answer) for answer in _require(row.get("answers", []), "answers", list))
        duration = row["duration"]
        for clock in ("seconds", "cpu_seconds"):
            _require_number(row.get(clock, 0.0), clock)
        return ScoredExample(
            id=_require(row["id"], "id", str),
            spans=tuple(_read_span(span) for span in _require(row["spans"], "spans", list)),
            duration=None if duration is None else _require_number(duration, "duration"),
            source=_require(row["source"], "source", str),
            answers=answers,
            unscored=_require(row.get("unscored", ""), "unscored", str),
        )
    except (KeyError, ValueError) as error:
        reason = f"the key `{error.args[0]}` is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path}: the scores of {str(row.get('id'))[:SHOWN]!r} cannot be used",
            reason=reason,
            remedy="score again into a new file",
        ) from error


def _read_answer(answer: object) -> ScoredAnswer:
    """One answer.

    Raises:
        KeyError: a key is missing.
        ValueError: a value is not of its kind; with one sentence.
    """
    values = dict(_require(answer, "answers", dict))
    span, reverse_kl = values["span"], values.get("reverse_kl")
    num_tokens = _require(values["num_tokens"], "num_tokens", int)
    if num_tokens < 1:
        raise ValueError("an answer has no tokens")
    if strange := values.keys() - _OF_AN_ANSWER:
        raise ValueError(f"an answer has the unknown key {min(strange)[:SHOWN]!r}")
    return ScoredAnswer(
        text=_require(values["text"], "text", str),
        span=None if span is None else _read_span(span),
        iou=_require_number(values["iou"], "iou"),
        logprob=_require_number(values["logprob"], "logprob"),
        num_tokens=num_tokens,
        sampled=_require(values["sampled"], "sampled", bool),
        reverse_kl=None if reverse_kl is None else _require_number(reverse_kl, "reverse_kl"),
    )


def _read_span(value: object) -> Span:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("a span is not a pair of numbers")
    return Span(_require_number(value[0], "span"), _require_number(value[1], "span"))


_T = TypeVar("_T")


def _require(value: object, name: str, kind: type[_T]) -> _T:
    """Return a value of its kind; true and false are no numbers."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"`{name}` is {name_kind(value)}")
    return value


def _require_number(value: object, name: str) -> float:
    """Return a number that can be calculated with."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"`{name}` is {name_kind(value)}, not a number")
    if not -LARGEST < value < LARGEST:
        raise ValueError(f"`{name}` is {str(value)[:SHOWN]}, not a number to calculate with")
    return value
