"""One line of a file of scores: an example, its answers, and the time they took."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from video_opd.curriculum.signals import ScoredAnswer, ScoredExample
from video_opd.errors import DataError
from video_opd.files.run_records import ScoreRow
from video_opd.types import Span


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
        DataError: the line is not valid, or an IoU or a log-prob is not a number.
    """
    try:
        answers = tuple(
            ScoredAnswer(**{**answer, "span": Span(*answer["span"]) if answer["span"] else None})
            for answer in row.get("answers", ())
        )
        example = ScoredExample(
            id=row["id"],
            spans=tuple(Span(*span) for span in row["spans"]),
            duration=row["duration"],
            source=row["source"],
            answers=answers,
            unscored=row.get("unscored", ""),
        )
        numbers = [number for answer in answers for number in (answer.iou, answer.logprob, answer.num_tokens)]
        numbers += [answer.reverse_kl for answer in answers if answer.reverse_kl is not None]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("an IoU or a log-prob that is not a number")
        if not isinstance(example.id, str) or any(answer.num_tokens < 1 for answer in answers):
            raise ValueError("an id that is no text, or an answer without tokens")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: the scores of {row.get('id')!r} cannot be used",
            reason=f"{type(error).__name__}: {error}",
            remedy="score again into a new file",
        ) from error
    return example
