"""One line of a file of scores: an example, its answers, and the time they took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from video_opd.curriculum.packed_rows import PackedRows
from video_opd.curriculum.signals import ScoredAnswer, ScoredExample
from video_opd.errors import DataError
from video_opd.files.run_records import ScoreRow


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


def read_row(row: Mapping[str, Any], rows: PackedRows, path: Path) -> None:
    """Add the scores of an example from a line of a file.

    Args:
        row: the line.
        rows: those of the lines before.
        path: of the file.

    Raises:
        DataError: the line is not valid, or an IoU or a log-prob is not a number.
    """
    try:
        rows.add_row(row)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: the scores of {row.get('id')!r} cannot be used",
            reason=f"{type(error).__name__}: {error}",
            remedy="score again into a new file",
        ) from error
