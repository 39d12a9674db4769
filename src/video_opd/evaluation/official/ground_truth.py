"""Annotations to score against: a manifest, or an original file where it holds more than a manifest does.

QVHighlights (`highlight_val_release.jsonl`) has the saliency of clips, which the highlight half of its official scores
needs; VUE-TR (`VUE-TRv2_ground_truth.json`) has categories. They are told by their keys. Examples read from them are
called as `video-opd data import` calls them: `qvhighlights/VID/QID`, `vue-tr/VIDEO/QUERY_ID`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from video_opd.data.manifest import read_manifest
from video_opd.data.records import Record, json_any
from video_opd.errors import DataError
from video_opd.evaluation.official.nouns import GroundTruth
from video_opd.vocabulary import Example, Span

CLIP_S = 2.0
"""Length of the clips that QVHighlights gives saliency to, in seconds."""

_Seconds = Annotated[float, Field(ge=0)]
_Window = Annotated[list[_Seconds], Field(min_length=2, max_length=2)]


class _QVHighlightsRow(BaseModel):
    model_config = ConfigDict(strict=True)
    qid: int | str
    vid: Annotated[str, Field(min_length=1)]
    query: str
    duration: Annotated[float, Field(gt=0, le=1e6)]
    relevant_windows: Annotated[list[_Window], Field(min_length=1)]
    relevant_clip_ids: list[Annotated[int, Field(ge=0)]] | None = None
    saliency_scores: list[Annotated[list[float], Field(min_length=1)]] | None = None


class _VueTrRow(BaseModel):
    model_config = ConfigDict(strict=True)
    query_id: int | str
    video_id: Annotated[str, Field(min_length=1)]
    query: str
    duration: Annotated[float, Field(gt=0)]
    gt: Annotated[list[_Window], Field(min_length=1)]
    duration_category: str | None = None
    query_format: str | None = None
    query_modality: str | None = None


def read_ground_truth(path: Path) -> GroundTruth:
    """Read a manifest or an original annotation file of QVHighlights or VUE-TR.

    Raises:
        DataError: at the first row that cannot be used, or for a file without rows.
    """
    keys = _keys_of_first_row(path)
    if "qid" in keys and "id" not in keys:
        return _qvhighlights(path)
    if "query_id" in keys and "id" not in keys:
        return _vue_tr(path)
    return GroundTruth(examples=tuple(read_manifest(path)))


def _keys_of_first_row(path: Path) -> set[str]:
    """Empty where the file cannot be read like this; whoever reads it as a manifest then says why."""
    try:
        first = next(json_any(path), None)
    except DataError:
        return set()
    return set(first.value) if first is not None and first.key is None and isinstance(first.value, dict) else set()


def _qvhighlights(path: Path) -> GroundTruth:
    examples: dict[str, Example] = {}
    saliency: dict[str, tuple[tuple[float, ...], ...]] = {}
    for record in json_any(path):
        if isinstance(record.value, dict) and "relevant_windows" not in record.value:
            record.refuse(
                "it has no `relevant_windows`: the annotations of this split are withheld",
                "Give a file with annotations, such as highlight_val_release.jsonl",
            )
        row = record.as_(_QVHighlightsRow)
        example = _example(
            record, f"qvhighlights/{row.vid}/{row.qid}", f"{row.vid}.mp4", row.query, row.relevant_windows, row.duration
        )
        _add(examples, example, record)
        if row.relevant_clip_ids is not None and row.saliency_scores is not None:
            saliency[example.id] = _saliency(record, row.duration, row.relevant_clip_ids, row.saliency_scores)
    return GroundTruth(examples=tuple(examples.values()), saliency=saliency)


def _saliency(
    record: Record, duration: float, clip_ids: list[int], scores: list[list[float]]
) -> tuple[tuple[float, ...], ...]:
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


def _vue_tr(path: Path) -> GroundTruth:
    examples: dict[str, Example] = {}
    categories: dict[str, tuple[str, ...]] = {}
    for record in json_any(path):
        row = record.as_(_VueTrRow)
        example = _example(
            record, f"vue-tr/{row.video_id}/{row.query_id}", f"{row.video_id}.mp4", row.query, row.gt, row.duration
        )
        _add(examples, example, record)
        named = (row.duration_category, row.query_format, row.query_modality)
        categories[example.id] = tuple(name for name in named if name)
    return GroundTruth(examples=tuple(examples.values()), categories=categories)


def _example(record: Record, id_: str, video: str, query: str, windows: list[list[float]], duration: float) -> Example:
    spans = tuple(Span(float(start), float(end)) for start, end in windows)
    for span in _reversed(spans):
        record.refuse(f"a span ends at {span.end_s:g} s, before it starts at {span.start_s:g} s")
    return Example(id=id_, video=video, query=query, spans=spans, duration=float(duration))


def _reversed(spans: tuple[Span, ...]) -> Iterator[Span]:
    return (span for span in spans if span.end_s < span.start_s)


def _add(examples: dict[str, Example], example: Example, record: Record) -> None:
    if example.id in examples:
        record.refuse(f"`{example.id}` is there already", "Give every query once")
    examples[example.id] = example
