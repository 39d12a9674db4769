"""What other projects' evaluation scripts write, one answer a row; lines or one JSON value.

- `time-r1` (xiaomi-research/time-r1, `evaluate.py`): `{"qid": "charades_12", "pred": [s, e], "target": [s, e],
  "duration", "output_text"}`; `pred` is `[null, null]` where nothing was read.
- `timechat` (TimeChat and TimeSuite, `evaluate.py`, `format_tvg.py`): `fmt_*.json`, `{"12": {"timestamp": [[s, e]],
  "query", "vid"}}`, and the file before it, `[{"vname", "generated_cap", "query", "id"}]`.
- `trace` (`evaluate.py`, `reformat_tvg.py`): `[{"video", "id", "timestamps": [[s, e], …], "captions"}]`, and `{"12":
  {"query", "timestamp": [s, e], "vid"}}`, whose `query` is what the model wrote.
- `museg` (`eval_grounding.py`): `[{"video", "question", "groundtruth": [[s, e]], "result": {"output",
  "conversation"}}, …]`; its last entry is the scores.
- `vtimellm` (`eval.py`): `{"video_id", "task": "grounding", "query_id", "answer", "info": {"sentence_id", "iou"}}`;
  numbers of 00 to 99 are percent of the video.
- `videochat-r1` (`evaluate_grounding.py`): `{"video_path", "query", "answer", "timestamp": [s, e], "ans": [s, e]}`.
- `videomind` (`infer_auto.py`): `[{"video_path", "query", "duration", "span": [[s, e]], "pred": [[s, e], …], "conf"}]`.
- `unitime` (`inference.py`): `[{"qid", "id", "annos": [{"query", "window": [[s, e]]}], "duration",
  "pred_relevant_windows": [[s, e]]}]`; `[[-1, -1]]` is no answer.

TimeZero writes no answers: its `checkpoint.pkl` holds IoUs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from video_opd.eval.scorers._keys import SEPARATOR
from video_opd.eval.scorers._result_rows import ResultFormat, ResultRow, make_file_reader, take_first_entry
from video_opd.eval.scorers._scorer_types import ResultAnswer
from video_opd.files.records import Record
from video_opd.types import Span

_M = TypeVar("_M", bound=BaseModel)


def _nest_pair(value: Any) -> Any:
    """A single pair as a list of one; pairs without numbers as none."""
    if not isinstance(value, list):
        return value
    if len(value) == 2 and not any(isinstance(item, list) for item in value):
        value = [value]
    return [pair for pair in value if pair not in ([], [None, None])]


_Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
_Pairs = Annotated[list[_Pair], BeforeValidator(_nest_pair)]
_Longer = Annotated[list[Annotated[list[float], Field(min_length=2)]], BeforeValidator(_nest_pair)]


class _LogRow(BaseModel):
    model_config = ConfigDict(strict=True, populate_by_name=True)


class _TimeR1(_LogRow):
    qid: int | str
    pred: _Pairs | None = None
    target: _Pairs = []
    duration: float | None = None
    output_text: str | None = None


class _TimeChat(_LogRow):
    timestamp: _Pairs
    query: str
    vid: str


class _TimeChatText(_LogRow):
    id: int | str
    vname: str
    query: str
    generated_cap: str


class _Trace(_LogRow):
    id: int | str
    video: str
    timestamps: list[list[float]]


class _TraceFormatted(_LogRow):
    timestamp: _Pairs = []
    vid: str | None = None


class _MusegResult(_LogRow):
    output: str
    conversation: list[str] = []


class _Museg(_LogRow):
    video: str
    question: str
    groundtruth: _Pairs = []
    duration: float | None = None
    result: _MusegResult


class _VTimeInfo(_LogRow):
    sentence_id: int | None = None


class _VTimeLLM(_LogRow):
    video_id: str
    task: str
    answer: str
    info: _VTimeInfo | None = None


class _VideoChat(_LogRow):
    video_path: str
    query: str
    answer: str
    ans: _Pairs = []


class _VideoMind(_LogRow):
    video_path: str
    query: Annotated[str, Field(validation_alias=AliasChoices("query", "question"))]
    pred: _Longer | None = None
    conf: list[float] | None = None
    span: _Pairs | None = None
    duration: float | None = None


class _UniTimeAnno(_LogRow):
    query: str
    window: _Pairs = []


class _UniTime(_LogRow):
    qid: int | str
    id: str
    annos: Annotated[list[_UniTimeAnno], Field(min_length=1)]
    pred_relevant_windows: _Longer
    duration: float | None = None


def _time_r1(record: Record) -> Iterator[ResultRow]:
    row = record.read_as(_TimeR1)
    if row.output_text is None and row.pred is None:
        record.refuse("it has neither `output_text` nor `pred`", "Write one of them")
    number = str(row.qid).rpartition("_")[2]
    answer = ResultAnswer(text=row.output_text) if row.output_text is not None else ResultAnswer(spans=_spans(row.pred))
    yield ResultRow(
        str(row.qid), None, answer, truth=_spans(row.target), duration=row.duration, place=_number(number)
    )  # fmt: skip


def _timechat(record: Record) -> Iterator[ResultRow]:
    for id_, value in _list_by_number(record, "timestamp"):
        if id_ is not None:
            row = record.read_as(_TimeChat, value)
            yield _make_numbered_row(id_, ResultAnswer(spans=_spans(row.timestamp)), row.vid, row.query)
        else:
            said = record.read_as(_TimeChatText, value)
            yield _make_numbered_row(str(said.id), ResultAnswer(text=said.generated_cap), said.vname, said.query)


def _trace(record: Record) -> Iterator[ResultRow]:
    for id_, value in _list_by_number(record, "timestamp"):
        if id_ is not None:
            row = record.read_as(_TraceFormatted, value) if value else _TraceFormatted()
            yield _make_numbered_row(id_, ResultAnswer(spans=_spans(row.timestamp)), row.vid, None)
        else:
            found = record.read_as(_Trace, value)
            pairs = [pair for pair in found.timestamps if len(pair) == 2]
            yield _make_numbered_row(str(found.id), ResultAnswer(spans=_spans(pairs)), found.video, None)


def _museg(record: Record) -> Iterator[ResultRow]:
    if isinstance(record.value, dict) and "tot" in record.value and "video" not in record.value:
        return  # the scores, behind the last answer
    row = record.read_as(_Museg)
    said = row.result.conversation[-1] if row.result.conversation else ""
    text = said.removeprefix("assistant: ") if said else f"<answer>{row.result.output}</answer>"
    yield ResultRow(
        SEPARATOR.join((row.video, row.question)), None, ResultAnswer(text=text), row.video, row.question,
        truth=_spans(row.groundtruth), duration=row.duration, own_ids=False,
    )  # fmt: skip


def _vtimellm(record: Record) -> Iterator[ResultRow]:
    row = record.read_as(_VTimeLLM)
    if row.task != "grounding":
        return  # the same log holds captions
    if row.info is None or row.info.sentence_id is None:
        record.refuse("it has no `info.sentence_id`, which says which query it answers")
    number = row.info.sentence_id
    yield ResultRow(
        f"{row.video_id}/{number}", None, ResultAnswer(text=row.answer), row.video_id, place_in_video=number,
        own_ids=False,
    )  # fmt: skip


def _videochat_r1(record: Record) -> Iterator[ResultRow]:
    row = record.read_as(_VideoChat)
    yield ResultRow(
        SEPARATOR.join((row.video_path, row.query)), None, ResultAnswer(text=row.answer), row.video_path, row.query,
        truth=_spans(row.ans), own_ids=False,
    )  # fmt: skip


def _videomind(record: Record) -> Iterator[ResultRow]:
    row = record.read_as(_VideoMind)
    pairs = row.pred or []
    scored = row.conf is not None and len(row.conf) == len(pairs) and bool(pairs)
    answer = ResultAnswer(
        spans=_spans([pair[:2] for pair in pairs]), confidences=tuple(row.conf or ()) if scored else None
    )
    yield ResultRow(
        SEPARATOR.join((row.video_path, row.query)), None, answer, row.video_path, row.query,
        truth=_spans(row.span), duration=row.duration, own_ids=False,
    )  # fmt: skip


def _unitime(record: Record) -> Iterator[ResultRow]:
    row = record.read_as(_UniTime)
    windows = [window[:2] for window in row.pred_relevant_windows if window[:2] != [-1, -1]]
    yield ResultRow(
        str(row.qid), None, ResultAnswer(spans=_spans(windows)), row.id, row.annos[0].query,
        truth=_spans(row.annos[0].window), duration=row.duration,
    )  # fmt: skip


def _list_by_number(record: Record, inner: str) -> Iterator[tuple[str | None, Any]]:
    """The entries of an object from numbers to rows, on one line or over many; or a row, with None."""
    if record.key is not None:
        yield record.key, record.value
    elif isinstance(record.value, dict) and any(
        isinstance(value, dict) and (inner in value or not value) for value in record.value.values()
    ):
        yield from record.value.items()
    else:
        yield None, record.value


def _make_numbered_row(id_: str, answer: ResultAnswer, video: str | None, query: str | None) -> ResultRow:
    return ResultRow(id_, None, answer, video, query, place=_number(id_), own_ids=False)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def _spans(pairs: list[list[float]] | None) -> tuple[Span, ...]:
    return tuple(itertools.starmap(Span, pairs or ()))


def _make_key_test(*keys: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a row has all of these keys."""
    return lambda value: value.keys() >= {*keys}


def _is_of_time_r1(value: dict[str, Any]) -> bool:
    keys = value.keys()
    return {"qid", "output_text"} <= keys or {"qid", "pred", "target"} <= keys


def _is_numbered(value: dict[str, Any], *, one_pair: bool) -> bool:
    """Whether a row is `{"12": {"timestamp", "query", "vid"}}`: TimeChat keeps a list of pairs there, TRACE's
    `reformat_tvg.py` the one pair."""
    _, content = take_first_entry(value)
    if not (isinstance(content, dict) and content.keys() >= {"timestamp", "query", "vid"}):
        return False
    times = content["timestamp"]
    return one_pair == (isinstance(times, list) and bool(times) and not isinstance(times[0], list))


def _is_of_timechat(value: dict[str, Any]) -> bool:
    return value.keys() >= {"vname", "generated_cap"} or _is_numbered(value, one_pair=False)


def _is_of_trace(value: dict[str, Any]) -> bool:
    number, content = take_first_entry(value)
    unread = content == {} and number.isdigit()
    return value.keys() >= {"video", "timestamps", "captions"} or unread or _is_numbered(value, one_pair=True)


def _is_of_vtimellm(value: dict[str, Any]) -> bool:
    return value.keys() >= {"video_id", "task", "answer"} and "query" not in value


def _is_of_videomind(value: dict[str, Any]) -> bool:
    return "video_path" in value and bool(value.keys() & {"pred", "conf", "agents", "grounder_response"})


TIME_R1 = ResultFormat(is_like=_is_of_time_r1, read=make_file_reader(_time_r1), matched_by="words")
TIMECHAT = ResultFormat(is_like=_is_of_timechat, read=make_file_reader(_timechat), matched_by="words")
TRACE = ResultFormat(is_like=_is_of_trace, read=make_file_reader(_trace), matched_by="words")
MUSEG = ResultFormat(
    is_like=_make_key_test("question", "groundtruth", "result"), read=make_file_reader(_museg), matched_by="words"
)
VTIMELLM = ResultFormat(
    is_like=_is_of_vtimellm,
    read=make_file_reader(_vtimellm),
    matched_by="words",
    own_unit="percent",
    others="rows of the log are of another task than grounding",
)
VIDEOCHAT_R1 = ResultFormat(
    is_like=_make_key_test("video_path", "query", "ans", "answer"),
    read=make_file_reader(_videochat_r1),
    matched_by="words",
)
VIDEOMIND = ResultFormat(is_like=_is_of_videomind, read=make_file_reader(_videomind), matched_by="words")
UNITIME = ResultFormat(
    is_like=_make_key_test("qid", "annos", "pred_relevant_windows"), read=make_file_reader(_unitime), matched_by="words"
)
