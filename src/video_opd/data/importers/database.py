"""Segments of videos under `database`, as ActivityNet 1.3 has them and many took over: http://activity-net.org.

    {"version": "1.3", "database": {"abcdefghijk": {"duration": 82.73, "subset": "training", "annotations": [
      {"segment": [6.2, 77.3], "label": "Drinking coffee"}]}}}                                               ActivityNet
    {"database": {"abcdefghijk": {"duration": 131.03, "class": "ChangeCarTire", "subset": "training", "annotation": [
      {"id": "259", "segment": [60.0, 69.0], "label": "unscrew the screw"}]}}}                                      COIN
    {"database": {"abcdefghijk": {"duration": 241.6, "subset": "training", "annotations": [
      {"segment": [90, 102], "id": 0, "sentence": "spread the butter"}]}}}                                      YouCook2

The query is the sentence, or the label. What a video shows several times under the same words is one question with
several spans: an answer can name any of them, and the account counts such segments. `--split training` (or
`validation`) is the subset. Videos without annotations (the test sets' are withheld) are counted as dropped. Files
are often called `v_ID.mp4`, which `--videos` finds too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Times
from video_opd.files.records import Record, json_entries

_KEY = "database"
_SEVERAL = "the video shows it several times, which became several spans of one row"
_WITHOUT = "the video has no annotations: they are withheld, or it shows nothing"


class _Segment(BaseModel):
    segment: Times
    words: str = Field(validation_alias=AliasChoices("sentence", "label"))


class _DatabaseVideo(BaseModel):
    duration: Seconds | None = None
    subset: str = ""
    annotations: list[_Segment] | None = Field(None, validation_alias=AliasChoices("annotations", "annotation"))


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """What is said of every video, once for every wording."""
    for file in files:
        found = False
        for record in json_entries(file, unique=True, under=_KEY):
            if record.parent != _KEY:
                continue
            found = True
            if record.key is None:
                record.refuse(f"`{_KEY}` is no object with a key for every video")
            yield from _read_questions(record, record.key, record.read_as(_DatabaseVideo))
        if not found:
            Record(file, 1, None).refuse(f"it has no `{_KEY}` with videos", "Give a file that has one")


def _read_questions(record: Record, name: str, video: _DatabaseVideo) -> Iterator[Annotation]:
    spans: dict[str, list[Times]] = {}
    for segment in video.annotations or ():
        spans.setdefault(segment.words, []).append(segment.segment)
    if not spans:
        yield Annotation(record=record, video=name, query="", spans=(), split=video.subset, skipped=_WITHOUT)
    for words, segments in spans.items():
        yield Annotation(
            record=record,
            video=name,
            query=words,
            spans=tuple(segments),
            duration=video.duration,
            split=video.subset,
            remark=_SEVERAL if len(segments) > 1 else "",
        )
