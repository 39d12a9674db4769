"""MUSEG's training sets (Luo et al. 2025): https://github.com/THUNLP-MT/MUSEG, `data/train/stage_{1,2}.jsonl`.

    {"idx": 0, "problem": "Find all the sections where the action 'beer pong' occurs.", "solution": [[0.2, 157.4]],
     "video": "videos/activitynet/v_wsrSku74OpM.mp4", "duration": 170.0, "task": "tal"}

`problem` is a whole instruction with the event in quotes; `--queries quoted` keeps the event alone. Some rows have no
`duration`: give `--durations` or `--videos`. The source is the folder of the video.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from video_opd.data.importers.annotation import Annotation, Reading, Seconds, Spans
from video_opd.data.records import json_any


class _Problem(BaseModel):
    idx: int | str
    problem: str
    solution: Spans
    video: str
    duration: Seconds | None = None


def read(files: list[Path], _: Reading) -> Iterator[Annotation]:
    """Every problem."""
    for file in files:
        for record in json_any(file, unique=True):
            found = record.as_(_Problem)
            yield Annotation(
                record=record,
                video=found.video,
                query=found.problem,
                spans=tuple(found.solution),
                duration=found.duration,
                name=str(found.idx),
                source=PurePosixPath(found.video).parent.name,
            )
