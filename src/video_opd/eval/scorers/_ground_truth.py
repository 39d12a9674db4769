"""Annotations to score against: a manifest, or an original file where it holds more than a manifest does.

QVHighlights (`highlight_val_release.jsonl`) has the saliency of clips, which the highlight half of its official scores
needs; VUE-TR (`VUE-TRv2_ground_truth.json`) has categories; others are in `original_files`. They are told by their
keys. Examples read from them are called as `video-opd data import` calls them: `qvhighlights/VID/QID`,
`vue-tr/VIDEO/QUERY_ID`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from video_opd.data.importers._account import KEPT, Policies
from video_opd.data.importers._annotation import ReadOptions
from video_opd.data.importers._collector import Collector
from video_opd.data.importers._read_annotations import read_annotations
from video_opd.data.manifest import pack_manifest
from video_opd.errors import DataError
from video_opd.eval.scorers import _original_files as original_files
from video_opd.eval.scorers._scorer_types import GroundTruth
from video_opd.files.first_record import read_first_line
from video_opd.files.records import Record, json_any
from video_opd.types import Example

CLIP_S = 2.0
"""Length of the clips that QVHighlights gives saliency to, in seconds."""

_LONGEST_S = 1e6
"""Of a video: bounds the number of clips."""


class _Saliency(BaseModel):
    model_config = ConfigDict(strict=True)
    relevant_clip_ids: list[Annotated[int, Field(ge=0)]] | None = None
    saliency_scores: list[Annotated[list[float], Field(min_length=1)]] | None = None


class _Categories(BaseModel):
    model_config = ConfigDict(strict=True)
    duration_category: str | None = None
    query_format: str | None = None
    query_modality: str | None = None


def read_ground_truth(path: Path) -> GroundTruth:
    """Read a manifest or an original annotation file of QVHighlights, VUE-TR or those of `original_files`.

    Raises:
        DataError: at the first row that cannot be used, or for a file without rows.
    """
    if read := original_files.find_reader(path):
        return read(path)
    keys = _keys_of_first_row(path)
    if "qid" in keys and "id" not in keys:
        rows = _import_rows("qvhighlights", path)
        return GroundTruth(
            examples=tuple(example for example, _ in rows),
            saliency={
                example.id: given for example, record in rows if (given := _read_saliency(record, example.duration))
            },
        )
    if "query_id" in keys and "id" not in keys:
        rows = _import_rows("vue-tr", path)
        return GroundTruth(
            examples=tuple(example for example, _ in rows),
            categories={example.id: _read_categories(record) for example, record in rows},
        )
    return GroundTruth(examples=pack_manifest(path))


def _keys_of_first_row(path: Path) -> set[str]:
    """Empty where the file cannot be read like this; whoever reads it as a manifest then says why."""
    try:
        first = read_first_line(path) or next(json_any(path), None)
    except DataError:
        return set()
    return set(first.value) if first is not None and first.key is None and isinstance(first.value, dict) else set()


def _import_rows(format: str, path: Path) -> list[tuple[Example, Record]]:
    """As `video-opd data import` reads it, but a row that it would drop or number anew is refused."""
    annotations = read_annotations(format, [path], ReadOptions())
    collector = Collector(Policies(source=format))
    examples = collector.collect(annotations)
    for reason, where in collector.report.first.items():
        if reason not in KEPT:
            raise DataError(where, reason=reason, remedy="Correct the row: every query counts in the scores")
    return list(zip(examples, (annotation.record for annotation in annotations), strict=True))


def _read_saliency(record: Record, duration: float | None) -> tuple[tuple[float, ...], ...]:
    """For each clip of 2 s what the annotators gave it; nothing where the file does not say."""
    row = record.read_as(_Saliency)
    clip_ids, scores = row.relevant_clip_ids, row.saliency_scores
    if clip_ids is None or scores is None:
        return ()
    if duration is None:
        record.refuse("it has no `duration`, so the number of clips that `saliency_scores` is about is unknown")
    if duration > _LONGEST_S:
        record.refuse(f"a video of {duration:g} s is too long")
    num_clips = int(duration / CLIP_S)
    if len(clip_ids) != len(scores):
        record.refuse(f"it has {len(clip_ids)} `relevant_clip_ids` and {len(scores)} `saliency_scores`")
    if any(clip_id >= num_clips for clip_id in clip_ids):
        record.refuse(f"clip {max(clip_ids)} is not in a video of {num_clips} clips")
    if len({len(given) for given in scores}) > 1:
        record.refuse("its clips have different numbers of annotators")
    num_annotators = len(scores[0]) if scores else 1
    found = dict(zip(clip_ids, scores, strict=True))
    return tuple(tuple(found.get(clip, [0.0] * num_annotators)) for clip in range(num_clips))


def _read_categories(record: Record) -> tuple[str, ...]:
    row = record.read_as(_Categories)
    return tuple(name for name in (row.duration_category, row.query_format, row.query_modality) if name)
