"""What a format of result files is, and a row of such a file: one answer, and what it says about whom it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from video_opd.eval.scorers._keys import QueryKey
from video_opd.eval.scorers._scorer_types import ResultAnswer
from video_opd.files.records import Record, json_any
from video_opd.grounding.time_units import Unit
from video_opd.types import Span


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One answer, and what it says about whom it answers."""

    written: str
    """The id or key as the file has it."""
    key: QueryKey | None
    """None: `written` is an id, or, in all formats but ours, the end of one."""
    answer: ResultAnswer
    video: str | None = None
    """What the row says it is about beside its id, where it does."""
    query: str | None = None
    truth: tuple[Span, ...] = ()
    """The annotated spans, where the file carries them."""
    duration: float | None = None
    place: int | None = None
    """Where the file numbers queries through: the number, from 0, of the row in the annotations."""
    place_in_video: int | None = None
    """The same among the queries of its video."""
    own_ids: bool = True
    """False: `written` is a number of the project's own and says nothing of the annotations' ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFormat:
    """A format of result files: how a file is told to have it, and how its rows are read."""

    is_like: Callable[[dict[str, Any]], bool]
    """Whether a file has this format, by its first row, or by the first entry of the one object that it is."""
    read: Callable[[Path], Iterable[ResultRow]]
    """The rows of a file; raises `DataError` at the first record that is not of the format."""
    matched_by: Literal["id", "end of id", "words"] = "end of id"
    """How a row without a key finds its example: by the very id; by the end of one; or by video and query or by number,
    in files of projects that name queries in their own way."""
    precedence: int = 0
    """Formats of a higher one are asked first: a row may have the marks of two. Of equals the earlier line is asked."""
    own_unit: Unit = "seconds"
    """Of the times, where no `--unit` is given."""
    others: str = ""
    """What the records are that hold no answer, where that is to be said of a file."""


def make_file_reader(read: Callable[[Record], Iterator[ResultRow]]) -> Callable[[Path], Iterator[ResultRow]]:
    """A reader of a file from a reader of its records: its rows, or the entries of the one object that it is."""

    def read_file(path: Path) -> Iterator[ResultRow]:
        return (row for record in json_any(path) for row in read(record))

    return read_file


def take_first_entry(value: dict[str, Any]) -> tuple[str, Any]:
    """The first key of an object that is not empty, and what stands under it."""
    return next(iter(value.items()))
