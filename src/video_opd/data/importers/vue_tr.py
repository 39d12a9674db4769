"""VUE-TR and VUE-TR-V2 (Vidi, ByteDance 2025): https://github.com/bytedance/vidi, `VUE-TRv2_ground_truth.json`.

    [{"query_id": 0, "video_id": "6Qv-LrXJjSM", "duration": 3884.049, "query": "A slide shows a purple envelope",
      "gt": [[946, 953]], "task": "temporal_retrieval"}]

39 of 2,477 spans are not in whole seconds. A fifth of the queries have several spans, and many can only be answered by
listening (`query_modality`). Videos are YouTube's, `VIDEO_ID.mp4`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Times
from video_opd.files.records import json_rows


class _VueQuery(BaseModel):
    query_id: int | str
    video_id: str
    duration: Seconds
    query: str
    gt: list[Times]


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Yield an annotation for every query of the files."""
    for file in files:
        for record in json_rows(file):
            found = record.read_as(_VueQuery)
            yield Annotation(
                record=record,
                video=found.video_id,
                query=found.query,
                spans=tuple(found.gt),
                duration=found.duration,
                name=str(found.query_id),
            )
