"""CG-Bench (Chen et al. 2024): https://github.com/CG-Bench/CG-Bench, `cgbench.json` and `cgbench_mini.json`.

    [{"qid": 14, "video_uid": "3ZpmN3-2-Zo", "question": "What color is the car?", "answer": "White",
      "choices": ["Gray", "White"], "right_answer": "B", "clue_intervals": [[8, 11]], "duration": 2741}]

The query is the question, its spans the clue intervals; options and the right one are not in a manifest: for acc@IoU
give `video-opd metrics` the original file. Videos are `VIDEO_UID.mp4`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Times
from video_opd.files.records import json_any


class _CgBenchQuestion(BaseModel):
    qid: int | str
    video_uid: str
    question: str
    clue_intervals: list[Times]
    duration: Seconds


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Yield an annotation for every question of the files."""
    for file in files:
        for record in json_any(file, unique=True):
            found = record.read_as(_CgBenchQuestion)
            yield Annotation(
                record=record,
                video=found.video_uid,
                query=found.question,
                spans=tuple(found.clue_intervals),
                duration=found.duration,
                name=str(found.qid),
            )
