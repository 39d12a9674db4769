"""HiREST (Zala et al. 2023): https://github.com/j-min/HiREST, `data/splits/all_data_{split}.json`.

    {"Make Pancake Mix": {"5V3dI2zp1xA.mp4": {"relevant": true, "clip": true, "v_duration": 207.08, "bounds": [50, 121],
      "steps": [{"index": 0, "heading": "grind the oats", "absolute_bounds": [50, 58]}]}}}

`hirest` asks for the moment of the outer key, `hirest-steps` for every step of it. Only videos marked `relevant` and
`clip` have a moment; the others are counted as dropped. The labels of the test set are withheld: all its bounds are
`[0, 1]`, and it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Times
from video_opd.files.records import Record, json_by_key

_WITHHELD = (0.0, 1.0)
"""The bounds of every video of the test set, in place of its labels."""
_NO_MOMENT = "the video is not marked as having the moment"


class _Step(BaseModel):
    heading: str
    absolute_bounds: Times


class _HirestVideo(BaseModel):
    relevant: bool
    clip: bool
    v_duration: Seconds
    bounds: Times | None = None
    steps: list[_Step] = []


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """The moment of every video that has one."""
    for record, query, name, video in _read_videos(files):
        if not (video.relevant and video.clip):
            yield Annotation(record=record, video=name, query=query, spans=(), skipped=_NO_MOMENT)
            continue
        if video.bounds is None:
            record.refuse(f"{name} has a moment but no `bounds`")
        yield Annotation(record=record, video=name, query=query, spans=(video.bounds,), duration=video.v_duration)


def read_steps(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every step of every video that has a moment."""
    for record, query, name, video in _read_videos(files):
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


def _read_videos(files: list[Path]) -> Iterator[tuple[Record, str, str, _HirestVideo]]:
    for file in files:
        found = []
        for record in json_by_key(file):
            if record.key is None or not isinstance(record.value, dict):
                record.refuse('it is not a query with its videos, `"QUERY": {"VIDEO.mp4": {…}}`')
            found += [
                (record, record.key, name, record.read_as(_HirestVideo, entry)) for name, entry in record.value.items()
            ]
        if found and all(video.bounds == _WITHHELD and not video.steps for *_, video in found):
            found[0][0].refuse(
                f"the labels of this split are withheld: all {len(found)} videos have the bounds [0, 1] and no steps",
                "Give a file with labels, such as all_data_train.json or all_data_val.json",
            )
        yield from found
