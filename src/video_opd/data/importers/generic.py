"""The user's own tables and rows: CSV (or TSV) with a header, or JSON; the user names the columns.

    video,query,start,end,duration
    a.mp4,a person opens the fridge,2.0,4.5,31.2

    {"video": "a.mp4", "query": "a person opens the fridge", "spans": [[2.0, 4.5]], "duration": 31.2}

JSON is one object a line, a list of objects, or objects one after another; `json` is another name for `jsonl`.

Roles: `video`, `query`, and `start` with `end`, or `spans` (a list of pairs, in CSV as JSON text). May be there:
`duration` (seconds), `id`, `source`, `split`, `fps`, and `clip_start` with `clip_end` (seconds of the file) or both as
`clip`, as a manifest has it. A column has the name of its role unless `--columns query=caption start=begin` says
otherwise. With a clip, spans count from its start, and `duration` is its length, which need not be given.

`--unit` says what the times of spans are: seconds, milliseconds, frames (with `fps` or `--fps`), percent or fraction of
the duration, or clock (`mm:ss`, `hh:mm:ss.f`). Durations and clips are seconds whatever the unit, and may be clock
times under `clock`. A unit is never guessed: a clock time under `seconds` is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, Field

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Spans, Times, read_clip
from video_opd.errors import ConfigurationError
from video_opd.files.parquet import parquet_or_json_rows
from video_opd.files.records import Record, table_rows
from video_opd.files.strict_json import DECODER

ROLES = (
    "video", "query", "start", "end", "spans", "duration", "id", "source", "split", "fps", "clip_start", "clip_end",
    "clip", "frame_rate",
)  # fmt: skip
_CLOCK = re.compile(r"(?:(\d{1,3}):(?=[0-5]?\d:))?(\d{1,3}):([0-5]?\d(?:\.\d+)?)")


class _GenericRow(BaseModel):
    video: str = Field(min_length=1)
    query: str
    spans: Spans
    duration: Seconds | None = None
    id: int | str = ""
    source: str = ""
    split: str = ""
    fps: Seconds | None = None
    clip_start: Seconds | None = None
    clip_end: Seconds | None = None
    clip: Times | None = None
    frame_rate: Seconds | None = None


def read_csv(files: list[Path], reading: ReadOptions) -> Iterator[Annotation]:
    """Every row of every table."""
    return _read(files, reading, table_rows)


def read_jsonl(files: list[Path], reading: ReadOptions) -> Iterator[Annotation]:
    """Yield an annotation for every row of the files."""
    return _read(files, reading, parquet_or_json_rows)


def parse_columns(words: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """`role=column` as pairs.

    Raises:
        ConfigurationError: not of this form, or a role there is not.
    """
    pairs = [word.partition("=") for word in words]
    for role, equals, column in pairs:
        if not equals or not column or role not in ROLES:
            raise ConfigurationError(
                f"--columns {role}{equals}{column}",
                reason=f"it is not ROLE=COLUMN with a role of {', '.join(ROLES)}",
                remedy="write for example --columns query=caption start=begin",
            )
        if sum(other == role for other, _, _ in pairs) > 1:
            raise ConfigurationError(
                f"--columns {role}=…", reason="the role is given twice", remedy="name one column for it"
            )
    return tuple((role, column) for role, _, column in pairs)


def _read(files: list[Path], reading: ReadOptions, records: Callable[[Path], Iterator[Record]]) -> Iterator[Annotation]:
    column_of = {role: role for role in ROLES} | dict(reading.columns)
    for file in files:
        for number, record in enumerate(records(file)):
            if not isinstance(record.value, dict):
                record.refuse("it is not an object with keys", "Write rows with named values")
            if number == 0:
                _refuse_other_shapes(record)
                for role, column in reading.columns:
                    if column not in record.value:
                        _refuse_missing(record, role, column)
            yield _make_annotation(record, column_of, reading)


def _refuse_other_shapes(record: Record) -> None:
    """Refuse conversations, and rows that lie deeper in the file: they have no usable columns."""
    for key in ("messages", "conversations"):
        if isinstance(record.value.get(key), list):
            record.refuse(
                f"it is a conversation (`{key}`), as for supervised training",
                "Import it with `video-opd data import sft`, which takes query and spans out of the turns",
            )
    if len(record.value) == 1:
        ((key, inner),) = record.value.items()
        if isinstance(inner, list) and inner and all(isinstance(row, dict) for row in inner):
            record.refuse(
                f"its {len(inner)} rows are in the list `{key}`",
                f"Write the rows alone, such as with `jq -c '.[{json.dumps(key)}][]' {record.path.name}`",
            )


def _make_annotation(record: Record, column_of: dict[str, str], reading: ReadOptions) -> Annotation:
    value = record.value
    given = {role: value[column] for role, column in column_of.items() if value.get(column) not in (None, "")}
    if column_of["query"] in value:
        given.setdefault("query", "")  # an empty query is counted, not refused
    given["spans"] = _read_spans(record, given, column_of, reading)
    clip, named = given.get("clip"), any(role == "clip" for role, _ in reading.columns)
    if not named and not isinstance(clip, list) and not str(clip).lstrip().startswith("["):
        given.pop("clip", None)  # a column of their own that is called so
    if isinstance(given.get("clip"), str):
        given["clip"] = _parse_json(record, given["clip"], column_of["clip"], "a pair such as [2.0, 4.5]")
    if reading.unit == "clock":
        _convert_clocks(record, given)
    called = column_of
    if column_of["spans"] not in record.value:
        called = column_of | {"spans.0.0": column_of["start"], "spans.0.1": column_of["end"]}
    row = record.read_as(_GenericRow, _require(record, given, column_of, ("video", "query")), called)
    ends = read_clip(record, row.clip_start, row.clip_end)
    if row.clip is not None and ends is not None:
        record.refuse("it has its clip twice", f"Give `{column_of['clip']}` or its two ends")
    return Annotation(
        record=record,
        video=row.video,
        query=row.query,
        spans=_convert_to_seconds(record, row, reading),
        fractions=reading.unit in ("percent", "fraction"),
        duration=row.duration,
        name=str(row.id),
        source=row.source,
        split=row.split,
        clip=row.clip or ends,
        frame_rate=row.frame_rate,
    )


def _require(record: Record, given: dict[str, Any], column_of: dict[str, str], roles: Iterable[str]) -> dict[str, Any]:
    for role in roles:
        if role not in given:
            _refuse_missing(record, role, column_of[role])
    return given


def _refuse_missing(record: Record, role: str, column: str) -> NoReturn:
    if column in record.value:
        record.refuse(f"`{column}` is empty")
    there = ", ".join(f"`{name}`" for name in list(record.value)[:12])
    alike = {str(name).strip().lower(): name for name in record.value}.get(column.lower(), "COLUMN")
    record.refuse(f"there is no `{column}`, only {there}", f"Name the column, such as --columns {role}={alike}")


def _read_spans(record: Record, given: dict[str, Any], column_of: dict[str, str], reading: ReadOptions) -> Any:
    """The value of `spans`, or of `start` and `end` as one pair; clocks become seconds."""
    if "spans" in given:
        spans = given["spans"]
        if isinstance(spans, str):
            spans = _parse_json(record, spans, column_of["spans"], "a list of pairs such as [[2.0, 4.5]]")
    else:
        _require(record, given, column_of, ("start", "end"))
        spans = [[given["start"], given["end"]]]
    read = {"clock": _parse_clock, "percent": _strip_percent}.get(reading.unit)
    if read is None or not isinstance(spans, list):
        return spans
    pairs = spans if spans and isinstance(spans[0], list) else [spans]
    return [[read(record, time) for time in pair] if isinstance(pair, list) else pair for pair in pairs]


def _parse_json(record: Record, text: str, column: str, what: str) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError):
        record.refuse(f"`{column}` is {text[:60]!r}, not {what}")


def _convert_clocks(record: Record, given: dict[str, Any]) -> None:
    """Convert other clock times than those of spans to seconds; plain numbers remain."""

    def read(time: Any) -> Any:
        return _parse_clock(record, time) if isinstance(time, str) and ":" in time else time

    for role in ("duration", "clip_start", "clip_end", "clip"):
        if role in given:
            value = given[role]
            given[role] = list(map(read, value)) if isinstance(value, list) else read(value)


def _strip_percent(_: Record, share: Any) -> Any:
    return share.strip().removesuffix("%") if isinstance(share, str) else share


def _parse_clock(record: Record, time: Any) -> float:
    clock = _CLOCK.fullmatch(time.strip()) if isinstance(time, str) else None
    if clock is None:
        record.refuse(f"{str(time)[:60]!r} is not a clock time such as 1:02.5 or 0:01:02.5")
    hours, minutes, seconds = clock.groups()
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)


def _convert_to_seconds(record: Record, row: _GenericRow, reading: ReadOptions) -> tuple[Times, ...]:
    """In seconds, or in fractions where the unit is relative to the duration."""
    factor = {"milliseconds": 0.001, "percent": 0.01}.get(reading.unit, 1.0)
    if reading.unit == "frames":
        fps = row.fps or reading.fps
        if not fps or fps < 0:
            record.refuse("the times are frames, and nothing says how many make a second", "Give `fps` or --fps")
        factor = 1 / fps
    return tuple((start * factor, end * factor) for start, end in row.spans)
