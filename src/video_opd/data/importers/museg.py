"""MUSEG's sets (Luo et al. 2025): https://github.com/THUNLP-MT/MUSEG.

Training (`data/train/stage_{1,2}.jsonl`) and evaluation (`data/eval/grounding/*.json`):

    {"idx": 0, "problem": "Find all the sections where the action 'beer pong' occurs.", "solution": [[0.2, 157.4]],
     "video": "videos/activitynet/v_wsrSku74OpM.mp4", "duration": 170.0, "task": "tal"}
    [{"video": "thumos15/thumos15_video_validation_0000119.mp4", "question": "… the action category: 'baseball pitch'.",
      "groundtruth": [[44.0, 50.9]]}]

The query is a whole instruction with the event in quotes; `--queries quoted` keeps the event alone. Evaluation sets
and some training rows have no `duration`: `--durations` or `--videos` fill it in. The source is the folder of the
video.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import AliasChoices, BaseModel, Field

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Spans
from video_opd.files.records import json_rows


class _Problem(BaseModel):
    idx: int | str = ""
    problem: str = Field(validation_alias=AliasChoices("problem", "question"))
    solution: Spans = Field(validation_alias=AliasChoices("solution", "groundtruth"))
    video: str
    duration: Seconds | None = None


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Yield an annotation for every problem of the files."""
    for file in files:
        for record in json_rows(file):
            found = record.read_as(_Problem)
            yield Annotation(
                record=record,
                video=found.video,
                query=found.problem,
                spans=tuple(found.solution),
                duration=found.duration,
                name=str(found.idx),
                source=PurePosixPath(found.video).parent.name,
            )
