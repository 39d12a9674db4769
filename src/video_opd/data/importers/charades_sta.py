"""Charades-STA (Gao et al. 2017, TALL): https://github.com/jiyanggao/TALL. Videos: Charades v1, `ID.mp4`.

Three shapes are read: the official text, whose durations stand in `Charades_v1_{train,test}.csv` (`--durations`, column
`length`); the object by video of Time-R1, VideoChat-R1 and the out-of-distribution splits (where `video_duration` and
`framestamps` are other names for `duration` and `timestamps`); lighthouse's lines, whose ends are clipped to the video.

    3MSZA 24.3 30.4##person turn a light on.
    {"3MSZA": {"duration": 30.96, "timestamps": [[24.3, 30.4]], "sentences": ["person turn a light on."]}}
    {"qid": 1, "query": "person turn a light on.", "duration": 30.96, "vid": "3MSZA",
     "relevant_windows": [[24.3, 30.4]]}

562 of the 3,720 test spans end after `length`, 228 of them by more than a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import AliasChoices, Field

from video_opd.data.importers.annotation import Annotation, Captions, Moments, Reading, Seconds, Times, require_name
from video_opd.data.records import json_any, read_text, text_lines

_LINE = re.compile(r"\s*(\S+)\s+(\S+)\s+(\S+?)\s*##(.*)")
_ID = re.compile(r"[0-9A-Z]{5}")


class _Video(Captions):
    duration: Seconds | None = Field(None, validation_alias=AliasChoices("duration", "video_duration"))
    timestamps: list[Times] = Field(validation_alias=AliasChoices("timestamps", "framestamps"))


class _Line(Captions):
    """A line of the text, in the words of the other shape."""


def read(files: list[Path], _: Reading) -> Iterator[Annotation]:
    """Every line, or every sentence of every video."""
    for file in files:
        if not read_text(file).lstrip().startswith(("{", "[")):
            yield from _text(file)
            continue
        for record in json_any(file, unique=True):
            if record.key is None:
                line = record.as_(Moments)
                require_name(record, line.vid, _ID, "Charades")
                yield line.annotation(record)
            else:
                require_name(record, record.key, _ID, "Charades")
                yield from record.as_(_Video).annotations(record)


def _text(file: Path) -> Iterator[Annotation]:
    for record in text_lines(file):
        line = _LINE.fullmatch(record.value)
        if line is None:
            record.refuse("it is not `VIDEO START END##SENTENCE`")
        video, start, end, sentence = line.groups()
        found = record.as_(_Line, {"timestamps": [(start, end)], "sentences": [sentence]})
        yield Annotation(record=record, video=video, query=sentence, spans=tuple(found.timestamps))
