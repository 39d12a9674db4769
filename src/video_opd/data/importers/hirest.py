"""HiREST (Zala et al. 2023): https://github.com/j-min/HiREST, `data/splits/all_data_{split}.json`.

    {"Make Pancake Mix": {"5V3dI2zp1xA.mp4": {"relevant": true, "clip": true, "v_duration": 207.08, "bounds": [50, 121],
      "steps": [{"index": 0, "heading": "grind the oats", "absolute_bounds": [50, 58]}]}}}

`hirest` asks for the moment of the outer key, `hirest-steps` for every step of it. Only videos marked `relevant` and
`clip` have a moment; the others are counted as dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from video_opd.data.importers.annotation import Annotation, Reading, Seconds, Times
from video_opd.data.records import Record, json_entries

_NO_MOMENT = "the video is not marked as having the moment"


class _Step(BaseModel):
    heading: str
    absolute_bounds: Times


class _Video(BaseModel):
    relevant: bool
    clip: bool
    v_duration: Seconds
    bounds: Times | None = None
    steps: list[_Step] = []


def read(files: list[Path], _: Reading) -> Iterator[Annotation]:
    """The moment of every video that has one."""
    for record, query, name, video in _videos(files):
        if not (video.relevant and video.clip):
            yield Annotation(record=record, video=name, query=query, spans=(), skipped=_NO_MOMENT)
            continue
        if video.bounds is None:
            record.refuse(f"{name} has a moment but no `bounds`")
        yield Annotation(record=record, video=name, query=query, spans=(video.bounds,), duration=video.v_duration)


def read_steps(files: list[Path], _: Reading) -> Iterator[Annotation]:
    """Every step of every video that has a moment."""
    for record, query, name, video in _videos(files):
        if not (video.relevant and video.clip):
            yield Annotation(record=record, video=name, query=query, spans=(), skipped=_NO_MOMENT)
            continue
        for step in video.steps:
            yield Annotation(
                record=record,
                video=name,
                query=step.heading,
                spans=(step.absolute_bounds,),
                duration=video.v_duration,
            )


def _videos(files: list[Path]) -> Iterator[tuple[Record, str, str, _Video]]:
    for file in files:
        for record in json_entries(file, unique=True):
            if record.key is None or not isinstance(record.value, dict):
                record.refuse('it is not a query with its videos, `"QUERY": {"VIDEO.mp4": {…}}`')
            for name, entry in record.value.items():
                yield record, record.key, name, record.as_(_Video, entry)
