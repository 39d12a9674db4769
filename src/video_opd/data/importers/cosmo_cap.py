"""CosMo-Cap and HowTo-Interlink7M (Wang et al. 2024, CosMo), as VideoMind has them: https://github.com/yeliudev/VideoMind.

    {"vid": "QtWT8rxUuNk", "duration": 93.29, "query": "A purple hanger hangs a sweater.", "span": [1, 4]}

Times are whole seconds. Videos are YouTube's, `VID.mp4`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from video_opd.data.importers._annotation import Annotation, ReadOptions, SingleSpanQuery
from video_opd.files.records import json_rows


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Yield an annotation for every line of the files."""
    for file in files:
        for record in json_rows(file):
            yield record.read_as(SingleSpanQuery).make_annotation(record)
