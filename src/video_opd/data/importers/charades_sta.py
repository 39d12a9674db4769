"""Charades-STA (Gao et al. 2017, TALL): https://github.com/jiyanggao/TALL. Videos: Charades v1, `ID.mp4`.

Three shapes are read: the official text, whose durations stand in `Charades_v1_{train,test}.csv` (`--durations`,
column `length`); the object by video of Time-R1, VideoChat-R1 and the out-of-distribution splits (which call the
duration `video_duration`); lighthouse's lines, whose ends are clipped to the video.

    3MSZA 24.3 30.4##person turn a light on.
    {"3MSZA": {"duration": 30.96, "timestamps": [[24.3, 30.4]], "sentences": ["person turn a light on."]}}
    {"qid": 1, "query": "person turn a light on.", "duration": 30.96, "vid": "3MSZA",
     "relevant_windows": [[24.3, 30.4]]}

The out-of-distribution splits have their times twice: `timestamps` in seconds, and `framestamps` in frames at
`decode_fps` (16) a second, rounded down (all 8,396 of them). Seconds are taken; where there are only frames they are
divided by it.

562 of the 3,720 test spans end after `length`, 228 of them by more than a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field

from video_opd.data.importers._annotation import (
    Annotation,
    Captions,
    Moments,
    ReadOptions,
    Seconds,
    Times,
    require_name,
)
from video_opd.files.records import Record, json_any, read_text, text_lines

_LINE = re.compile(r"\s*(\S+)\s+(\S+)\s+(\S+?)\s*##(.*)")
_ID = re.compile(r"[0-9A-Z]{5}")
DECODE_FPS = 16.0
"""Of `framestamps`, where no `decode_fps` says otherwise."""


class _CharadesVideo(Captions):
    duration: Seconds | None = Field(None, validation_alias=AliasChoices("duration", "video_duration"))


class _CharadesFrames(BaseModel):
    framestamps: list[Times]
    decode_fps: float = Field(DECODE_FPS, gt=0)

    def convert_to_seconds(self) -> list[Times]:
        return [(start / self.decode_fps, end / self.decode_fps) for start, end in self.framestamps]


class _CharadesLine(Captions):
    """A line of the text, in the words of the other shape."""


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every line, or every sentence of every video."""
    for file in files:
        if not read_text(file).lstrip().startswith(("{", "[")):
            yield from _read_text(file)
            continue
        for record in json_any(file, unique=True, row="vid"):
            if record.key is None:
                line = record.read_as(Moments, Moments.with_windows(record))
                require_name(record, line.vid, _ID, "Charades")
                yield line.make_annotation(record)
            else:
                require_name(record, record.key, _ID, "Charades")
                yield from _read_video(record)


def _read_video(record: Record) -> Iterator[Annotation]:
    value, remark = record.value, ""
    if isinstance(value, dict) and "framestamps" in value and "timestamps" not in value:
        frames = record.read_as(_CharadesFrames)
        value = {**value, "timestamps": frames.convert_to_seconds()}
        remark = f"its times are frames, {frames.decode_fps:g} a second, and were made seconds"
    yield from record.read_as(_CharadesVideo, value).make_annotations(record, remark=remark)


def _read_text(file: Path) -> Iterator[Annotation]:
    for record in text_lines(file):
        line = _LINE.fullmatch(record.value)
        if line is None:
            record.refuse("it is not `VIDEO START END##SENTENCE`")
        video, start, end, sentence = line.groups()
        found = record.read_as(_CharadesLine, {"timestamps": [(start, end)], "sentences": [sentence]})
        yield Annotation(record=record, video=video, query=sentence, spans=tuple(found.timestamps))
