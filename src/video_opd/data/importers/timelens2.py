"""TimeLens2-93K (2026, arXiv 2607.17423): https://github.com/MCG-NJU/TimeLens2.

The raw annotations, or the grouped rows that its `prepare_timelens2_93k.py` makes of them:

    {"video_id": "abc", "annotations": [{"text": "a dog runs", "timestamps": [[1, 4], [9, 12]]}]}
    {"source": "timelens2_93k", "video_path": "abc.mp4", "duration": 30.0,
     "events": [{"query": "a dog runs", "span": [[1, 4], [9, 12]]}]}

The raw ones have no durations: give `--durations` or `--videos`. Several spans are one answer. Its conversations for
supervised training (`messages`) are not read: their questions are wrapped in varying instructions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from video_opd.data.importers._annotation import Annotation, ReadOptions, Spans
from video_opd.data.importers.timelens_100k import split_events
from video_opd.files.records import json_rows


class _Text(BaseModel):
    text: str
    timestamps: Spans


class _Raw(BaseModel):
    video_id: str
    annotations: list[_Text]


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every annotation of every line."""
    for file in files:
        for record in json_rows(file):
            if isinstance(record.value, dict) and "events" in record.value:
                yield from split_events(record)
                continue
            found = record.read_as(_Raw)
            for item in found.annotations:
                yield Annotation(record=record, video=found.video_id, query=item.text, spans=tuple(item.timestamps))
