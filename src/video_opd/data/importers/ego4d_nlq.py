"""Ego4D natural language queries (Grauman et al. 2022): https://ego4d-data.org, `nlq_{split}.json`, under its licence.

The official nesting, VideoMind's lines, or TimeLens2's:

    {"videos": [{"video_uid": "…", "split": "val", "clips": [{"clip_uid": "…", "clip_start_sec": 0, "clip_end_sec": 480,
      "annotations": [{"annotation_uid": "…", "language_queries": [
        {"query": "Where was the knife?", "clip_start_sec": 12.0, "clip_end_sec": 14.5}]}]}]}]}
    {"vid": "…", "query": "Where was the knife?", "duration": 480.0, "relevant_windows": [[12.0, 14.5]]}
    {"video_id": "…", "query_id": "7", "query": "query text: Where was the knife?", "duration": 480.0,
     "timestamps": [[12.0, 14.5]]}

One official query in ten begins with `Query Text:`, which `--queries ego4d` takes off; the `query text:` that
TimeLens2 puts before every query is never kept.

In the official file a row is about the clip (`CLIP_UID.mp4`), times count from its start, and its length is
`video_end_sec - video_start_sec`. Queries without text or without times (a few are null) are counted as dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Spans, require_name
from video_opd.files.records import Record, json_any

_PREFIX = "query text:"
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\S*")


class _Ego4dQuery(BaseModel):
    query: str | None = None
    clip_start_sec: Seconds | None = None
    clip_end_sec: Seconds | None = None


class _Annotator(BaseModel):
    annotation_uid: str
    language_queries: list[_Ego4dQuery]


class _Clip(BaseModel):
    clip_uid: str
    video_start_sec: Seconds | None = None
    video_end_sec: Seconds | None = None
    clip_start_sec: Seconds | None = None
    clip_end_sec: Seconds | None = None
    annotations: list[_Annotator]

    @property
    def duration(self) -> float | None:
        for start, end in ((self.video_start_sec, self.video_end_sec), (self.clip_start_sec, self.clip_end_sec)):
            if start is not None and end is not None:
                return end - start
        return None


class _Ego4dVideo(BaseModel):
    video_uid: str
    split: str = ""
    clips: list[_Clip]


class _Ego4dLine(BaseModel):
    vid: str = Field(validation_alias=AliasChoices("vid", "video_id"))
    query: str
    duration: Seconds
    windows: Spans = Field(validation_alias=AliasChoices("relevant_windows", "timestamps"))
    query_id: int | str = ""


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every query of every clip, or every line."""
    for file in files:
        for record in json_any(file, unique=True, row="query"):
            if record.key == "videos":
                if not isinstance(record.value, list):
                    record.refuse("`videos` is not a list")
                for video in record.value:
                    yield from _read_queries(record, record.read_as(_Ego4dVideo, video))
            elif record.key is None:
                line = record.read_as(_Ego4dLine)
                require_name(record, line.vid, _ID, "Ego4D")
                yield Annotation(
                    record=record,
                    video=line.vid,
                    query=line.query.removeprefix(_PREFIX).strip() if line.query.startswith(_PREFIX) else line.query,
                    spans=tuple(line.windows),
                    duration=line.duration,
                    name=str(line.query_id),
                )


def _read_queries(record: Record, video: _Ego4dVideo) -> Iterator[Annotation]:
    for clip in video.clips:
        for annotator in clip.annotations:
            for number, query in enumerate(annotator.language_queries):
                start, end = query.clip_start_sec, query.clip_end_sec
                known = bool(query.query) and start is not None and end is not None
                yield Annotation(
                    record=record,
                    video=clip.clip_uid,
                    query=query.query or "",
                    spans=((start or 0.0, end or 0.0),),
                    duration=clip.duration,
                    name=f"{annotator.annotation_uid}_{number}",
                    split=video.split,
                    skipped="" if known else "its text or its times are null",
                )
