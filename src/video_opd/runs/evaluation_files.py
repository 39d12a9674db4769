"""The evaluations of a run: one JSON file each, which may have been damaged since it was written."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from video_opd.errors import DataError
from video_opd.files.older_names import read_json
from video_opd.files.run_records import EvaluationReport

_OF_RUN = re.compile(r"validation-\d{6,}|student-before|student-after|teacher(-\d+)?")
_VALIDATION = re.compile(r"validation-(\d{6,})\.json")
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
        if "miou" not in found["scores"]:
            raise ValueError("it has no mIoU")
        _refuse_wrong_values(found)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not an evaluation", reason=str(error), remedy=remedy) from error
    return dict(found)


def _refuse_wrong_values(found: dict[str, Any]) -> None:
    """Keys of other versions may be there; those of this one have the values that it writes."""
    try:
        report = EvaluationReport.model_validate(found)
    except ValidationError as error:
        place = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))
        raise ValueError(f"its {place} has a value that no evaluation writes") from None
    if not all(map(math.isfinite, report.scores.values())):
        raise ValueError("a score is not a finite number")


def is_of_run(name: str) -> bool:
    """Whether an evaluation of this name is one that a run makes.

    Args:
        name: of its file, without `.json`.
    """
    return _OF_RUN.fullmatch(name) is not None


def list_validations(folder: Path) -> dict[int, Path]:
    """The evaluations on the validation manifest, by the number of steps taken before."""
    found = ((_VALIDATION.fullmatch(path.name), path) for path in folder.glob("validation-*.json"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))
