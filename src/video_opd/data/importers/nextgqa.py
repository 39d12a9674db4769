"""NExT-GQA (Xiao et al. 2024), https://github.com/doc-doc/NExT-GQA: `val.csv` with `gsub_val.json`, or one array.

    video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4
    4882821564,2697,640,480,why did the boy pick up one present,unwrap it,1,CW,share,approach,unwrap it,play,gesture
    {"4882821564": {"duration": 90, "location": {"1": [[13.8, 29.8]]}, "fps": 29.97}}

    [{"id": "4882821564_1", "video": "1104/4882821564.mp4", "question": "why did the boy pick up one present",
      "duration": 90, "glue": [[13.8, 29.8]], "answer": "(C)"}]

Two files together, questions and where their answers are seen, in any order; or the array of VideoChat-R1 alone. The
query is the question: the official score asks where the reason for the answer is seen, whatever the answer. 36 spans
of `test` begin up to 0.2 s before 0 and are read from 0. Durations are whole seconds, and three spans of `val` end
within a second after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, Spans, Times
from video_opd.data.video.video_names import video_name
from video_opd.errors import DataError
from video_opd.files.records import Record, json_entries, json_rows, table_rows

_ROUNDED_S = 0.5
_FROM_0 = "a span began some tenths of a second before its video, and begins with it"
_REMEDY = "Give the table and its places, such as `val.csv gsub_val.json`"


class _NextgqaQuestion(BaseModel):
    video_id: str
    qid: str
    question: str


class _Places(BaseModel):
    duration: Seconds | None = None
    location: dict[str, Spans]


class _GluedQuestion(BaseModel):
    id: str
    video: str
    question: str
    duration: Seconds | None = None
    glue: Spans


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every question that has a place."""
    tables = [file for file in files if file.suffix.lower() in (".csv", ".tsv")]
    if not tables:
        for file in files:
            for record in json_rows(file):
                yield _annotate_grounding(record, record.read_as(_GluedQuestion))
        return
    if len(tables) != 1 or len(files) != 2:
        raise DataError(
            f"{len(files)} files", reason="NExT-GQA is two files, questions and their places", remedy=_REMEDY
        )
    table, (places_file,) = tables[0], [file for file in files if file not in tables]
    places = {record.key: (record, record.read_as(_Places)) for record in json_entries(places_file, unique=True)}
    asked: set[tuple[str, str]] = set()
    for record in table_rows(table):
        row = record.read_as(_NextgqaQuestion)
        asked.add((row.video_id, row.qid))
        yield _annotate_question(record, row, places[row.video_id][1] if row.video_id in places else None)
    for video, (record, found) in places.items():
        for qid in found.location:
            if (str(video), qid) not in asked:
                yield Annotation(
                    record=record, video=str(video), query="", spans=(), skipped=f"{table.name} has no such question"
                )


def _start_at_zero(spans: Iterable[Times]) -> tuple[tuple[Times, ...], str]:
    """Spans that do not begin before the video; those that do by some tenths are the annotation tool's rounding."""
    given = tuple(spans)
    found = tuple((0.0, end) if -_ROUNDED_S < start < 0 <= end else (start, end) for start, end in given)
    return found, _FROM_0 if found != given else ""


def _annotate_question(record: Record, row: _NextgqaQuestion, found: _Places | None) -> Annotation:
    spans, remark = _start_at_zero([] if found is None else found.location.get(row.qid, []))
    return Annotation(
        record=record,
        video=row.video_id,
        query=row.question,
        spans=spans,
        duration=None if found is None else found.duration,
        name=row.qid,
        skipped="" if spans else "the data set does not say where its answer is seen",
        remark=remark,
    )


def _annotate_grounding(record: Record, row: _GluedQuestion) -> Annotation:
    spans, remark = _start_at_zero(row.glue)
    return Annotation(
        record=record,
        video=row.video,
        query=row.question,
        spans=spans,
        remark=remark,
        duration=row.duration,
        name=row.id.removeprefix(f"{video_name(row.video)}_"),
    )
