"""QVHighlights (Lei et al. 2021): https://github.com/jayleicn/moment_detr, `data/highlight_{split}_release.jsonl`.

    {"qid": 2579, "query": "A girl cooks.", "duration": 150, "vid": "NUsG9BgSes0_210.0_360.0",
     "relevant_windows": [[82, 150]]}

The video is the crop that its name tells, cut out already (`NUsG9BgSes0_210.0_360.0.mp4`); times count from its start.
A third of the queries have several windows. The clip-wise saliency scores are not kept: for the highlight half of the
official scores give `video-opd metrics` the original file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from video_opd.data.importers.annotation import Annotation, Moments, Reading, require_name
from video_opd.data.records import json_lines

_ID = re.compile(r".{11}_\d+\.\d+_\d+\.\d+")


def read(files: list[Path], _: Reading) -> Iterator[Annotation]:
    """Every line."""
    for file in files:
        for record in json_lines(file):
            keys = record.value.keys() if isinstance(record.value, dict) else ()
            if {"qid", "query", "vid"} <= set(keys) and "relevant_windows" not in keys:
                record.refuse(
                    "it has no `relevant_windows`: the annotations of this split are withheld",
                    "Give a file with annotations, such as highlight_val_release.jsonl",
                )
            line = record.as_(Moments)
            require_name(record, line.vid, _ID, "QVHighlights")
            yield line.annotation(record)
