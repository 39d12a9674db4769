"""UniTime's annotations (Li et al. 2025): https://github.com/Lzq5/UniTime, `data/test.json` and UniTime-Data.

    [{"qid": 0, "id": "3MSZA", "annos": [{"query": "person turn a light on.", "window": [[24.3, 30.4]]}],
      "duration": 30.96, "video_path": "./videos/3MSZA.mp4", "mode": "mr"}]

Training files repeat a video, and cut it: with `video_start` and `video_end` only that part of the file counts and
becomes `clip`. Their windows are in seconds of the whole file, and `duration` is the part's length.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Spans, read_clip
from video_opd.files.records import json_rows


class _UnitimeQuery(BaseModel):
    query: str
    window: Spans


class _UnitimeVideo(BaseModel):
    qid: int | str
    id: str
    annos: list[_UnitimeQuery]
    duration: Seconds | None = None
    video_path: str = ""
    video_start: Seconds | None = None
    video_end: Seconds | None = None


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every query of every row."""
    for file in files:
        for record in json_rows(file):
            row = record.read_as(_UnitimeVideo)
            clip = read_clip(record, row.video_start, row.video_end)
            offset = clip[0] if clip else 0.0
            for number, item in enumerate(row.annos):
                yield Annotation(
                    record=record,
                    video=PurePosixPath(row.video_path).name or row.id,
                    query=item.query,
                    spans=tuple((start - offset, end - offset) for start, end in item.window),
                    duration=row.duration,
                    name=f"{row.qid}_{number}" if len(row.annos) > 1 else str(row.qid),
                    clip=clip,
                )
