"""Video-MME (arXiv 2405.21075): 900 videos from 11 seconds to an hour, three questions with four options each.

Rows have the columns of the official table (huggingface.co/datasets/lmms-lab/Video-MME, `test-00000-of-00001.parquet`);
videos are `data/{videoID}.mp4` (or in `videos` or `video`), subtitles `subtitle/{videoID}.srt`. Rules:
`eval_your_results.py` of github.com/thanku-all/parse_answer, VLMEvalKit `videomme.py`, lmms-eval
`tasks/videomme/utils.py`.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, StrictStr

from video_opd.data.prompt_templates import PromptTemplate
from video_opd.errors import DataError
from video_opd.eval.benchmarks._question import (
    Benchmark,
    Option,
    Question,
    Rating,
    RatingRule,
    find_first_existing,
    letter,
    refuse_path,
)
from video_opd.eval.benchmarks._question_files import STRICT, rate_strictly, rating_of
from video_opd.files.records import Record, json_any, read_text, table_rows
from video_opd.files.strict_json import load_json

INSTRUCTION = (
    "Select the best answer to the following multiple-choice question based on the video. "
    "Respond with only the letter (A, B, C, or D) of the correct option."
)
SUBTITLES = "This video's subtitles are listed below:"

GROUPINGS = ("duration", "domain", "sub_category", "task_type")

_HOMES = ("data", "videos", "video")
"""Folders of videos."""
_TABLES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")


class _VideoMmeRow(BaseModel):
    videoID: StrictStr  # noqa: N815  the official name of the column
    duration: StrictStr
    domain: StrictStr
    sub_category: StrictStr
    task_type: StrictStr
    question_id: StrictStr
    question: StrictStr
    options: list[StrictStr]
    answer: StrictStr


def read(folder: Path, *, subtitles: bool = False) -> tuple[Question, ...]:
    """The questions of the one table that lies in the folder (or in its folder `videomme`).

    Args:
        folder: with the table as JSON, JSON lines, CSV or, where pyarrow is installed, parquet.
        subtitles: put every line of a video's subtitles before the question, where it has some.

    Raises:
        DataError: no table, several, or one that is not Video-MME's.
    """
    path = _find_table(folder)
    seen: dict[str, int] = {}
    questions = []
    for record in _read_records(path):
        row = _read_row(record)
        if row.question_id in seen:
            record.refuse(f"the question_id {row.question_id!r} is that of line {seen[row.question_id]} too")
        seen[row.question_id] = record.line
        refuse_path(record, f"data/{row.videoID}.mp4")
        said = _read_subtitles(folder / f"subtitle/{row.videoID}.srt") if subtitles else None
        questions.append(_make_question(record, row, folder, said))
    if not questions:
        raise DataError(f"{path}", reason="it has no questions", remedy="Fetch or export the official table again")
    return tuple(questions)


def _make_question(record: Record, row: _VideoMmeRow, folder: Path, said: str | None) -> Question:
    """One row; `said` are its subtitles, "" where the video has none, None where they are not asked with."""
    letters = [letter(place) for place in range(len(row.options))]
    if len(letters) < 2 or not all(map(str.startswith, row.options, [f"{label}." for label in letters])):
        record.refuse(f"`options` is {row.options!r}, and options begin with A., B., C. and so on, at least two")
    if row.answer not in letters:
        record.refuse(f"`answer` is {row.answer!r}, which is the letter of no option")
    asked = "\n".join((INSTRUCTION, f"Question: {row.question}", *row.options, "The best answer is:"))
    categories = [(grouping, getattr(row, grouping)) for grouping in GROUPINGS]
    if said is not None:
        categories.append(("subtitles", "with" if said else "without, as the video has none"))
    return Question(
        id=row.question_id,
        video=find_first_existing(
            folder, [f"{home}/{row.videoID}.{kind}" for home in _HOMES for kind in ("mp4", "MP4", "mkv")]
        ),
        prompt=f"{SUBTITLES}\n{said}\n{asked}" if said else asked,
        options=tuple(
            Option(label=label, text=text, content=text[2:].strip())
            for label, text in zip(letters, row.options, strict=True)
        ),
        right=letters.index(row.answer),
        answer=row.answer,
        categories=tuple(categories),
    )


def _find_table(folder: Path) -> Path:
    homes = [folder, folder / "videomme"]
    found = [path for home in homes for path in sorted(home.glob("*")) if path.suffix.lower() in _TABLES]
    if len(found) != 1:
        several = f"it has {', '.join(str(path.relative_to(folder)) for path in found[:4])}"
        raise DataError(
            f"{folder} holds {len(found)} tables of questions",
            reason=several if found else f"a file {', '.join(_TABLES)} was looked for there and in its `videomme`",
            remedy="keep exactly one table there: the official test-00000-of-00001.parquet, or the same columns as "
            "JSON lines or CSV",
        )
    return found[0]


def _read_records(path: Path) -> Iterator[Record]:
    if path.suffix.lower() == ".parquet":
        return _read_parquet_rows(path)
    return table_rows(path) if path.suffix.lower() in (".csv", ".tsv") else json_any(path)


def _read_parquet_rows(path: Path) -> Iterator[Record]:
    """Rows of a parquet file; where one has no lines, its number stands for it."""
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise DataError(
            f"{path}",
            reason="reading parquet takes pyarrow, which is not installed",
            remedy="`pip install pyarrow`, or export the table as JSON lines or CSV",
        ) from None
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}", reason=f"the file cannot be read: {error}", remedy="Fetch the file again") from error
    return (Record(path, number, row) for number, row in enumerate(rows, start=1))


def _read_row(record: Record) -> _VideoMmeRow:
    if record.key is not None or not isinstance(record.value, dict):
        record.refuse("a row must be an object of columns, but this row is not")
    value = dict(record.value)
    if isinstance(value.get("options"), str):
        value["options"] = _parse_list(value["options"])
    return record.read_as(_VideoMmeRow, value)


def _parse_list(text: str) -> list[str]:
    """A list that went through a table of text: as JSON, as Python or NumPy print it, or one option a line."""
    try:
        found = load_json(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list):
        return found
    if not text.lstrip().startswith("["):
        return [line.strip() for line in text.splitlines() if line.strip()]
    quoted = re.findall(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"", text)
    try:
        return [str(ast.literal_eval(part)) for part in quoted]
    except (ValueError, SyntaxError):
        return []


def _read_subtitles(path: Path) -> str:
    """What is said in a video, one line each, without numbers, times and tags; nothing where there is no file."""
    if not os.path.isfile(path):
        return ""
    kept: list[str] = []
    for line in read_text(path).splitlines():
        if "-->" not in line:
            kept.append(re.sub(r"<[^>]*>", "", line).strip())
        elif kept and kept[-1].isdecimal() and (len(kept) == 1 or not kept[-2]):
            kept.pop()  # a cue's number, behind a blank line; another number is speech
    return "\n".join(line for line in kept if line)


def _official(answer: str, question: Question) -> Rating:
    read = _first_capital(answer)
    return rating_of(read, question, counted=read is not None)


def _vlmevalkit(answer: str, question: Question) -> Rating:
    return rating_of(_first_capital(answer.replace("Answer:", "")), question)


def _lmms_eval(answer: str, question: Question) -> Rating:
    return rating_of(_surest_letter(answer), question)


_NOUNS = {
    "answer": ("", "the ", "the correct ", "correct ", "the best ", "best ", "my "),
    "option": ("the correct ", "correct ", "the best ", "best "),
    "choice": ("", "the ", "the correct ", "correct ", "my "),
}
_PHRASES = (
    *(f"{before}{noun} is" for noun, befores in _NOUNS.items() for before in befores),
    "i choose", "i select", "i pick", "옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは",
)  # fmt: skip
"""Behind which lmms-eval looks for a letter."""
_MARKS = (("({})", 6), ("{}.", 5), ("{}:", 4), ("{})", 3), ("{} ", 2))
"""How a letter may stand, and how sure lmms-eval is that it is meant; without any, wherever it stands is 0."""
_FIRST, _LAST, _BEHIND_PHRASE = 10, 9, 7


def _surest_letter(answer: str) -> str | None:
    """lmms-eval 0.7.3, `tasks/_task_utils/mcq_extract.py`: the capital A to D that stands in the surest place, and of
    equally sure ones the one furthest on: first of all, last of all, behind a phrase, in brackets, before a mark."""
    said = answer.strip()
    for mark in ",.!?;:'\"":
        said = said.strip(mark)
    padded, bare = f" {said} ", said.strip()
    found = [
        (sure, padded.rfind(form.format(label)), label)
        for form, sure in _MARKS
        for label in "ABCD"
        if form.format(label) in padded
    ]
    lower = padded.lower()
    for phrase in _PHRASES:
        if (at := lower.find(phrase)) >= 0:
            places = {label: padded.find(label, at + len(phrase)) for label in "ABCD"}
            found += [(_BEHIND_PHRASE, place, label) for label, place in places.items() if place >= 0]
    for label in "ABCD":
        if bare.startswith(label) and not bare[1:2].isalpha():
            found.append((_FIRST, 0, label))
        if bare.endswith(label) and not bare[-2:-1].isalpha():
            found.append((_LAST, len(padded), label))
    found = found or [(0, padded.rfind(label), label) for label in "ABCD" if label in padded]
    return max(found, key=lambda place: place[:2])[2] if found else None


def _first_capital(answer: str) -> str | None:
    """The first capital A to D, wherever it stands: "Based on the video, C" is B.

    Of the stock beginnings that the two take out first, only VLMEvalKit's "Answer:" holds one. ("Best answer:" and
    "Best option:" hold one too; for want of a comma they are a single text there, which no answer has.)
    """
    found = re.search("[ABCD]", answer)
    return found and found.group()


VIDEO_MME = Benchmark(
    template=PromptTemplate(user="{video}{query}", queries="as-is"),
    rules={
        "strict": RatingRule(says=STRICT, rate=rate_strictly),
        "official": RatingRule(
            says="Video-MME's own: the first capital A to D anywhere; answers without one are left out of the "
            "denominator",
            rate=_official,
        ),
        "vlmevalkit": RatingRule(
            says='VLMEvalKit\'s, without its language model: "Answer:" is taken out, then the first capital A to D '
            "anywhere; every question counts",
            rate=_vlmevalkit,
        ),
        "lmms-eval": RatingRule(
            says="lmms-eval 0.7.3's (older ones took the first capital anywhere): of the capitals A to D the one in "
            'the surest place, which is first of all, last of all, behind words such as "the answer is", in brackets, '
            "before a mark; every question counts; the prompt stays the official one",
            rate=_lmms_eval,
        ),
    },
    max_new_tokens=16,  # lmms-eval's videomme task
    grouping="duration",
    read=read,
    options=frozenset({"subtitles"}),
)
