"""TVGBench (Wang et al. 2025, Time-R1): https://github.com/xiaomi-research/time-r1, `annotations/tvgbench.json`.

    [{"path": "./videos/KWZSA.mp4", "question": "a person sits.", "answer": "13.4-28.1", "start": null, "end": null,
      "duration": 30.12, "dataset_name": "charades"}]

`answer` is text. With `start` and `end` only that part of the file is asked about: it becomes `clip`, and the answer
counts from its start. 168 of the 800 rows name no data set; those are Ego4D's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Times, read_clip
from video_opd.files.records import json_rows

_ANSWER = re.compile(r"\s*([0-9.]+)\s*-\s*([0-9.]+)\s*")


class _TvgbenchQuestion(BaseModel):
    path: str
    question: str
    answer: str
    start: Seconds | None
    end: Seconds | None
    duration: Seconds
    dataset_name: str | None = None


class _Answer(BaseModel):
    answer: Times


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Yield an annotation for every question of the files."""
    for file in files:
        for record in json_rows(file):
            found = record.read_as(_TvgbenchQuestion)
            answer = _ANSWER.fullmatch(found.answer)
            if answer is None:
                record.refuse(f"`answer` is {found.answer[:60]!r}, not `START-END` in seconds")
            yield Annotation(
                record=record,
                video=PurePosixPath(found.path).name,
                query=found.question,
                spans=(record.read_as(_Answer, {"answer": answer.groups()}).answer,),
                duration=found.duration,
                source=found.dataset_name or "ego4d",
                clip=read_clip(record, found.start, found.end),
            )
