"""Original annotation files that a scorer needs because a manifest keeps less: options, annotators, tasks.

- E.T. Bench (`etbench_txt_v1.0.json`, or a result file): tasks and the data sets that they were made of.
- NExT-GQA (`gsub_test.json`): with `test.csv` beside it, as in its repository, also the options; or the array of
  VideoChat-R1 (`nextgqa_val.json`), which has all in one.
- CG-Bench (`cgbench.json`, `cgbench_mini.json`): options.
- DiDeMo (`{train,val,test}_data.json`): the segment of every annotator.
- HiREST (`all_data_val.json`): every video marked `clip`, the wording of the original scorer.

They are told by their keys. Examples are called as `video-opd data import` calls them, where it reads the file:
`nextgqa/VIDEO/QID`, `cg-bench/VIDEO/QID`, `didemo/VIDEO/ANNOTATION_ID`, `hirest/VIDEO/0`, and
`et-bench/TASK/SOURCE/IDX`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, Field

from video_opd.data.importers._annotation import Seconds, Spans, Times
from video_opd.data.video.video_names import VIDEO_SUFFIXES, video_name
from video_opd.errors import DataError
from video_opd.eval.scorers._benchmark_results import ET_BENCH_TASKS, EtBenchRow
from video_opd.eval.scorers._scorer_types import GroundTruth, MomentQuestion
from video_opd.files.first_record import read_first_line
from video_opd.files.records import Record, json_any, json_entries, table_rows
from video_opd.types import Example, Span

_REMEDY = "Correct the row: every query counts in the scores"
_NUM_CHUNKS = 6
"""Of a video of DiDeMo."""


class _NextGqa(BaseModel):
    duration: Seconds
    location: dict[str, list[Times]]


class _NextGqaRow(BaseModel):
    video_id: str
    qid: str
    question: str
    answer: str
    a0: str
    a1: str
    a2: str
    a3: str
    a4: str


class _QuestionWithOptions(BaseModel):
    id: str
    video: str
    question: str
    options: list[str] = Field(min_length=1, max_length=26)
    duration: Seconds
    glue: Spans
    answer: str


class _CgBench(BaseModel):
    qid: int | str
    video_uid: str
    question: str
    duration: Seconds
    clue_intervals: list[Times] = Field(min_length=1)
    choices: list[str] = Field(min_length=1, max_length=26)
    right_answer: str


class _DiDeMo(BaseModel):
    annotation_id: int | str
    video: str
    description: str
    num_segments: int
    times: list[tuple[int, int]] = Field(min_length=1)


class _HiRest(BaseModel):
    clip: bool
    v_duration: Seconds
    bounds: Times | None = None


def find_reader(path: Path) -> Callable[[Path], GroundTruth] | None:
    """What reads the file; None where it is none of these, or cannot be read at all."""
    try:
        first = read_first_line(path) or next(json_any(path), None)
    except DataError:
        return None
    if first is None or not isinstance(first.value, dict) or not first.value:
        return None
    value = {first.key: first.value} if first.key is not None else first.value
    keys, content = value.keys(), next(iter(value.values()))
    if {"task", "source", "idx"} <= keys:
        return _et_bench
    if {"qid", "clue_intervals"} <= keys:
        return _cg_bench
    if {"id", "glue", "options"} <= keys:
        return _nextgqa_array
    if {"annotation_id", "times", "num_segments"} <= keys:
        return _didemo
    if not isinstance(content, dict):
        return None
    if {"duration", "location"} <= content.keys():
        return _nextgqa
    videos = [video.keys() if isinstance(video, dict) else set() for video in content.values()]
    if videos and all({"clip", "v_duration"} <= keys for keys in videos):
        return _hirest
    return None


def _et_bench(path: Path) -> GroundTruth:
    def rows() -> Iterator[Example]:
        for record in json_any(path):
            if isinstance(record.value, dict) and record.value.get("task") not in ET_BENCH_TASKS:
                continue
            row = record.read_as(EtBenchRow)
            example = _make_example(record, f"et-bench/{row.name}", row.video, row.q, row.tgt, row.duration)
            yield replace(example, source=f"et-bench/{row.task}/{row.source}")

    return GroundTruth(examples=_require_unique(path, rows()))


def _nextgqa(path: Path) -> GroundTruth:
    asked = _read_questions_beside(path)
    examples, questions = [], {}
    for record in json_entries(path, unique=True):
        row = record.read_as(_NextGqa)
        for qid, windows in row.location.items():
            words, question = asked.get((record.key or "", qid), ("", None))
            id_ = f"nextgqa/{record.key}/{qid}"
            examples.append(_make_example(record, id_, f"{record.key}.mp4", words, windows, row.duration))
            if question is not None:
                questions[id_] = question
    return GroundTruth(examples=_require_unique(path, iter(examples)), questions=questions)


def _read_questions_beside(path: Path) -> dict[tuple[str, str], tuple[str, MomentQuestion]]:
    """Of `test.csv`, for `gsub_test.json`: video and number -> words of the question, and its options."""
    beside = path.with_name(f"{path.stem.partition('_')[2]}.csv")
    found = {}
    for record in table_rows(beside) if beside.name != ".csv" and beside.is_file() else ():
        row = record.read_as(_NextGqaRow)
        options = (row.a0, row.a1, row.a2, row.a3, row.a4)
        if row.answer not in options:
            record.refuse(f"the answer {row.answer[:80]!r} is none of the options")
        found[row.video_id, row.qid] = row.question, MomentQuestion(options=options, right=options.index(row.answer))
    return found


def _nextgqa_array(path: Path) -> GroundTruth:
    examples, questions = [], {}
    for record in json_any(path):
        row = record.read_as(_QuestionWithOptions)
        name = video_name(row.video)
        id_ = f"nextgqa/{name}/{row.id.removeprefix(f'{name}_')}"
        right = row.answer.strip("() ")
        if len(right) != 1 or not 0 <= ord(right) - ord("A") < len(row.options):
            record.refuse(f"the answer {row.answer[:20]!r} is none of the {len(row.options)} options")
        options = tuple(option.partition(")")[2].strip() or option for option in row.options)
        questions[id_] = MomentQuestion(options=options, right=ord(right) - ord("A"))
        examples.append(_make_example(record, id_, row.video, row.question, row.glue, row.duration))
    return GroundTruth(examples=_require_unique(path, iter(examples)), questions=questions)


def _cg_bench(path: Path) -> GroundTruth:
    examples, questions = [], {}
    for record in json_any(path):
        row = record.read_as(_CgBench)
        right = ord(row.right_answer) - ord("A") if len(row.right_answer) == 1 else -1
        if not 0 <= right < len(row.choices):
            record.refuse(f"`right_answer` is {row.right_answer[:20]!r}, and there are {len(row.choices)} `choices`")
        id_ = f"cg-bench/{row.video_uid}/{row.qid}"
        questions[id_] = MomentQuestion(options=tuple(row.choices), right=right)
        spans, video = row.clue_intervals, f"{row.video_uid}.mp4"
        examples.append(_make_example(record, id_, video, row.question, spans, row.duration))
    return GroundTruth(examples=_require_unique(path, iter(examples)), questions=questions)


def _didemo(path: Path) -> GroundTruth:
    examples, votes = [], {}
    for record in json_any(path):
        row = record.read_as(_DiDeMo)
        if not all(0 <= first <= last < _NUM_CHUNKS for first, last in row.times):
            record.refuse("an annotator names a chunk that the video has not")
        id_ = f"didemo/{video_name(row.video)}/{row.annotation_id}"
        votes[id_] = tuple(row.times)
        spans = [(5.0 * first, 5.0 * (last + 1)) for first, last in dict.fromkeys(row.times)]
        examples.append(_make_example(record, id_, row.video, row.description, spans, 5.0 * row.num_segments))
    return GroundTruth(examples=_require_unique(path, iter(examples)), votes=votes)


def _hirest(path: Path) -> GroundTruth:
    examples = []
    asked: Counter[str] = Counter()
    for record in json_entries(path, unique=True):
        if not isinstance(record.value, dict):
            record.refuse('it is not a query with its videos, `"QUERY": {"VIDEO.mp4": {…}}`')
        for name, entry in record.value.items():
            video = record.read_as(_HiRest, entry)
            if not video.clip:
                continue
            if video.bounds is None:
                record.refuse(f"{name} has a moment but no `bounds`")
            id_ = f"hirest/{video_name(name)}/{asked[video_name(name)]}"
            asked[video_name(name)] += 1
            words = record.key or ""
            examples.append(_make_example(record, id_, name, words, [video.bounds], video.v_duration))
    if examples and all(example.spans == ((0.0, 1.0),) for example in examples):
        raise DataError(
            f"{path}: every moment is [0, 1]",
            reason="HiREST withholds the labels of its test set, and the file holds none",
            remedy="give all_data_val.json",
        )
    return GroundTruth(examples=_require_unique(path, iter(examples)))


def _make_example(
    record: Record, id_: str, video: str, query: str, spans: list[Times], duration: float | None
) -> Example:
    """As the file has it, unless a span cannot be one. The source is what stands before the slash of the id."""
    if not spans:
        record.refuse(f"{id_} has no annotated span", _REMEDY)
    for start, end in spans:
        if end < start:  # one of NExT-GQA's begins before 0, and is scored like that
            record.refuse(f"{id_} has the span [{start:g}, {end:g}]", _REMEDY)
    if not any(video.lower().endswith(suffix) for suffix in VIDEO_SUFFIXES):
        video = video.rstrip(".") + ".mp4"
    return Example(
        id=id_,
        video=video,
        query=query,
        spans=tuple(Span(*times) for times in spans),
        duration=duration,
        source=id_.partition("/")[0],
    )


def _require_unique(path: Path, examples: Iterator[Example]) -> tuple[Example, ...]:
    found: dict[str, Example] = {}
    for example in examples:
        if example.id in found:
            raise DataError(
                f"{path}: {example.id} is given twice",
                reason="one of the two would silently decide the score",
                remedy="give every query once",
            )
        found[example.id] = example
    if not found:
        raise DataError(f"{path}", reason="it holds no annotated moments", remedy="Check that it is the right file")
    return tuple(found.values())
