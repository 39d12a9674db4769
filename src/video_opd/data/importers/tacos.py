"""TACoS (Regneri et al. 2013), as 2D-TAN and VSLNet have it, or in seconds as lighthouse has it.

    {"s30-d52.avi": {"timestamps": [[141, 354]], "sentences": ["She took out kiwi."], "fps": 29.4, "num_frames": 7346}}
    {"qid": "s30-d52_0", "query": "She took out kiwi", "duration": 249.9, "vid": "s30-d52",
     "relevant_windows": [[4.8, 12.0]]}

The first counts frames: seconds are frames / fps, and the duration is num_frames / fps. Five of its test ends lie
after the last frame. The videos are often called `s30-d52-cam-002.mp4`, which `--videos` finds too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from video_opd.data.importers._annotation import Annotation, Captions, Moments, ReadOptions, require_name
from video_opd.files.records import json_any

_ID = re.compile(r"s\d+-d\d+\S*")


class _TacosFrames(Captions):
    fps: float = Field(gt=0)
    num_frames: int = Field(gt=0)

    def convert_to_seconds(self) -> Captions:
        times = [(start / self.fps, end / self.fps) for start, end in self.timestamps]
        duration = self.num_frames / self.fps
        return Captions.model_construct(duration=duration, timestamps=times, sentences=self.sentences)


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every sentence of every video."""
    for file in files:
        for record in json_any(file, unique=True, row="vid"):
            if record.key is None:
                line = record.read_as(Moments, Moments.with_windows(record))
                require_name(record, line.vid, _ID, "TACoS")
                yield line.make_annotation(record)
            else:
                require_name(record, record.key, _ID, "TACoS")
                yield from record.read_as(_TacosFrames).convert_to_seconds().make_annotations(record)
