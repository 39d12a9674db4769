"""The evaluations of a run: one JSON file each, which may have been damaged since it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video_opd.errors import DataError
from video_opd.files.older_names import read_json

REMOVE_IT = "remove the file and run the same command again: it evaluates again"


def read_evaluation(path: Path, *, remedy: str = REMOVE_IT) -> dict[str, Any]:
    """Read one file of `evaluation/`.

    Args:
        path: the file.
        remedy: what the user can do about a damaged one.

    Raises:
        DataError: it is empty or damaged, or cannot be read.
    """
    try:
        found = read_json(path.read_bytes())
        if not isinstance(found, dict) or not isinstance(found.get("scores"), dict):
            raise ValueError("it has no scores")
        if not isinstance(found["scores"].get("miou"), int | float):
            raise ValueError("it has no mIoU")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not an evaluation", reason=str(error), remedy=remedy) from error
    return dict(found)
