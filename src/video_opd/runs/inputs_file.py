"""Reads and writes `inputs.json` of a run folder."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from video_opd.errors import DataError, explain_write_errors
from video_opd.files.durable import write_durably
from video_opd.files.input_records import FORMAT, RecordedInputs
from video_opd.files.strict_json import load_json

INPUTS_FILE = "inputs.json"


def read_inputs(run: Path) -> RecordedInputs | None:
    """Read which inputs a run was begun with; None where the file is not there.

    Args:
        run: the run folder.

    Raises:
        DataError: the file is damaged, or a newer version has written it.
    """
    path = run / INPUTS_FILE
    try:
        found = load_json(path.read_bytes())
        if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
            raise ValueError(f"its format is {found['format']}, and this version reads up to {FORMAT}")
        return RecordedInputs.model_validate(found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read",
            reason=f"it should say which manifests, models and videos the run was begun with ({_explain(error)})",
            remedy="restore it from a copy; or, if you are certain that they are unchanged, move it away: they are "
            "recorded again as they are",
        ) from error


def write_inputs(run: Path, recorded: RecordedInputs) -> None:
    """Write the file whole or not at all; what it holds is on the disk when this returns.

    Raises:
        ConfigurationError: it cannot be written.
    """
    path = run / INPUTS_FILE
    with explain_write_errors(path):
        write_durably(path, (json.dumps(recorded.to_json(), indent=1) + "\n").encode())


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"])) or "it"
        return f"{place}: {fault['msg']}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
