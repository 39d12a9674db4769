"""By what an earlier output of a command is told. A file of another kind is never replaced."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

_MANIFEST = ["id", "video", "query", "spans"]
_SELECTION = {"id", "tau", "sigma", "delta", "kept", "why"}


class Kind(Enum):
    """What a command writes into the file named by `--out`; the value is how it is called."""

    MANIFEST = "a manifest as this program writes it"
    PREDICTIONS = "a file of predictions"
    ANSWERS = "a file of answers to a benchmark"
    SCORES = "a file of scores"
    SELECTION = "a selection"
    PAIRS = "a file of overlapping pairs"
    PICTURE = "a picture or page of this program"

    def is_in(self, path: Path) -> bool:
        """Whether a file is of this kind, by every row of it; answers that were begun here, by the file beside them."""
        if self is Kind.PICTURE:
            from video_opd.report.page import is_page

            return is_page(path)
        if self in (Kind.PREDICTIONS, Kind.ANSWERS):
            from video_opd.eval.answer_file import is_begun

            if is_begun(path):
                return True
        try:
            return all(_OF_A_ROW[self](number, row, line) for number, (line, row) in enumerate(_rows(path)))
        except (OSError, ValueError, RecursionError):
            return False


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in file:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
            yield line, row


def _is_manifest_row(_: int, row: dict[str, Any], line: str) -> bool:
    """To the letter as it is written here: a manifest that was made by hand is kept."""
    return list(row)[:4] == _MANIFEST and "clip" in row and json.dumps(row, ensure_ascii=False) + "\n" == line


def _is_score_header(found: object) -> bool:
    """The first row says of what the scores are; many programs have a key `scores`."""
    return isinstance(found, dict) and found.keys() >= {"format", "model_sha256", "manifest_sha256"}


_OF_A_ROW: dict[Kind, Callable[[int, dict[str, Any], str], bool]] = {
    Kind.MANIFEST: _is_manifest_row,
    Kind.PREDICTIONS: lambda _, row, __: list(row)[:3] == ["id", "answer", "spans"],
    Kind.ANSWERS: lambda _, row, __: list(row)[:4] == ["id", "video", "categories", "right"],
    Kind.SCORES: lambda number, row, _: number > 0 or _is_score_header(row.get("scores")),
    Kind.SELECTION: lambda _, row, __: row.keys() >= _SELECTION,
    Kind.PAIRS: lambda _, row, __: list(row)[:4] == ["id", "other_id", "iou", "same_query"],
}
"""By number, row and line."""
