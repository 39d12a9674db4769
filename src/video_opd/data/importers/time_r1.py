"""Time-R1's training set (Wang et al. 2025): https://github.com/xiaomi-research/time-r1, `annotations/train_2k5.json`.

    [{"video": "./videos/QtWT8rxUuNk.mp4", "duration": 93.29, "timestamp": [1.0, 4.0], "sentence": "A hanger hangs.",
      "qid": "my|cosmo|QtWT8rxUuNk|A hanger hangs.", "video_start": null, "video_end": null, "difficulty": 50.0}]

Where `video_start` and `video_end` are given, only that part of the file counts and becomes `clip`, except where the
file's own name says that it is the crop (`ID_00:00:39:000_00:01:24:700.mp4`). The second field of `qid` is the source.
`difficulty` and `pred` are a base model's and are not kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Times, read_clip
from video_opd.files.records import json_rows

_CROPPED = re.compile(r"_\d\d:\d\d:\d\d:\d{3}_\d\d:\d\d:\d\d:\d{3}\.\w+$")


class _TimeR1Row(BaseModel):
    video: str
    duration: Seconds
    timestamp: Times
    sentence: str
    qid: str
    video_start: Seconds | None = None
    video_end: Seconds | None = None


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Yield an annotation for every row of the files."""
    for file in files:
        for record in json_rows(file):
            row = record.read_as(_TimeR1Row)
            clip = read_clip(record, row.video_start, row.video_end)
            source = row.qid.split("|")[1:2]
            yield Annotation(
                record=record,
                video=PurePosixPath(row.video).name,
                query=row.sentence,
                spans=(row.timestamp,),
                duration=row.duration,
                source=source[0] if source else "",
                clip=None if _CROPPED.search(row.video) else clip,
            )
