"""One line of a file of scores: an example, its answers, and the time they took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from video_opd.curriculum.packed_rows import PackedRows
from video_opd.curriculum.signals import ScoredAnswer, ScoredExample
from video_opd.errors import DataError
from video_opd.files.run_records import ScoreRow
from video_opd.files.strict_json import SHOWN, name_kind
from video_opd.files.written_record import LARGEST

_OF_AN_ANSWER = tuple(field.name for field in fields(ScoredAnswer))
_USUAL_KEYS = {*_OF_AN_ANSWER} - {"reverse_kl"}


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
    row = {name: getattr(answer, name) for name in _OF_AN_ANSWER} | {"span": list(answer.span) if answer.span else None}
    return {name: value for name, value in row.items() if name != "reverse_kl" or value is not None}


def read_row(row: Mapping[str, Any], rows: PackedRows, path: Path) -> None:
    """Add the scores of an example from a line of a file.

    Args:
        row: the line.
        rows: those of the lines before.
        path: of the file.

    Raises:
        DataError: a key is missing, or a value is not of its kind.
    """
    try:
        _check_row(row)
        rows.add_row(row)
    except (KeyError, ValueError) as error:
        reason = f"the key `{error.args[0]}` is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path}: the scores of {str(row.get('id'))[:SHOWN]!r} cannot be used",
            reason=reason,
            remedy="score again into a new file",
        ) from error


def _check_row(row: Mapping[str, Any]) -> None:
    """Check what `PackedRows` does not.

    Raises:
        KeyError: a key is missing.
        ValueError: a value is not of its kind; with one sentence.
    """
    _require(row["id"], "id", str)
    for answer in _require(row.get("answers", []), "answers", list):
        _check_answer(answer)
    if (duration := row["duration"]) is not None:
        _require_number(duration, "duration")
    for clock in ("seconds", "cpu_seconds"):
        _require_number(row.get(clock, 0.0), clock)
    for span in _require(row["spans"], "spans", list):
        _check_span(span)
    _require(row["source"], "source", str)
    _require(row.get("unscored", ""), "unscored", str)


def _check_answer(answer: object) -> None:
    if _is_plain_answer(answer):
        return
    values = _require(answer, "answers", dict)
    num_tokens = _require(values["num_tokens"], "num_tokens", int)
    if not 1 <= num_tokens < 2**53:
        raise ValueError(f"an answer has {str(num_tokens)[:SHOWN]} tokens")
    if strange := values.keys() - _OF_AN_ANSWER:
        raise ValueError(f"an answer has the unknown key {min(strange)[:SHOWN]!r}")
    if (span := values["span"]) is not None:
        _check_span(span)
    for name in ("iou", "logprob"):
        _require_number(values[name], name)
    if (reverse_kl := values.get("reverse_kl")) is not None:
        _require_number(reverse_kl, "reverse_kl")
    _require(values["text"], "text", str)
    _require(values["sampled"], "sampled", bool)


def _is_plain_answer(answer: Any) -> bool:
    """Whether there is nothing to say about an answer, as of nearly all; it is asked first because it is quick."""
    if type(answer) is not dict or len(answer) != len(_USUAL_KEYS) or not answer.keys() >= _USUAL_KEYS:
        return False
    start, end = (0.0, 0.0) if answer["span"] is None else _take_pair(answer["span"])
    numbers = start, end, answer["iou"], answer["logprob"]
    return (
        all(type(number) is float and -LARGEST < number < LARGEST for number in numbers)
        and type(answer["num_tokens"]) is int
        and 1 <= answer["num_tokens"] < 2**53
        and type(answer["text"]) is str
        and type(answer["sampled"]) is bool
    )


def _take_pair(span: Any) -> tuple[Any, Any]:
    return (span[0], span[1]) if type(span) is list and len(span) == 2 else (None, None)


def _check_span(value: object) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("a span is not a pair of numbers")
    for end in value:
        _require_number(end, "span")


_T = TypeVar("_T")


def _require(value: object, name: str, kind: type[_T]) -> _T:
    """Return a value of its kind; true and false are no numbers."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"`{name}` is {name_kind(value)}")
    return value


def _require_number(value: object, name: str) -> None:
    """Refuse what cannot be calculated with."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"`{name}` is {name_kind(value)}, not a number")
    if not -LARGEST < value < LARGEST:
        raise ValueError(f"`{name}` is {str(value)[:SHOWN]}, not a number to calculate with")
