"""An append-only journal of JSON lines, which survives being killed at any byte.

A line counts once its newline is on the disk. Text after the last newline is an incomplete write: readers ignore it,
and the next writer removes it. A broken line anywhere else was damaged by another program. It is an error, and the
message has its line number.

Lines are strict JSON: NaN and the infinities, which JSON does not have, are written as null. So a diverging loss is a
missing number in the journal, and every reader can read it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from video_opd.errors import DataError, EngineError
from video_opd.files.durable import sync_folder, write_durably
from video_opd.files.older_names import read_json


class Journal:
    """A journal open for appending; a context manager. The run's lock ensures that there is only one writer.

    Opening it removes an incomplete last line, because appending would turn it into a broken line in the middle.

    Args:
        ascii_only: write everything but ASCII as escapes; False: as the characters they are.

    Raises:
        DataError: a line before the last is broken.
        EngineError: the file cannot be opened or repaired.
    """

    def __init__(self, path: Path, *, ascii_only: bool = True) -> None:
        self.path, self.ascii_only = path, ascii_only
        try:
            whole = sum(len(line.content) for line in _read_lines(path))
            self._file = path.open("ab", buffering=0)  # unbuffered: one write is one line, and fsync covers all of it
            self._file.truncate(whole)
            sync_folder(path.parent)
        except OSError as error:
            raise _make_error("opened", path, error) from error

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Add one or several rows. They are on the disk when this returns; if this raises, none of them is in the file.
        If the process is killed during the call, the first of several rows may be in the file.

        Raises:
            EngineError: the disk is full or failing.
            TypeError: a value that JSON has no word for, such as a tensor.
        """
        line = b"".join(make_json_line(row, ascii_only=self.ascii_only) for row in rows)
        whole = os.fstat(self._file.fileno()).st_size
        try:
            written = self._file.write(line)
            if written != len(line):  # a nearly full disk accepts a part of a write and refuses only the next one
                raise OSError(f"only {written} of {len(line)} bytes could be written; the disk is full")
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):  # if this fails too, the next writer removes the incomplete line
                self._file.truncate(whole)
            raise _make_error("written to", self.path, error) from error

    def close(self) -> None:
        """Close the file. Rows are on the disk already."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_json_line(row: Mapping[str, Any], *, ascii_only: bool = True) -> bytes:
    """A row as strict JSON in UTF-8, with its newline.

    Raises:
        TypeError: a value that JSON has no word for.
    """
    text = json.dumps(_replace_not_finite(row), allow_nan=False, ensure_ascii=ascii_only)
    # A lone surrogate has no UTF-8; Python's escape for it happens to be JSON's.
    return text.encode(errors="backslashreplace") + b"\n"


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All complete rows, oldest first; none if the file does not exist, because a journal begins with its first row.

    Raises:
        DataError: a line before the last is broken, or the file cannot be read.
    """
    return list(iterate_journal(path))


def iterate_journal(path: Path) -> Iterator[dict[str, Any]]:
    """`read_journal` one row at a time, for large journals of which only a part is needed.

    Raises:
        DataError: as `read_journal`, when the broken line is reached.
    """
    try:
        for line in _read_lines(path):
            yield line.row
    except OSError as error:
        raise _make_read_error(path, error) from error


def read_journal_after(path: Path, place: int) -> tuple[list[dict[str, Any]], int]:
    """The complete rows from a byte on, and the byte after the last of them, to go on from while the journal grows.

    Args:
        path: the journal, which exists.
        place: the beginning of a line; 0: the first.

    Raises:
        DataError: as `read_journal`.
    """
    try:
        lines = list(_read_lines(path, place))
    except OSError as error:
        raise _make_read_error(path, error) from error
    return [line.row for line in lines], place + sum(len(line.content) for line in lines)


def truncate_journal(path: Path, *, after_step: int) -> int:
    """Remove the rows of steps after `after_step`, and an incomplete last line; rows without a step remain.

    A run that resumes from the checkpoint of step 40 repeats steps 41, 42, …, and the journal would otherwise have them
    twice. The file is replaced as a whole: a crash leaves the old file or the new one.

    Returns:
        How many rows were dropped.

    Raises:
        DataError: a line before the last is broken.
        EngineError: the file cannot be rewritten.
    """
    kept, num_rows = [], 0
    try:
        for line in _read_lines(path):
            num_rows += 1
            if not _is_after(line.row, after_step):
                kept.append(line.content)
        content = b"".join(kept)
        if path.exists() and path.stat().st_size != len(content):
            write_durably(path, content)
    except OSError as error:
        raise _make_error("rewritten", path, error) from error
    return num_rows - len(kept)


class _JournalLine(NamedTuple):
    content: bytes
    """The line as it is in the file, with its newline: rows that are kept are not changed by a byte."""
    row: dict[str, Any]


def _read_lines(path: Path, place: int = 0) -> Iterator[_JournalLine]:
    """The whole lines of a journal from a byte on. The last one may be torn in two ways: cut short or, after a power
    cut, garbage."""
    if not path.exists():
        return
    broken: DataError | None = None
    with path.open("rb") as file:
        file.seek(place)
        for number, content in enumerate(file, start=1):
            if broken is not None:
                raise broken
            try:
                row = read_json(content)
                if not isinstance(row, dict) or not content.endswith(b"\n"):
                    raise ValueError("not a JSON object on a line of its own")
            except ValueError as error:
                before = path.read_bytes()[:place].count(b"\n")
                broken = DataError(
                    f"{path} line {before + number} is broken ({error})",
                    reason="a crash can damage only the last line of a journal, so another program changed this line",
                    remedy="Restore the file from a copy, or delete the line if its row may be lost",
                )
                continue
            yield _JournalLine(content, row)


def _is_after(row: Mapping[str, Any], after_step: int) -> bool:
    step = row.get("step")
    return isinstance(step, int) and step > after_step


def _replace_not_finite(value: Any) -> Any:
    """The same value, with None for every float that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _replace_not_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_not_finite(item) for item in value]
    return value


def _make_read_error(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be read", reason=str(error), remedy="Repair the disk or the permissions, and try again"
    )


def _make_error(what: str, path: Path, error: OSError) -> EngineError:
    return EngineError(
        f"{path} could not be {what}",
        reason=str(error),
        remedy="Free some space or repair the disk, then run the same command: it continues where it stopped",
    )
