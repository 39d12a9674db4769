"""QVHighlights (Lei et al. 2021): https://github.com/jayleicn/moment_detr, `data/highlight_{split}_release.jsonl`.

    {"qid": 2579, "query": "A girl cooks.", "duration": 150, "vid": "NUsG9BgSes0_210.0_360.0",
     "relevant_windows": [[82, 150]]}

The video is the crop that its name tells, cut out already (`NUsG9BgSes0_210.0_360.0.mp4`); times count from its start.
A third of the queries have several windows. The clip-wise saliency scores are not kept: for the highlight half of the
official scores give `video-opd metrics` the original file. `highlight_test_release.jsonl` has no windows; they were
released later, as `data/highlight_test_with_gt.jsonl` (its issue 89).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from video_opd.data.importers._annotation import Annotation, Moments, ReadOptions, require_name
from video_opd.files.records import json_rows

_ID = re.compile(r".{11}_\d+\.\d+_\d+\.\d+")


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Yield an annotation for every line of the files."""
    for file in files:
        for record in json_rows(file):
            line = record.read_as(Moments, Moments.with_windows(record))
            require_name(record, line.vid, _ID, "QVHighlights")
            yield line.make_annotation(record)
