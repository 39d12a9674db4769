"""Result files as official scorers take them, and our own.

- `ours`: JSON lines `{"id", "answer", "spans"}`.
- `timelens`: one JSON object or JSON lines of objects, `"video.mp4>>>query>>>[s, e]": {"timestamps": [[s, e]],
  "answers": "…"}`; either of the two is enough.
- `lmms-eval`: one JSON object `"path/video.mp4>>>query>>>[[s, e]]": "…"`, or the samples it logs (JSON lines whose
  metrics, such as `timelens_mIOU`, hold that object).
- `qvhighlights`: submissions, JSON lines `{"qid", "pred_relevant_windows": [[s, e, score], …],
  "pred_saliency_scores": […]}`.
- `vue-tr`: a JSON list of `{"query_id", "answer": [[s, e], …]}`; `id` in place of `query_id` will do.
- `ego4d-nlq`: submissions to the challenge, `{"version": "1.0", "challenge": "ego4d_nlq_challenge", "results":
  [{"clip_uid", "annotation_uid", "query_idx", "predicted_times": [[s, e], …]}]}`; numbers behind the two are not read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from video_opd.eval.scorers._keys import SEPARATOR, QueryKey, parse_key, spans_of_key
from video_opd.eval.scorers._result_rows import ResultFormat, ResultRow, make_file_reader, take_first_entry
from video_opd.eval.scorers._scorer_types import ResultAnswer
from video_opd.files.records import Record
from video_opd.grounding import read_answers
from video_opd.types import Span

_Window = Annotated[list[float], Field(min_length=2, max_length=2)]
"""Finite: `data.records` takes no other numbers."""


class _TimeLensValue(BaseModel):
    model_config = ConfigDict(strict=True)
    timestamps: list[_Window] | None = None
    answers: str | None = None
    duration: float | None = None


class _QVHighlightsRow(BaseModel):
    model_config = ConfigDict(strict=True)
    qid: int | str
    pred_relevant_windows: list[Annotated[list[float], Field(min_length=2, max_length=3)]] | None = None
    pred_saliency_scores: list[float] | None = None
    vid: str | None = None
    query: str | None = None


class _VueTrRow(BaseModel):
    model_config = ConfigDict(strict=True)
    query_id: Annotated[int | str, Field(validation_alias=AliasChoices("query_id", "id"))]
    answer: Annotated[list[_Window], BeforeValidator(lambda windows: [] if windows == [[]] else windows)]
    """The official scorer takes `[[]]` for an empty answer too."""
    video_id: str | None = None
    query: str | None = None


class _Ego4DRow(BaseModel):
    model_config = ConfigDict(strict=True)
    clip_uid: str
    annotation_uid: str
    query_idx: int
    predicted_times: list[Annotated[list[float], Field(min_length=2)]]


def _timelens(record: Record) -> Iterator[ResultRow]:
    for text, value in _list_keyed(record):
        key = _key(record, text)
        found = record.read_as(_TimeLensValue, value)
        if found.timestamps is None and found.answers is None:
            record.refuse("it has neither `timestamps` nor `answers`", "Write one of them")
        answer = ResultAnswer(text=found.answers, spans=_spans(found.timestamps))
        yield ResultRow(text, key, answer, truth=spans_of_key(text), duration=found.duration)


def _lmms_eval(record: Record) -> Iterator[ResultRow]:
    value = record.value
    if record.key is None and isinstance(value, dict) and (logged := _sample_of_lmms_eval(value)):
        pairs: Iterator[tuple[str, Any]] = iter(logged.items())
    else:
        pairs = _list_keyed(record)
    for text, answer in pairs:
        key = _key(record, text)
        if not isinstance(answer, str):
            record.refuse("the answer is not a text", "Give a file of lmms-eval, whose answers are texts")
        yield ResultRow(text, key, ResultAnswer(text=answer), truth=spans_of_key(text))


def _sample_of_lmms_eval(value: dict[str, Any]) -> dict[str, Any] | None:
    """Of a logged sample the metric that keeps the answer under its key; every metric keeps the same."""
    for content in value.values():
        if isinstance(content, dict) and content and all(SEPARATOR in key for key in content):
            return content
    return None


def _qvhighlights(record: Record) -> Iterator[ResultRow]:
    row = record.read_as(_QVHighlightsRow)
    if row.pred_relevant_windows is None and row.pred_saliency_scores is None:
        record.refuse("it has neither `pred_relevant_windows` nor `pred_saliency_scores`", "Write one of them")
    windows = row.pred_relevant_windows or []
    scored = [len(window) == 3 for window in windows]
    if any(scored) and not all(scored):
        record.refuse("some of its windows have a score and some have none", "Give all a score, or none")
    answer = ResultAnswer(
        spans=_spans([window[:2] for window in windows]),
        confidences=tuple(window[2] for window in windows) if windows and all(scored) else None,
        saliency=None if row.pred_saliency_scores is None else tuple(row.pred_saliency_scores),
    )
    yield ResultRow(str(row.qid), None, answer, row.vid, row.query)


def _vue_tr(record: Record) -> Iterator[ResultRow]:
    row = record.read_as(_VueTrRow)
    yield ResultRow(str(row.query_id), None, ResultAnswer(spans=_spans(row.answer)), row.video_id, row.query)


def _ego4d_nlq(record: Record) -> Iterator[ResultRow]:
    if record.key not in (None, "results"):
        return
    results = record.value.get("results") if record.key is None and isinstance(record.value, dict) else record.value
    if not isinstance(results, list):
        record.refuse("`results` is not a list", "Give a submission as the challenge takes it")
    for value in results:
        row = record.read_as(_Ego4DRow, value)
        answer = ResultAnswer(spans=_spans([times[:2] for times in row.predicted_times]))
        yield ResultRow(f"{row.annotation_uid}_{row.query_idx}", None, answer, row.clip_uid)


def _list_keyed(record: Record) -> Iterator[tuple[str, Any]]:
    """The entries of a keyed file, whether it is one object or an object a line."""
    if record.key is not None:
        return iter([(record.key, record.value)])
    if not isinstance(record.value, dict) or not record.value:
        record.refuse("an object with a key `video>>>query>>>[start, end]` was expected", "Give a file of such objects")
    if not any(SEPARATOR in key for key in record.value):
        record.refuse(
            f"its keys are {', '.join(map(repr, list(record.value)[:3]))}, where the file's first row has a key "
            "`video>>>query>>>[start, end]`",
            "Take the row out, or give all rows such a key",
        )
    return iter(record.value.items())


def _key(record: Record, text: str) -> QueryKey:
    key = parse_key(text)
    if key is None:
        record.refuse(f"the key {text[:80]!r} is not `video>>>query>>>[start, end]`", "Correct the key")
    return key


def _spans(windows: list[list[float]] | None) -> tuple[Span, ...] | None:
    return None if windows is None else tuple(itertools.starmap(Span, windows))


def _ours(path: Path) -> Iterator[ResultRow]:
    for id_, answer in read_answers(path).items():
        yield ResultRow(id_, None, ResultAnswer(text=answer.text, spans=answer.spans, choice=answer.choice))


def _is_of_timelens(value: dict[str, Any]) -> bool:
    key, content = take_first_entry(value)
    return SEPARATOR in key and not isinstance(content, str)


def _is_of_lmms_eval(value: dict[str, Any]) -> bool:
    key, content = take_first_entry(value)
    if SEPARATOR in key:
        return isinstance(content, str)
    return _sample_of_lmms_eval(value) is not None


def _is_of_vue_tr(value: dict[str, Any]) -> bool:
    return "query_id" in value or ("id" in value and isinstance(value.get("answer"), list))


def _is_of_ego4d(value: dict[str, Any]) -> bool:
    key, content = take_first_entry(value)  # of JSON over many lines only the first key is here
    known = value.keys() <= {"version", "challenge", "results"}
    return known and (len(value) > 1 or key != "results" or isinstance(content, list))


OURS = ResultFormat(precedence=-2, is_like=lambda value: "id" in value, read=_ours, matched_by="id")
TIMELENS = ResultFormat(precedence=2, is_like=_is_of_timelens, read=make_file_reader(_timelens))
LMMS_EVAL = ResultFormat(precedence=2, is_like=_is_of_lmms_eval, read=make_file_reader(_lmms_eval))
QVHIGHLIGHTS = ResultFormat(precedence=-1, is_like=lambda value: "qid" in value, read=make_file_reader(_qvhighlights))
VUE_TR = ResultFormat(precedence=-1, is_like=_is_of_vue_tr, read=make_file_reader(_vue_tr))
EGO4D_NLQ = ResultFormat(precedence=-1, is_like=_is_of_ego4d, read=make_file_reader(_ego4d_nlq))
