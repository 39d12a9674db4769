"""TimeLens-Bench (Zhang et al. 2025, arXiv 2512.14698): `{charades,activitynet,qvhighlights}-timelens.json`.

    {"3MSZA": {"duration": 30.96, "spans": [[24.3, 30.4]], "queries": ["A person turns a light on."]}}

`spans[i]` answers `queries[i]`: always one span. Videos: `videos/{charades,activitynet,qvhighlights}/VID.mp4`. The data
are for academic use only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from video_opd.data.importers._annotation import Annotation, Captions, ReadOptions, Seconds, Times
from video_opd.files.records import json_by_key


class _TimeLensBenchVideo(BaseModel):
    duration: Seconds
    spans: list[Times]
    queries: list[str]


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every query of every video."""
    for file in files:
        source = file.stem.removesuffix("-timelens") if file.stem.endswith("-timelens") else ""
        for record in json_by_key(file):
            found = record.read_as(_TimeLensBenchVideo)
            same = Captions(duration=found.duration, timestamps=found.spans, sentences=found.queries)
            yield from same.make_annotations(record, source=source)
