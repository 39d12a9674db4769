"""One row of a manifest: from bytes to an `Example`, with all problems of the row."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from video_opd.data.query_words import find_oddities
from video_opd.data.video.video_sampling import DURATION_TOLERANCE_S, MAX_FRAME_RATE, MIN_FRAME_RATE
from video_opd.files.file_kinds import explain_not_text, explain_packed
from video_opd.files.strict_json import DECODER, StrictError, name_kind, refuse_deep
from video_opd.types import Example, Span

REQUIRED_KEYS = ("id", "video", "query", "spans")
OPTIONAL_KEYS = ("duration", "source", "clip", "frame_rate")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
"""`https:`, `file:`, and the drive in `C:`."""

_CORRECT = "Correct the row, or leave it out"


@dataclass(frozen=True, slots=True)
class Fault:
    """One problem of a row."""

    message: str
    """One sentence."""
    remedy: str = _CORRECT
    severity: Literal["error", "warning"] = "error"


def row_from_line(raw: bytes, offset: int, *, first: bool) -> dict[str, Any] | Fault | None:
    """Decode one line.

    Args:
        raw: the line with its end.
        offset: where it begins in the file, in bytes.
        first: whether it is the first line, where a byte order mark is allowed.

    Returns:
        The JSON object, or why it is none, or None for a blank line.
    """
    if first and (found := explain_packed(raw)):
        return Fault(*found)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if first and (found := explain_not_text(raw)):
            return Fault(*found)
        return Fault(
            f"byte {offset + error.start} of the file (0x{raw[error.start]:02x}) is not UTF-8",
            "Save the manifest as UTF-8",
        )
    if first:
        text = text.removeprefix("\ufeff")
    return _row_from_text(text, "line")


def rows_of_text(text: str, *, in_list: bool) -> Iterator[dict[str, Any] | Fault]:
    """The rows of a JSON list, or of objects one after another over several lines, in order. After a row that is no
    JSON nothing can be read any more."""
    decoder, at = json.JSONDecoder(), _skip_blanks(text, 0)
    at = _skip_blanks(text, at + 1) if in_list else at
    while at < len(text) and not (in_list and text[at] == "]"):
        try:
            _, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            yield Fault(f"not JSON on line {error.lineno} of the file: {error.msg[0].lower()}{error.msg[1:]}")
            return
        except (ValueError, RecursionError):
            yield Fault("not JSON that can be read: a number is too long or the nesting too deep")
            return
        row = _row_from_text(text[at:end], "row")
        assert row is not None
        yield row
        at = _skip_blanks(text, end)
        if in_list:
            if text[at : at + 1] not in (",", "]"):
                yield Fault("a comma or `]` was expected after the row before", "Check that it was written to the end")
                return
            at = _skip_blanks(text, at + 1) if text[at] == "," else at
    if in_list and (at >= len(text) or text[at + 1 :].strip()):
        yield Fault("the list does not end with its `]`", "Check that it was written to the end")


def _skip_blanks(text: str, at: int) -> int:
    """Where the next character is that is not blank; the length of the text where none is."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _row_from_text(text: str, what: str) -> dict[str, Any] | Fault | None:
    text = text.rstrip()  # an error at the end of the line is then in the last column, not in the next line
    if not text:
        return None
    try:
        row = DECODER.decode(text)
        refuse_deep(row, text)
    except StrictError as error:
        return Fault(str(error))
    except json.JSONDecodeError as error:
        return Fault(f"not JSON at column {error.colno}: {error.msg[0].lower()}{error.msg[1:]}")
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets thousands deep
        return Fault("not JSON that can be read: a number is too long or the nesting too deep")
    if not isinstance(row, dict):
        return Fault(f"the {what} is {name_kind(row)}, not a JSON object", f"Write one object in braces per {what}")
    return row


def example_from_row(row: dict[str, Any]) -> tuple[Example | None, list[Fault]]:
    """Check a row. The example is None if any fault is an error."""
    checker = _Checker(row)
    example = checker.make_example()
    usable = all(fault.severity == "warning" for fault in checker.faults)
    return (example if usable else None), checker.faults


def row_from_example(example: Example) -> dict[str, Any]:
    """The row that `example_from_row` turns into this example."""
    known = {} if example.duration is None else {"duration": example.duration}
    row: dict[str, Any] = {
        "id": example.id,
        "video": example.video,
        "query": example.query,
        "spans": [list(span) for span in example.spans],
        **known,
        "source": example.source,
        "clip": None if example.clip is None else list(example.clip),
    }
    return row if example.frame_rate is None else row | {"frame_rate": example.frame_rate}


def find_path_fault(video: str) -> Fault | None:
    """The problem of a video's path, as far as its spelling shows it."""
    problem = None
    if not video.strip():
        problem = "is empty"
    elif "\0" in video:
        problem = "holds a NUL character"
    elif "\\" in video:
        problem = "has backslashes"
    elif video.startswith("/"):
        problem = "is absolute"
    elif _SCHEME.match(video):
        problem = "begins like an address or a drive"
    elif ".." in video.split("/"):
        problem = "climbs with '..'"
    if problem is None:
        return None
    return Fault(f"`video` {video!r} {problem}", "Write a path relative to the videos folder, with forward slashes")


class _Checker:
    """Reads one row and notes all its problems. A value that cannot be read gets a placeholder, which is never used."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.faults: list[Fault] = []

    def make_example(self) -> Example:
        self._check_keys()
        example = Example(
            id=self._read_text("id"),
            video=self._read_text("video"),
            query=self._read_text("query"),
            spans=self._read_spans(),
            duration=self._read_duration(),
            source=self._read_text("source", default="", may_be_empty=True),
            clip=(clip := self._read_clip()),
            frame_rate=self._read_frame_rate(),
        )
        if example.duration is None and clip is not None:
            example = replace(example, duration=clip.end_s - clip.start_s)
        fault = find_path_fault(example.video) if example.video.strip() else None  # an empty one is noted already
        if fault:
            self.faults.append(fault)
        if not self.faults:
            for message, remedy in find_oddities(example.query):
                self._add(message, remedy or _CORRECT, "warning")
            self._check_ends(example)
        return example

    def _check_keys(self) -> None:
        known = (*REQUIRED_KEYS, *OPTIONAL_KEYS)
        for key in self.row:
            if key not in known:
                nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                remedy = f"Rename it to `{nearest[0]}`" if nearest else f"The keys are {', '.join(known)}"
                self._add(f"unknown key `{key}`" + (f", near to `{nearest[0]}`" if nearest else ""), remedy)
        for key in REQUIRED_KEYS:
            if key not in self.row:
                self._add(f"the key `{key}` is missing")

    def _read_text(self, key: str, *, default: str = "", may_be_empty: bool = False) -> str:
        if key not in self.row:
            return default
        value = self.row[key]
        if not isinstance(value, str):
            self._add(f"`{key}` is {name_kind(value)}, not a string")
            return default
        if not value.strip() and not may_be_empty:
            self._add(f"`{key}` is empty")
        elif any("\ud800" <= character <= "\udfff" for character in value):
            self._add(f"`{key}` holds half of a surrogate pair, which no file can store")
        return value

    def _read_number(self, value: object, what: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._add(f"{what} is {name_kind(value)}, not a number of seconds")
            return math.nan
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self._add(f"{what} is too large")
            return math.nan
        return number

    def _read_span(self, value: object, what: str) -> Span:
        if not isinstance(value, list) or len(value) != 2:
            self._add(f"{what} is not a pair [start, end]")
            return Span(0.0, 0.0)
        span = Span(
            self._read_number(value[0], f"the start of {what}"), self._read_number(value[1], f"the end of {what}")
        )
        if span.start_s < 0:
            self._add(f"{what} starts at {span.start_s:g} s, before the video")
        if span.end_s < span.start_s:
            self._add(f"{what} ends at {span.end_s:g} s, before it starts at {span.start_s:g} s")
        return span

    def _read_spans(self) -> tuple[Span, ...]:
        value = self.row.get("spans", ())
        if not isinstance(value, (list, tuple)):
            self._add(f"`spans` is {name_kind(value)}, not a list of [start, end] pairs")
            return ()
        if not value and "spans" in self.row:
            self._add("`spans` is empty, and a row without one can be neither rewarded nor scored")
        return tuple(self._read_span(pair, f"span {number}") for number, pair in enumerate(value, start=1))

    def _read_duration(self) -> float | None:
        if self.row.get("duration") is None:
            return None
        duration = self._read_number(self.row["duration"], "`duration`")
        if duration <= 0:
            self._add(f"`duration` is {duration:g} s, not more than 0")
        return duration

    def _read_clip(self) -> Span | None:
        value = self.row.get("clip")
        if value is None:
            return None
        clip = self._read_span(value, "`clip`")
        if clip.start_s == clip.end_s and isinstance(value, list) and len(value) == 2:
            self._add("`clip` is empty: it ends where it starts")
        return clip

    def _read_frame_rate(self) -> float | None:
        value = self.row.get("frame_rate")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._add(f"`frame_rate` is {name_kind(value)}, not a number of pictures per second")
            return None
        if not MIN_FRAME_RATE <= value <= MAX_FRAME_RATE:
            self._add(f"`frame_rate` is {value:g}, not from {MIN_FRAME_RATE:g} to {MAX_FRAME_RATE:g} pictures a second")
            return None
        return float(value)

    def _check_ends(self, example: Example) -> None:
        for number, span in enumerate(example.spans, start=1):
            if span.start_s == span.end_s:
                self._add(
                    f"span {number} has no length, at {span.start_s:g} s: no answer reaches it",
                    "Nothing, if the data set is like that: a row without another span scores 0",
                    "warning",
                )
            if example.duration is not None and span.end_s > example.duration + DURATION_TOLERANCE_S:
                self._add(
                    f"span {number} ends at {span.end_s:g} s, after the {example.duration:g} s of the video",
                    "Nothing, if the data set is like that: spans are kept as annotated",
                    "warning",
                )
        if example.clip is not None and example.duration is not None:
            length = example.clip.end_s - example.clip.start_s
            if abs(length - example.duration) > DURATION_TOLERANCE_S:
                self._add(
                    f"`duration` is {example.duration:g} s, but `clip` is {length:g} s long",
                    "With a clip, give the clip's length as duration",
                    "warning",
                )

    def _add(self, message: str, remedy: str = _CORRECT, severity: Literal["error", "warning"] = "error") -> None:
        self.faults.append(Fault(message, remedy, severity))
