"""Result files of benchmarks that hold more than grounding, each in the form that its own scorer reads.

- `et-bench`: the list of annotations, each with the text of its answer, `{"task", "source", "idx", "a": "…"}`; rows of
  tasks that ask for no moment are skipped.
- `nextgqa`: one object `"VIDEO_QID": [start, …, end]`. As in the original, a file `test_ground….json` is read together
  with the answers to the questions in `test-res.json` beside it, `"VIDEO_QID": {"prediction", "answer"}`.
- `hirest`: moment retrieval, `{"QUERY": {"VIDEO.mp4": {"bounds": [start, end]}}}`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictStr

from video_opd.data.importers._annotation import Seconds, Spans
from video_opd.data.query_words import timelens as clean_query
from video_opd.data.video.video_names import video_name
from video_opd.eval.scorers._keys import SEPARATOR
from video_opd.eval.scorers._result_rows import ResultFormat, ResultRow, make_file_reader, take_first_entry
from video_opd.eval.scorers._scorer_types import ResultAnswer
from video_opd.files.records import Record, json_entries
from video_opd.types import Span

ET_BENCH_TASKS = ("tvg", "epm", "tal", "evs", "vhd", "tem")
"""That ask for moments: grounding, and the matching of events."""

_NEXT_GQA_KEY = re.compile(r"\d+_\d+")


def _flatten(value: Any) -> Any:
    """The windows of all annotators, where VHD has a list for each."""
    lists = isinstance(value, list) and value and all(isinstance(of, list) and of for of in value)
    if lists and all(isinstance(window, list) for of in value for window in of):
        return [window for of in value for window in of]
    return value


class EtBenchRow(BaseModel):
    """A row of E.T. Bench's annotations; with `a` one of its result file, which is the same list."""

    task: str
    source: str
    idx: int | str
    video: str = ""
    duration: Seconds | None = None
    tgt: Annotated[Spans, BeforeValidator(_flatten)] = []
    q: str = ""
    a: StrictStr | None = None

    @property
    def name(self) -> str:
        """`TASK/SOURCE/IDX`: an `idx` is one of a task and a source."""
        return f"{self.task}/{self.source}/{self.idx}"


class _Choice(BaseModel):
    model_config = ConfigDict(strict=True)
    answer: int | str
    prediction: int | str


class _Bounds(BaseModel):
    model_config = ConfigDict(strict=True)
    bounds: Annotated[list[float], Field(min_length=2, max_length=2)]


def _et_bench(record: Record) -> Iterator[ResultRow]:
    row = record.read_as(EtBenchRow)
    if row.task not in ET_BENCH_TASKS:
        return
    if row.a is None:
        record.refuse("it has no answer, `a`", "Give the file that the model's answers were written into")
    truth = tuple(itertools.starmap(Span, row.tgt))
    yield ResultRow(row.name, None, ResultAnswer(text=row.a), truth=truth, duration=row.duration)


def _nextgqa(record: Record) -> Iterator[ResultRow]:
    for key, times in _read_entries(record, "VIDEO_QID"):
        if not (isinstance(times, list) and times and all(type(time) in (int, float) for time in times)):
            record.refuse(f"{key[:80]!r} has no list of times", "Write [start, end]")
        choices = read_choices_beside(record.path)
        is_right = None if choices is None else choices.get(key)
        span = Span(float(times[0]), float(times[-1]))
        yield ResultRow(key.replace("_", "/"), None, ResultAnswer(spans=(span,), is_right=is_right))


def find_choices_file(path: Path) -> Path:
    """Where NExT-GQA's scorer looks for the answers that go with a file of spans."""
    return path.with_name(f"{path.name.partition('_')[0]}-res.json")


def read_choices_beside(path: Path) -> dict[str, bool] | None:
    """Of the file that goes with a file of NExT-GQA's spans: key -> whether the option chosen is right; None without
    such a file.

    Raises:
        DataError: a record of it is not `"VIDEO_QID": {"prediction", "answer"}`.
    """
    beside = find_choices_file(path)
    if "_" not in path.name or beside == path or not beside.is_file():
        return None
    written = beside.stat()
    return _read_choices(beside, (written.st_mtime_ns, written.st_size))


@lru_cache(maxsize=1)
def _read_choices(path: Path, _: tuple[int, int]) -> dict[str, bool]:
    """Once for all records of the other file; anew where this one was written anew."""
    found = {}
    for record in json_entries(path):
        choice = record.read_as(_Choice)
        if record.key is None:
            record.refuse("it has no key VIDEO_QID")
        found[record.key] = choice.answer == choice.prediction
    return found


def _hirest(record: Record) -> Iterator[ResultRow]:
    for query, videos in _read_entries(record, "QUERY"):
        if not isinstance(videos, dict):
            record.refuse(f"{query[:80]!r} has no videos", 'Write {"VIDEO.mp4": {"bounds": [start, end]}}')
        for video, entry in videos.items():
            if isinstance(entry, dict) and {"clip", "v_duration"} <= entry.keys():
                record.refuse(
                    f"{query[:80]!r}, {video}: it is an entry of HiREST's annotations, whose bounds are annotated: "
                    "they would be scored against themselves",
                    "Give the file of predictions; where these were written into the annotations, keep only `bounds`",
                )
            start, end = record.read_as(_Bounds, entry).bounds
            name = SEPARATOR.join((video_name(video), clean_query(query).casefold()))
            yield ResultRow(name, None, ResultAnswer(spans=(Span(start, end),)))


def _read_entries(record: Record, called: str) -> Iterator[tuple[str, Any]]:
    """Of a file that is one object, whether it stands on one line or on several."""
    if record.key is not None:
        return iter([(record.key, record.value)])
    if not isinstance(record.value, dict):
        record.refuse(f"an object with a key {called} was expected", "Give one object, as the original scorer takes it")
    return iter(record.value.items())


def _is_of_et_bench(value: dict[str, Any]) -> bool:
    return value.keys() >= {"task", "source", "idx"}


def _is_of_nextgqa(value: dict[str, Any]) -> bool:
    key, content = take_first_entry(value)
    return bool(_NEXT_GQA_KEY.fullmatch(key)) and isinstance(content, list)


def _is_of_hirest(value: dict[str, Any]) -> bool:
    _, videos = take_first_entry(value)
    if not isinstance(videos, dict) or not videos:
        return False
    return all(isinstance(entry, dict) and "bounds" in entry for entry in videos.values())


ET_BENCH = ResultFormat(precedence=1, is_like=_is_of_et_bench, read=make_file_reader(_et_bench))
NEXTGQA = ResultFormat(precedence=1, is_like=_is_of_nextgqa, read=make_file_reader(_nextgqa))
HIREST = ResultFormat(precedence=1, is_like=_is_of_hirest, read=make_file_reader(_hirest))
