"""The spans of a job as a file: JSON, CSV, SRT, or a shell script that cuts them out with ffmpeg.

Queries, answers and file names come from anybody. In every format they stay data: no cell is a formula, no subtitle is
a time line or markup, and no name is a command or an option.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from video_opd.serve.api_records import GroundResult, QueryAnswer

FORMULA_STARTS = tuple("=+-@\t\r\n|%")
"""A spreadsheet computes a cell that begins so."""
CSV_COLUMNS = ("video", "model", "query_number", "query", "span_number", "start_s", "end_s", "answer", "reason")


@dataclass(frozen=True)
class ExportFormat:
    """One format of a file."""

    file_name: str
    media_type: str
    write: Callable[[GroundResult], str]


@dataclass(frozen=True)
class _SpanRow:
    """One span, with where it comes from; an answer without a span has one such row without times."""

    model: str
    model_number: int
    query_number: int
    answer: QueryAnswer
    span_number: int | None
    span: tuple[float, float] | None


def write_json(result: GroundResult) -> str:
    """As `POST /ground` answers."""
    return json.dumps(result.model_dump(), indent=2, ensure_ascii=False) + "\n"


def write_csv(result: GroundResult) -> str:
    """One row for each span, and one without times for an answer that has none."""
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    for row in _list_rows(result):
        start_s, end_s = row.span or ("", "")
        answer = row.answer
        texts = (result.video, row.model, answer.query, answer.answer, answer.reason or "")
        video, model, query, answered, reason = map(_disarm_cell, texts)
        number = "" if row.span_number is None else row.span_number
        writer.writerow((video, model, row.query_number, query, number, start_s, end_s, answered, reason))
    return file.getvalue()


def write_srt(result: GroundResult) -> str:
    """Subtitles: each span shows its query, and which model said so where there are two. What lies after the end of the
    video, and a span of no length, cannot be seen and are left out."""
    parts = [(_find_part(row.span, result.duration), row) for row in _list_rows(result) if row.span is not None]
    cues = sorted(((part, row) for part, row in parts if part is not None), key=lambda cue: cue[0])
    has_two = len(result.models) > 1
    texts = []
    for number, (part, row) in enumerate(cues, start=1):
        text = f"{row.model}: {row.answer.query}" if has_two else row.answer.query
        start, end = map(_write_clock, part)
        texts.append(f"{number}\n{start} --> {end}\n{_disarm_subtitle(text)}\n")
    return "\n".join(texts)


def write_cut_list(result: GroundResult) -> str:
    """A shell script that cuts every span out of the video with ffmpeg."""
    lines = [
        "#!/bin/sh",
        "# Cuts every span into a file of its own. Give the video, if it lies elsewhere: sh cut.sh PATH",
        "# The parts are re-encoded, so that each begins at the exact frame. Files that exist are kept.",
        "set -eu",
        f"if [ $# -gt 0 ]; then video=$1; else video={shlex.quote(result.video)}; fi",
    ]
    for row in _list_rows(result):
        if row.span is None:
            continue
        lines.append(f"# {json.dumps(row.model)}, query {row.query_number}: {json.dumps(row.answer.query)}")
        name = f"span-m{row.model_number}-q{row.query_number}-s{row.span_number}.mp4"
        part = _find_part(row.span, result.duration)
        if part is None:  # ffmpeg refuses it, and the script would end here
            start, end = row.span
            lines.append(f"# Nothing of the video lies in this span: {start:.3f} s to {end:.3f} s.")
            continue
        start, end = part
        lines.append(f'[ -e {name} ] || ffmpeg -nostdin -n -i "file:$video" -ss {start:.3f} -to {end:.3f} {name}')
    return "\n".join(lines) + "\n"


FORMATS = {
    "json": ExportFormat("spans.json", "application/json", write_json),
    "csv": ExportFormat("spans.csv", "text/csv; charset=utf-8", write_csv),
    "srt": ExportFormat("spans.srt", "application/x-subrip; charset=utf-8", write_srt),
    "ffmpeg": ExportFormat("cut.sh", "application/x-sh; charset=utf-8", write_cut_list),
}


def _list_rows(result: GroundResult) -> Iterator[_SpanRow]:
    for model_number, answered in enumerate(result.models, start=1):
        for query_number, answer in enumerate(answered.answers, start=1):
            if not answer.spans:
                yield _SpanRow(answered.model, model_number, query_number, answer, None, None)
            for span_number, span in enumerate(answer.spans, start=1):
                yield _SpanRow(answered.model, model_number, query_number, answer, span_number, span)


def _find_part(span: tuple[float, float], duration: float) -> tuple[float, float] | None:
    """The part of a span within the video, in seconds to three digits; None where nothing is left. A model may name a
    time after the end."""
    start, end = (round(min(seconds, duration), 3) for seconds in span)
    return (start, end) if start < end else None


def _disarm_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe before it says that it is text."""
    return f"'{text}" if text.lstrip(" \u00a0\ufeff").startswith(FORMULA_STARTS) else text


def _disarm_subtitle(text: str) -> str:
    """A text on one line, without what players take for markup or for the times of a subtitle."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", text).split())
    return line.translate({ord("<"): "‹", ord(">"): "›", ord("{"): "(", ord("}"): ")"}) or "…"


def _write_clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"
