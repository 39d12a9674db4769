"""TimeLens-100K (Zhang et al. 2025, arXiv 2512.14698): `timelens-100k.jsonl`, and the same rows after filtering.

    {"source": "didemo", "video_path": "didemo/abc.mp4", "duration": 30.0,
     "events": [{"query": "a dog runs", "span": [[1, 4]]}]}
    {"source": "didemo", "video_path": "didemo/abc.mp4", "duration": 30.0, "query": "a dog runs", "span": [1, 4]}

One video a line, or one query a line as filter and rollout write it. A span may be flat or nested. The data are for
academic use only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, Field

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Spans
from video_opd.files.records import Record, json_rows


class TimeLensEvent(BaseModel):
    """A query and where it is answered."""

    query: str
    span: Spans


class _TimeLens100KVideo(BaseModel):
    source: str = ""
    video_path: str
    duration: Seconds
    events: list[TimeLensEvent] = Field(min_length=1)


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every event of every line."""
    for file in files:
        for record in json_rows(file):
            yield from split_events(record)


def split_events(record: Record) -> Iterator[Annotation]:
    """The events of one line."""
    value = record.value
    if isinstance(value, dict) and "events" not in value:
        value = {**value, "events": [record.read_as(TimeLensEvent)]}
    video = record.read_as(_TimeLens100KVideo, value)
    for event in video.events:
        yield Annotation(
            record=record,
            video=video.video_path,
            query=event.query,
            spans=tuple(event.span),
            duration=video.duration,
            source=video.source,
        )
