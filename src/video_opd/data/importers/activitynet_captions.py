"""ActivityNet Captions (Krishna et al. 2017): https://cs.stanford.edu/people/ranjaykrishna/densevid. Videos: `v_ID.*`.

    {"v_uqiMw7tQ1Cc": {"duration": 55.15, "timestamps": [[0.28, 55.15]], "sentences": ["  A lesson is given."]}}

`val_1` and `val_2` ask about the same videos, so give each a `--source` of its own. Grounding papers test on `val_2`.
Two sentences of three begin with a blank, and one span of twenty covers nearly the whole video.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from video_opd.data.importers.annotation import Annotation, Captions, Reading, require_name
from video_opd.data.records import json_entries

_ID = re.compile(r"v_.{11}")


def read(files: list[Path], _: Reading) -> Iterator[Annotation]:
    """Every sentence of every video."""
    for file in files:
        for record in json_entries(file, unique=True):
            require_name(record, record.key, _ID, "ActivityNet")
            yield from record.as_(Captions).annotations(record)
