"""Files of annotations and results as they come: every record with the line it stands on, every fault in one sentence.

Text is UTF-8, with or without a byte order mark. JSON is read entry by entry, so that an entry of a large file has a
line, and strictly: NaN, a key given twice in an object and numbers that no float holds are faults here, though Python
would take them.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from video_opd.data.faults import SHOWN, first_fault
from video_opd.data.file_kinds import not_text, packed
from video_opd.data.manifest_rows import kind
from video_opd.data.strict_json import DECODER, StrictError
from video_opd.errors import DataError

_M = TypeVar("_M", bound=BaseModel)
_BLANKS = re.compile(r"[ \t\r\n]*+")


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file."""

    path: Path
    line: int
    """Where it begins, from 1."""
    value: Any
    key: str | None = None
    """Its key, where the file is one JSON object."""

    @property
    def where(self) -> str:
        """File and line, for a sentence."""
        return f"{self.path}, line {self.line}"

    def refuse(self, reason: str, remedy: str = "Correct the entry, or leave it out") -> NoReturn:
        """Say what is wrong with this record.

        Raises:
            DataError: always.
        """
        raise DataError(self.where, reason=reason, remedy=remedy)

    def as_(self, model: type[_M], value: Any = None, called: Mapping[str, str] | None = None) -> _M:
        """The record as a model, or a part of it (`value`).

        Args:
            called: place of a value in the model -> what the file calls it, for the sentence.

        Raises:
            DataError: a key that is missing or a value of the wrong kind.
        """
        value = self.value if value is None else value
        if not isinstance(value, dict):
            self.refuse(f"it is {kind(value)}, not an object with keys")
        try:
            return TypeAdapter(model).validate_python(value)
        except ValidationError as error:
            self.refuse(first_fault(error, called or {}))
        except RecursionError:
            self.refuse("it is nested too deep")


def read_text(path: Path) -> str:
    """A whole file as text, line ends as they are, without a byte order mark.

    Raises:
        DataError: it cannot be read, or is not UTF-8; names the line and the byte.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}", reason="the file cannot be read", remedy="Check the path"
        ) from error
    if found := packed(raw):
        raise DataError(f"{path}", reason=found[0], remedy=found[1])
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}, line 1", reason="the file is UTF-16", remedy="Save it as UTF-8")
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if found := not_text(raw):
            raise DataError(f"{path}", reason=found[0], remedy=found[1]) from None
        raise DataError(
            f"{path}, line {raw.count(10, 0, error.start) + 1}",
            reason=f"byte 0x{raw[error.start]:02x} is not UTF-8; the file may be Latin-1",
            remedy=f"convert it, such as with `iconv -f latin1 -t utf-8 {path.name}`",
        ) from None


def text_lines(path: Path) -> Iterator[Record]:
    """Every line that is not blank, as text without its end."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield Record(path, number, line.rstrip("\r"))


def json_lines(path: Path) -> Iterator[Record]:
    """Every line that is not blank, as the JSON value it holds.

    Raises:
        DataError: at the first line that is not JSON.
    """
    for record in text_lines(path):
        try:
            value, _ = _decode(path, record.value, 0, record.line, whole=True)
        except DataError as error:
            if is_json(record.value) or not is_json(read_text(path)):
                raise
            raise DataError(
                error.cause,
                reason="the file is one JSON value over several lines, where every line should be one",
                remedy="write one object a line, such as with `jq -c '.[]'`",
            ) from error
        yield Record(path, record.line, value)


def is_json(text: str) -> bool:
    """Whether a text is one JSON value as Python takes it."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def json_entries(path: Path, *, unique: bool = False) -> Iterator[Record]:
    """The entries of a file that is one JSON object or one JSON list, each with its line; objects also give the key.

    Args:
        unique: refuse a key of the object that comes twice; otherwise it is given twice, for the caller to say what
            that means.

    Raises:
        DataError: the file is neither, is cut off, or holds something that is not JSON.
    """
    seen: dict[str | None, int] = {}
    text = read_text(path)
    reader = _Reader(path, text)
    opening = reader.take()
    if not opening:
        raise DataError(f"{path}, line 1", reason="the file is empty", remedy="Fetch or write it again")
    if opening not in ("{", "["):
        reader.refuse("it begins neither with `{` nor with `[`")
    closing = "}" if opening == "{" else "]"
    if reader.peek() == closing:
        reader.take()
    else:
        while True:
            line, key = reader.line, None
            if opening == "{":
                key = reader.value()
                if not isinstance(key, str) or reader.take() != ":":
                    reader.refuse('a key and a colon were expected, such as `"name": …`')
            if unique and key in seen:
                Record(path, line, key).refuse(f"the key {str(key)[:SHOWN]!r} is on line {seen[key]} already")
            if key is not None:
                seen[key] = line
            yield Record(path, line, reader.value(), key)
            after = reader.take()
            if after == closing:
                break
            if after != ",":
                reader.refuse(f"a comma or `{closing}` was expected")
    if reader.peek():
        reader.refuse("something follows after the end of the JSON value")


def json_any(path: Path, *, unique: bool = False) -> Iterator[Record]:
    """JSON lines, or the entries of one object or list, whichever the file is.

    It is told by its content: lines where the first is a whole JSON value and more follows. What is one value on one
    line is told by the name: an object in a file called `.jsonl` is a row.
    """
    text = read_text(path).lstrip()
    first, _, rest = text.partition("\n")
    called_lines = path.suffix.lower() in (".jsonl", ".ndjson")
    if not is_json(first):  # a line that is broken is a fault of its own, not one value over several lines
        are_lines = called_lines and not is_json(text)
    else:
        are_lines = bool(rest.strip()) or (called_lines and not first.startswith("["))
    return json_lines(path) if are_lines else json_entries(path, unique=unique)


def table_rows(path: Path) -> Iterator[Record]:
    """The rows of a CSV file as dicts, by the names in its first line.

    Cells are separated by commas; by tabs in a file called `.tsv`; by tabs or semicolons where the header has some and
    no comma, since it would otherwise name a single column.

    Raises:
        DataError: no header, a row with more cells than it has, or quotes that never end.
    """
    text = read_text(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text.partition("\n")[0])
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in rows:
            if header is None:
                if not any(cell.strip() for cell in cells):
                    break
                header = [cell.strip() for cell in cells]
                twice = {name for name, count in Counter(header).items() if name and count > 1}
                if twice:
                    Record(path, 1, cells).refuse(f"the column `{min(twice)}` is there twice", "Rename one of the two")
            elif any(cell.strip() for cell in cells):
                record = Record(path, line, dict(zip(header, cells, strict=False)))
                if len(cells) != len(header):
                    record.refuse(f"it has {len(cells)} cells, and the header has {len(header)}")
                yield record
            line = rows.line_num + 1
    except csv.Error as error:
        Record(path, line, None).refuse(f"it is not CSV: {error}")
    if header is None:
        raise DataError(f"{path}, line 1", reason="there is no header", remedy="Name the columns in the first line")


def _delimiter(header: str) -> str:
    return "," if "," in header else next((sign for sign in ("\t", ";") if sign in header), ",")


class _Reader:
    """A place in a JSON text."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.at = 0
        self._line, self._counted = 1, 0

    @property
    def line(self) -> int:
        """The line of what comes next."""
        self.peek()
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def peek(self) -> str:
        """The next character that is not blank; "" at the end."""
        blanks = _BLANKS.match(self.text, self.at)
        assert blanks is not None
        self.at = blanks.end()
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        """The same, and go past it."""
        character = self.peek()
        self.at += 1
        return character

    def value(self) -> Any:
        """The next JSON value, and go past it."""
        line = self.line
        found, self.at = _decode(self.path, self.text, self.at, line)
        return found

    def refuse(self, reason: str) -> NoReturn:
        self.at = min(self.at, len(self.text))
        if not self.text[self.at :].strip():
            reason, remedy = "the file ends in the middle of the JSON", "The file was cut off: fetch or write it again"
        else:
            remedy = "Give a file of JSON"
        Record(self.path, self.line, None).refuse(reason, remedy)


def _decode(path: Path, text: str, at: int, line: int, *, whole: bool = False) -> tuple[Any, int]:
    try:
        value, end = DECODER.raw_decode(text, at)
    except StrictError as error:
        Record(path, line, None).refuse(str(error))
    except json.JSONDecodeError as error:
        line += text.count("\n", at, error.pos)
        # An unterminated string is reported where it begins, and most often it is the end that is missing.
        if not text[error.pos :].strip() or "Unterminated" in error.msg:
            remedy = "The line or file was cut off: fetch or write it again"
            Record(path, line, None).refuse(f"the JSON ends too early: {error.msg.lower()}", remedy)
        shown = text[error.pos : error.pos + 20].split("\n")[0]
        Record(path, line, None).refuse(f"not JSON: {error.msg.lower()} at {shown!r}", "Give a file of JSON")
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets thousands deep
        Record(path, line, None).refuse("not JSON that can be read: a number is too long or the nesting too deep")
    if whole and text[end:].strip():
        Record(path, line, None).refuse("something follows after the JSON value", "Write one JSON value a line")
    return value, end
