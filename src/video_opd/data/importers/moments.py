"""Moments with windows, as lighthouse writes them for many data sets: https://github.com/line/lighthouse.

    {"qid": 7, "query": "a dog barks", "duration": 60, "vid": "a002_60_120", "relevant_windows": [[7.0, 12.7]]}

Read are ActivityNet Captions, CASTELLA, Charades-STA, Clotho-Moment, QVHighlights, ReXTime, TACoS, TUT2017, UnAV-100
and whatever else has this shape; other keys are ignored. CASTELLA rounds to whole seconds, so that some ends lie
a second after their video. Rows whose windows are null (TVSum, YouTube Highlights) rate clips and name no moment:
they are counted as dropped. A file may leave `duration` out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from video_opd.data.importers._annotation import Annotation, Moments, ReadOptions
from video_opd.files.records import json_rows


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Yield an annotation for every row of the files."""
    for file in files:
        for record in json_rows(file):
            yield record.read_as(Moments, Moments.with_windows(record)).make_annotation(record)
