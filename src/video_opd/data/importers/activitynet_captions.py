"""ActivityNet Captions (Krishna et al. 2017): https://cs.stanford.edu/people/ranjaykrishna/densevid. Videos: `v_ID.*`.

    {"v_uqiMw7tQ1Cc": {"duration": 55.15, "timestamps": [[0.28, 55.15]], "sentences": ["  A lesson is given."]}}
    {"qid": 37421, "query": "A lesson is given.", "duration": 55.15, "vid": "v_uqiMw7tQ1Cc",
     "relevant_windows": [[0.28, 55.15]]}

The official object by video (also ActivityNet-CG's), or lighthouse's lines.
`val_1` and `val_2` ask about the same videos, so give each a `--source` of its own. Grounding papers test on `val_2`.
Two sentences of three begin with a blank, and one span of twenty covers nearly the whole video.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from video_opd.data.importers._annotation import Annotation, Captions, Moments, ReadOptions, require_name
from video_opd.files.records import json_by_key

_ID = re.compile(r"v_.{11}")


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every sentence of every video."""
    for file in files:
        for record in json_by_key(file, row="vid"):
            if record.key is None and isinstance(record.value, dict) and "vid" in record.value:
                line = record.read_as(Moments, Moments.with_windows(record))
                require_name(record, line.vid, _ID, "ActivityNet")
                yield line.make_annotation(record)
            else:
                require_name(record, record.key, _ID, "ActivityNet")
                yield from record.read_as(Captions).make_annotations(record)
