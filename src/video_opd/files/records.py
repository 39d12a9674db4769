"""Read files of annotations and results: every record has its line, and every error is one sentence.

Text is UTF-8, with or without a byte order mark. JSON is read entry by entry, so that an entry of a large file has a
line. It is read strictly: NaN, a repeated key in an object and numbers that do not fit a float are errors here, though
Python accepts them.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NoReturn

from video_opd.errors import DataError
from video_opd.files.file_kinds import explain_not_text, explain_packed
from video_opd.files.record import Record
from video_opd.files.strict_json import DECODER, SHOWN, StrictError, load_json, refuse_deep

_BLANKS = re.compile(r"[ \t\r\n]*+")


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
    if found := explain_packed(raw):
        raise DataError(f"{path}", reason=found[0], remedy=found[1])
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}, line 1", reason="the file is UTF-16", remedy="Save it as UTF-8")
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if found := explain_not_text(raw):
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


def json_rows(path: Path) -> Iterator[Record]:
    """The rows of a file: a value a line, the elements of one list, objects one after another over several lines (as
    `jq` prints them), or one object alone, which is one row.

    Raises:
        DataError: at the first row that is not JSON.
    """
    text = read_text(path)
    form = recognise_form(text)
    if form == "list":
        return json_entries(path)
    return json_lines(path) if form == "lines" else _read_stream(path, text)


def json_lines(path: Path) -> Iterator[Record]:
    """Every line that is not blank, as the JSON value it holds.

    Raises:
        DataError: at the first line that is not JSON.
    """
    for record in text_lines(path):
        value, _ = _decode(path, record.value, 0, record.line, whole=True)
        yield Record(path, record.line, value)


def _read_stream(path: Path, text: str) -> Iterator[Record]:
    """JSON values one after another, each beginning on a line of its own."""
    reader = _Reader(path, text)
    while reader.peek():
        line, value, end = reader.line, reader.take_value(), reader.at
        yield Record(path, line, value)
        if reader.peek() and "\n" not in text[end : reader.at]:
            Record(path, line, None).refuse("something follows after the JSON value", "Write one JSON value a line")


def is_json(text: str) -> bool:
    """Whether a text is one JSON value as Python takes it."""
    try:
        load_json(text)
    except (ValueError, RecursionError):
        return False
    return True


def json_entries(path: Path, *, unique: bool = False, under: str | None = None) -> Iterator[Record]:
    """The entries of a file that is one JSON object or one JSON list, each with its line; objects also give the key.

    Args:
        unique: refuse a key of the object that comes twice; otherwise it is given twice, for the caller to say what
            that means.
        under: a key whose value, if it is an object or a list, is given by its entries too, in place of the whole.

    Raises:
        DataError: the file is neither, is cut off, or holds something that is not JSON.
    """
    reader = _Reader(path, read_text(path))
    if not reader.peek():
        raise DataError(f"{path}, line 1", reason="the file is empty", remedy="Fetch or write it again")
    if reader.peek() not in ("{", "["):
        reader.refuse("it begins neither with `{` nor with `[`")
    yield from _read_entries(reader, unique, under)
    if reader.peek():
        reader.refuse("there is more text after the end of the JSON value")


def _read_entries(
    reader: _Reader, unique: bool, under: str | None = None, parent: str | None = None
) -> Iterator[Record]:
    """Read the entries of the object or list that begins here, and go past it."""
    path, seen = reader.path, dict[str | None, int]()
    opening = reader.take()
    closing = "}" if opening == "{" else "]"
    if reader.peek() == closing:
        reader.take()
    else:
        while True:
            line, key = reader.line, None
            if opening == "{":
                key = reader.take_value()
                if not isinstance(key, str) or reader.take() != ":":
                    reader.refuse('a key and a colon were expected, such as `"name": …`')
            if unique and key in seen:
                Record(path, line, key).refuse(f"the key {str(key)[:SHOWN]!r} is on line {seen[key]} already")
            if key is not None:
                seen[key] = line
            if key is not None and key == under and reader.peek() in ("{", "["):
                yield from _read_entries(reader, unique, parent=key)
            else:
                yield Record(path, line, reader.take_value(), key, parent)
            after = reader.take()
            if after == closing:
                break
            if after != ",":
                reader.refuse(f"a comma or `{closing}` was expected")


def json_any(path: Path, *, unique: bool = False, row: str = "") -> Iterator[Record]:
    """The rows of a file (see `json_rows`), or the entries of one object, whichever the file is.

    The content decides. For one object on one line the name decides: in a file called `.jsonl` it is a row.

    Args:
        unique: refuse a key of the object that comes twice.
        row: a key that rows have and no such object; one object that has it is a row whatever the name.
    """
    text = read_text(path)
    form = recognise_form(text)
    if form == "object" and row and row in _list_keys(text):
        return json_rows(path)
    called_lines = path.suffix.lower() in (".jsonl", ".ndjson")
    if form == "object" and not (called_lines and "\n" not in text.strip()):
        return json_entries(path, unique=unique)
    if form == "lines" and not called_lines and _is_one_broken_value(text):
        return json_entries(path, unique=unique)
    return json_rows(path)


def json_by_key(path: Path, *, row: str = "") -> Iterator[Record]:
    """The entries of one object, or of several objects of one kind: a line each, or in a list.

    What is no such object is given as it is, without a key; `row` as for `json_any`.

    Raises:
        DataError: a key that comes twice, or as `json_any`.
    """
    seen: dict[str, int] = {}
    for record in json_any(path, unique=True, row=row):
        value = record.value
        inner = record.key is None and isinstance(value, dict) and value
        if not inner or not all(isinstance(entry, dict) for entry in value.values()):
            yield record
            continue
        for key, entry in value.items():
            if key in seen:
                record.refuse(f"the key {key[:SHOWN]!r} is on line {seen[key]} already")
            seen[key] = record.line
            yield Record(path, record.line, entry, key)


def recognise_form(text: str) -> Literal["lines", "list", "object", "stream"]:
    """The form of the rows in a file. A broken line is an error, not a value over several lines."""
    text = text.strip()
    first, _, rest = text.partition("\n")
    if rest and is_json(first):
        return "lines"
    if text.startswith("["):
        return "list"
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return "lines"
    after = text[end:]
    if not after:
        return "object"
    blanks = _BLANKS.match(after)
    assert blanks is not None
    return "stream" if "\n" in blanks[0] and after[blanks.end() :].startswith("{") else "lines"


def _list_keys(text: str) -> set[str]:
    try:
        value = load_json(text)
    except (ValueError, RecursionError):
        return set()
    return set(value) if isinstance(value, dict) else set()


def _is_one_broken_value(text: str) -> bool:
    return not is_json(text.strip().partition("\n")[0])


def table_rows(path: Path) -> Iterator[Record]:
    """The rows of a CSV file as dicts, by the names in its first line.

    Cells are separated by commas; by tabs in a file called `.tsv`; by tabs or semicolons where the header has some and
    no comma, since it would otherwise name a single column.

    Raises:
        DataError: no header, a row with more cells than it has, or quotes that never end.
    """
    text = read_text(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _find_delimiter(text.partition("\n")[0])
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
        raise DataError(f"{path}, line 1", reason="the file has no header", remedy="Name the columns in the first line")


def _find_delimiter(header: str) -> str:
    return "," if "," in header else next((sign for sign in ("\t", ";") if sign in header), ",")


class _Reader:
    """A place in a JSON text."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.at = 0
        self._line, self._counted = 1, 0

    @property
    def line(self) -> int:
        """The line of the next character."""
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
        """Return the next character that is not blank, and go past it."""
        character = self.peek()
        self.at += 1
        return character

    def take_value(self) -> Any:
        """Return the next JSON value, and go past it."""
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
        refuse_deep(value, text, at, end)
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
