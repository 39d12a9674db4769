"""DiDeMo (Hendricks et al. 2017): https://github.com/LisaAnne/LocalizingMoments, `data/{split}_data.json`.

    [{"num_segments": 6, "description": "the baby is shown.", "times": [[1, 1], [1, 1], [0, 0], [0, 1]],
      "video": "39727414@N00_3622114091_452b898.mov", "annotation_id": 49153}]

Times count chunks of five seconds, the last one included: `[1, 1]` is 5 - 10 s. Only the first thirty seconds of a
video were annotated, and a description with a chunk beyond `num_segments` (the validation set has none) is counted as
dropped. Four to seven annotators disagree on two sentences of three; `--annotators` says what they
amount to:

- `consensus`: the segment that the official score would rate highest: of the 21, the one whose mean IoU with the three
  annotators nearest to it is largest (the earliest, then shortest of equals);
- `majority`: the segment named most often (the first named of equals);
- `mean`: mean start and mean end, rounded to whole seconds half to even, as VideoMind does it;
- `all`: every distinct segment, as several spans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, Field

from video_opd.data.importers._annotation import Annotation, ReadOptions, Times
from video_opd.data.importers._formats import ANNOTATORS
from video_opd.errors import ConfigurationError
from video_opd.files.records import json_rows
from video_opd.grounding.span import temporal_iou

CHUNK_S = 5.0
_NUM_NEAREST = 3


class _Description(BaseModel):
    description: str
    video: str
    times: list[tuple[int, int]] = Field(min_length=1)
    num_segments: int = Field(gt=0, le=1000)
    annotation_id: int | str


def read(files: list[Path], reading: ReadOptions) -> Iterator[Annotation]:
    """Yield an annotation for every description of the files."""
    for file in files:
        for record in json_rows(file):
            found = record.read_as(_Description)
            there = all(0 <= first <= last < found.num_segments for first, last in found.times)
            segments = [(first * CHUNK_S, (last + 1) * CHUNK_S) for first, last in found.times]
            yield Annotation(
                record=record,
                video=found.video,
                query=found.description,
                spans=combine_segments(segments, found.num_segments, reading.annotators),
                duration=found.num_segments * CHUNK_S,
                name=str(found.annotation_id),
                skipped="" if there else "an annotator names a chunk that the video has not",
            )


def combine_segments(segments: Sequence[Times], num_segments: int, annotators: str) -> tuple[Times, ...]:
    """The segments on which the annotators agree.

    Args:
        segments: one an annotator, in seconds, at least one.
        num_segments: chunks of five seconds that were annotated.
        annotators: `consensus`, `majority`, `mean` or `all`, as the top of this module says.

    Returns:
        Seconds: several only with `all`. A consensus may be a segment that no annotator named.

    Raises:
        ConfigurationError: `annotators` is none of the four.
    """
    match annotators:
        case "all":
            return tuple(dict.fromkeys(segments))
        case "majority":
            return (Counter(segments).most_common(1)[0][0],)
        case "mean":
            start, end = (float(round(fmean(ends))) for ends in zip(*segments, strict=True))
            return ((start, end),)
        case "consensus":
            edges = [number * CHUNK_S for number in range(num_segments + 1)]
            candidates = [(start, end) for start in edges for end in edges if start < end]
            return (max(candidates, key=lambda segment: _agreement(segment, segments)),)
    raise ConfigurationError(
        f"--annotators {annotators}",
        reason="no rule has that name",
        remedy=f"give one of {', '.join(ANNOTATORS)}",
    )


def _agreement(segment: Times, segments: Sequence[Times]) -> float:
    nearest = sorted((temporal_iou(segment, other) for other in segments), reverse=True)[:_NUM_NEAREST]
    return round(fmean(nearest), 9)  # or rounding would decide between equals
