"""From a result file to its rows: which of the table's formats a file has, and what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video_opd.errors import DataError
from video_opd.eval.scorers import RESULT_FORMATS
from video_opd.eval.scorers._result_rows import ResultRow
from video_opd.files.first_record import read_first_line
from video_opd.files.records import is_json, json_entries, read_text
from video_opd.files.strict_json import load_json


def read_results(path: Path, format: str | None = None) -> tuple[str, list[ResultRow]]:
    """Read a result file.

    Args:
        path: the file.
        format: None: told by its first record.

    Raises:
        DataError: a file that cannot be read, that is of another format, or a record that is wrong.
    """
    found = find_format(path, format)
    return found, read_rows(path, found)


def find_format(path: Path, format: str | None = None) -> str:
    """The format of a result file, by its first record.

    Args:
        path: the file.
        format: that it should have; None: any.

    Raises:
        DataError: a file that cannot be read, or that is of another format.
    """
    looks_like = recognise_format(path)
    found = format or looks_like or "ours"
    if found == "ours" and looks_like is None and (first := _read_first_value(path)) is not None:
        _refuse_unknown(path, first)
    if looks_like not in (None, found):
        raise DataError(
            f"{path} is not in the format {found}",
            reason=f"it looks like the format {looks_like}",
            remedy=f"give `--format {looks_like}`, or leave it out",
        )
    return found


def read_rows(path: Path, found: str) -> list[ResultRow]:
    """The rows of a result file.

    Args:
        path: the file.
        found: its format.

    Raises:
        DataError: there are none, or one is wrong.
    """
    rows = list(RESULT_FORMATS[found].read(path))
    if not rows and found != "ours":  # of ours, that none is about an annotated query is said elsewhere
        raise DataError(f"{path}", reason="it holds no predictions", remedy="Check that it was written to the end")
    return rows


def _refuse_unknown(path: Path, first: Any) -> None:
    """Say of a record that no format has what it holds and what would be read; not of one that is nearly ours."""
    if not isinstance(first, dict) or not first or {"answer", "spans"} & first.keys():
        return
    shown = ", ".join(f"`{str(key)[:40]}`" for key in list(first)[:6])
    raise DataError(
        f"{path}: its first row has the keys {shown}",
        reason='it has no "id", and no other format of results that is read here has these',
        remedy='write rows like {"id": "a1", "answer": "4.0 - 9.0 seconds"}, or give a file of one of '
        f"{', '.join(name for name in RESULT_FORMATS if name != 'ours')} (docs/DATA.md says what each looks like)",
    )


def recognise_format(path: Path) -> str | None:
    """What format the first record of a file has; None where it has none of them.

    Raises:
        DataError: the file cannot be read, or is not JSON at all.
    """
    value = _read_first_value(path)
    if not isinstance(value, dict) or not value:
        return None
    asked = sorted(RESULT_FORMATS, key=lambda name: -RESULT_FORMATS[name].precedence)
    return next((name for name in asked if RESULT_FORMATS[name].is_like(value)), None)


def _read_first_value(path: Path) -> Any:
    """The first line as a value, or the first entry of JSON over many lines. NaN and the like pass here, so that what
    is wrong with a record is said by the reader of its format."""
    if (record := read_first_line(path)) is not None:
        return record.value
    text = read_text(path).lstrip()
    first, _, _ = text.partition("\n")
    try:
        value = load_json(first)
    except (ValueError, RecursionError):
        if not first or (path.suffix.lower() in (".jsonl", ".ndjson") and not is_json(text)):
            return None
        entry = next(json_entries(path), None)
        return None if entry is None else entry.value if entry.key is None else {entry.key: entry.value}
    return value[0] if isinstance(value, list) and value else value
