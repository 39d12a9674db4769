"""Video-OPD's own data (2026): https://huggingface.co/datasets/williamljz/Video-opd-Dataset, `data/train.parquet`.

Columns of text: `video` (`videos/SUBSET/FILE`), `subset`, `system_prompt`, `user_query`, `assistant_response`,
`messages`. Before it was uploaded it was a list for ms-swift:

    [{"messages": [{"role": "user", "content": "<video>Please find …"},
                   {"role": "assistant", "content": "The event …"}],
      "videos": ["…/TimeLens-100K/videos/didemo/a.mp4"]}]

`assistant_response` is the annotated answer, from which the spans are read, and `user_query` the whole question:
`sft` says how the query is taken out of it. The source is the subset, and a video is called `SUBSET/FILE`. There are
no durations: `--durations` or `--videos` fill them in. Parquet needs pyarrow (`pip install 'video-opd[parquet]'`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from video_opd.data.importers._annotation import Annotation, ReadOptions
from video_opd.data.importers._asked_by_template import make_finders
from video_opd.data.importers.sft import read_questions, refuse_other_forms
from video_opd.files.parquet import parquet_or_json_rows
from video_opd.files.record import Record


def read(files: list[Path], reading: ReadOptions) -> Iterator[Annotation]:
    """Yield an annotation for every row of the files."""
    ways = make_finders(reading.template)
    for file in files:
        yield from refuse_other_forms(
            _name_video(annotation, record)
            for record in parquet_or_json_rows(file)
            for annotation in read_questions(_make_conversation(record), ways)
        )


def _name_video(annotation: Annotation, record: Record) -> Annotation:
    path = PurePosixPath(annotation.video)
    subset = _subset(record) or path.parent.name
    video = f"{subset}/{path.name}" if subset and annotation.video else annotation.video
    return replace(annotation, record=record, video=video, source=subset)


def _make_conversation(record: Record) -> Record:
    """A row of columns as a conversation; one that is none is left as it is, and refused by whoever reads it."""
    value = record.value
    if not isinstance(value, dict) or not isinstance(value.get("user_query"), str):
        if isinstance(value, dict) and not {"videos", "video"} & value.keys():
            record.refuse("it has no `video` and no `videos`", "Give Video-opd-Dataset's parquet, or its ms-swift list")
        return record
    pair = {"query": value["user_query"], "response": value.get("assistant_response") or ""}
    return replace(record, value=pair | {"video": value.get("video") or value.get("video_filename")})


def _subset(record: Record) -> str:
    found = record.value.get("subset")
    return found if isinstance(found, str) else ""
