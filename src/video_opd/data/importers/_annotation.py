"""The record that every importer yields: one question as in its data set, before any policy was applied."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator

from video_opd.files.records import Record

_UNITS = re.compile(r"[-+]?[0-9.,]+\s*(?:%|[a-z]+)", re.IGNORECASE)


def _number(value: Any) -> Any:
    """Read a number, or a text that is a number. The error names another unit if the text shows one."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("a number of seconds was expected")
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text)
        except ValueError:
            if ":" in text:
                raise ValueError("a clock time, where seconds were expected") from None
            if text.endswith("%"):
                raise ValueError("a percentage, where seconds were expected") from None
            if _UNITS.fullmatch(text):
                raise ValueError("it carries a unit, where plain seconds were expected") from None
            raise ValueError("a number of seconds was expected") from None
    if not math.isfinite(value):
        raise ValueError("a finite number of seconds was expected")
    return float(value)


Seconds = Annotated[float, BeforeValidator(_number)]
Times = tuple[Seconds, Seconds]
"""Start and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One question about one video. Times are in seconds, and not clipped, sorted or cleaned."""

    record: Record
    """Where it stands."""
    video: str
    """The video's name in the data set: an id or a path."""
    query: str
    spans: tuple[Times, ...]
    fractions: bool = False
    """Spans are fractions of the duration, to be multiplied by it once it is known."""
    duration: float | None = None
    """None: the data set does not say."""
    frame_rate: float | None = None
    """Pictures per second of a video that is a folder of them."""
    name: str = ""
    """Its id in the data set; "" if it is numbered within its video."""
    source: str = ""
    """In a collection: the data set from which it comes."""
    split: str = ""
    skipped: str = ""
    """Why this record of the file is not a row; it is counted as dropped for this reason. "" for a row."""
    clip: Times | None = None
    """The part of the file that is used; spans are relative to its start."""
    remark: str = ""
    """What was changed to read it, if the file does not show it; counted in the account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How the files are to be read, where a format leaves it open."""

    annotators: str = "consensus"
    """DiDeMo: what several annotators amount to."""
    columns: tuple[tuple[str, str], ...] = ()
    """csv and jsonl: role -> name of the column or key."""
    unit: str = "seconds"
    """csv and jsonl: of the times."""
    template: str = ""
    """sft and video-opd: name or pattern of the question; "": whichever fits."""
    fps: float | None = None
    """csv and jsonl in frames: frames per second where no column says."""


Importer = Callable[[list[Path], ReadOptions], Iterator[Annotation]]
"""Reads the files of one format, in order; raises `DataError` at the first record that is not of the format."""


def require_name(record: Record, name: str | None, pattern: re.Pattern[str], data_set: str) -> None:
    """Check that a video's name has the form of its data set, so that a similar file of another data set is refused.

    Args:
        record: where the name stands.
        name: the key of the record; None: it has none.
        pattern: what the names of the data set look like.
        data_set: its name, for the message.

    Raises:
        DataError: it is not such a name.
    """
    if name is None:
        record.refuse(f"it has no key, where {data_set} is one object with a key for every video")
    if not pattern.fullmatch(name):
        record.refuse(f"{name!r} is not the name of a video of {data_set}")


def read_clip(record: Record, start: float | None, end: float | None) -> Times | None:
    """The part of the file that is used, from its two ends in seconds; None (the whole file) if neither is given.

    Raises:
        DataError: one end without the other, which is half a clip and not the whole file.
    """
    if start is not None and end is not None:
        return start, end
    if start is not None or end is not None:
        record.refuse("it has only one end of a clip", "Give both, or none")
    return None


class Captions(BaseModel):
    """Parallel lists of one video, in the form of ActivityNet Captions, which many data sets use."""

    duration: Seconds | None = None
    timestamps: list[Times]
    sentences: list[str]

    def make_annotations(self, record: Record, **more: Any) -> Iterator[Annotation]:
        """One annotation per sentence.

        Raises:
            DataError: lists of different lengths.
        """
        if len(self.timestamps) != len(self.sentences):
            record.refuse(f"it has {len(self.timestamps)} timestamps for {len(self.sentences)} sentences")
        for times, sentence in zip(self.timestamps, self.sentences, strict=True):
            yield Annotation(
                record=record,
                video=record.key or "",
                query=sentence,
                spans=(times,),
                duration=self.duration,
                **more,
            )


QVHIGHLIGHTS_TEST = (
    "those of QVHighlights' test set were released later, as data/highlight_test_with_gt.jsonl of jayleicn/moment_detr "
    "(its issue 89)"
)


class Moments(BaseModel):
    """One query with its windows, in the form of QVHighlights and lighthouse."""

    qid: int | str
    query: str
    vid: str
    duration: Seconds | None = None
    relevant_windows: list[Times] | None

    @staticmethod
    def with_windows(record: Record) -> Any:
        """The value of a row that has windows, be they null.

        Raises:
            DataError: it is a moment without any, as in test sets that are not released.
        """
        value = record.value
        if isinstance(value, dict) and {"qid", "query", "vid"} <= value.keys() and "relevant_windows" not in value:
            record.refuse(
                "it has no `relevant_windows`: the annotations of this split are withheld",
                f"Give a file with annotations; {QVHIGHLIGHTS_TEST}",
            )
        return value

    def make_annotation(self, record: Record) -> Annotation:
        """The one annotation."""
        return Annotation(
            record=record,
            video=self.vid,
            query=self.query,
            spans=tuple(self.relevant_windows or ()),
            duration=self.duration,
            name=str(self.qid),
            skipped="its windows are null: it rates clips and names no moment" * (self.relevant_windows is None),
        )


class SingleSpanQuery(BaseModel):
    """One query with one span, as VideoMind's conversions of larger sets have it."""

    vid: str
    duration: Seconds
    query: str
    span: Times

    def make_annotation(self, record: Record) -> Annotation:
        """The one annotation."""
        return Annotation(record=record, video=self.vid, query=self.query, spans=(self.span,), duration=self.duration)


def pairs(value: Any) -> Any:
    """`[s, e]` and `[[s, e], …]` alike as a list of pairs."""
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (list, tuple)):
        return [value]
    return value


Spans = Annotated[list[Times], BeforeValidator(pairs)]
"""One pair or a list of them."""
