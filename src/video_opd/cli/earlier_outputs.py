"""How an earlier output of a command is recognised. A file of another kind is never replaced."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from video_opd.files.strict_json import load_json

_MANIFEST = ["id", "video", "query", "spans"]
_SELECTION = {"id", "tau", "sigma", "delta", "kept", "why"}


class Kind(Enum):
    """The kind of file that a command writes with `--out`. The value is its name in messages."""

    MANIFEST = "a manifest as this program writes it"
    PREDICTIONS = "a file of predictions"
    ANSWERS = "a file of answers to a benchmark"
    SCORES = "a file of scores"
    SELECTION = "a selection"
    PAIRS = "a file of overlapping pairs"
    PICTURE = "a picture or page of this program"

    def is_in(self, path: Path) -> bool:
        """Whether a file is of this kind. All rows are checked; unfinished answers are recognised by the file beside
        them."""
        if self is Kind.PICTURE:
            from video_opd.report.page import is_page

            return is_page(path)
        if self in (Kind.PREDICTIONS, Kind.ANSWERS):
            from video_opd.eval.answer_file import is_begun

            if is_begun(path):
                return True
        try:
            return all(_OF_A_ROW[self](number, row, line) for number, (line, row) in enumerate(_read_rows(path)))
        except (OSError, ValueError, RecursionError):
            return False


def _read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in file:
            row = load_json(line)
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
            yield line, row


def _is_manifest_row(_: int, row: dict[str, Any], line: str) -> bool:
    """Whether this program wrote the row, byte for byte. A manifest that was made by hand is never replaced."""
    return list(row)[:4] == _MANIFEST and "clip" in row and json.dumps(row, ensure_ascii=False) + "\n" == line


def _is_score_header(found: object) -> bool:
    """Whether the first row is the header of our scores. The key `scores` alone is not enough: many programs have
    it."""
    return isinstance(found, dict) and found.keys() >= {"format", "model_sha256", "manifest_sha256"}


_OF_A_ROW: dict[Kind, Callable[[int, dict[str, Any], str], bool]] = {
    Kind.MANIFEST: _is_manifest_row,
    Kind.PREDICTIONS: lambda _, row, __: list(row)[:3] == ["id", "answer", "spans"],
    Kind.ANSWERS: lambda _, row, __: list(row)[:4] == ["id", "video", "categories", "right"],
    Kind.SCORES: lambda number, row, _: number > 0 or _is_score_header(row.get("scores")),
    Kind.SELECTION: lambda _, row, __: row.keys() >= _SELECTION,
    Kind.PAIRS: lambda _, row, __: list(row)[:4] == ["id", "other_id", "iou", "same_query"],
}
"""Every line of the file as (number, row, line)."""
