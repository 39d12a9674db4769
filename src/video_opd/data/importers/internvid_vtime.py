"""InternVid-VTime (Huang et al. 2024, VTimeLLM): https://github.com/huangb23/VTimeLLM.

VideoMind's lines, or VTimeLLM's own conversations, which tell one event between two placeholders each:

    {"vid": "3n3oCNerzV0", "duration": 54.2, "query": "a woman counts money", "span": [0, 9.4]}
    [{"id": "3n3oCNerzV0", "source": "internvid", "conversations": [{"from": "human", "value": "What happens?"},
      {"from": "gpt", "value": "From <s0> to <e0>, a woman counts money."}],
      "meta": {"split": [129.8, 184.0], "duration": 54.2, "token": {"<s0>": 0, "<e0>": 9.4}}}]

Times are seconds within the crop `split` of the YouTube video, which becomes `clip`. (At training VTimeLLM turns them
into hundredths of the duration; the file holds seconds.) The human asks in three ways, and what the model answers holds
the event in two of them:

- what happens when: `From <sN> to <eN>, EVENT.` or `EVENT, from <sN> to <eN>.`, one after the other;
- what happened from `<sN>` to `<eN>`, in one of ten wordings: the whole answer is the event;
- when something happens: `From <sN> to <eN>.`, with the event somewhere in the question.

The last kind and every answer of another form are counted as dropped: an event is read and never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from video_opd.data.importers._annotation import Annotation, ReadOptions, Seconds, SingleSpanQuery, Times
from video_opd.files.records import Record, json_rows

_SPAN = re.compile(r"from (<s\d+>) to (<e\d+>)", re.IGNORECASE)
_WHAT_HAPPENED = re.compile(
    r"\b(?:what (?:occurred|happened|transpired|took place|was going on)|the events) "
    r"from (<s\d+>) to (<e\d+>)(?: in the video)?[.?]",
    re.IGNORECASE,
)
_MARK = re.compile(r"<[se]\d+>")
_STOPS = ".;!?"


class _Turn(BaseModel):
    speaker: str = Field("", alias="from")
    value: str


class _Meta(BaseModel):
    duration: Seconds
    split: Times | None = None
    token: dict[str, Seconds]


class _Conversation(BaseModel):
    id: str
    source: str = ""
    conversations: list[_Turn]
    meta: _Meta


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every line, or every event of every conversation."""
    for file in files:
        for record in json_rows(file):
            if isinstance(record.value, dict) and "conversations" in record.value:
                yield from _read_events(record, record.read_as(_Conversation))
            else:
                yield record.read_as(SingleSpanQuery).make_annotation(record)


def _read_events(record: Record, found: _Conversation) -> Iterator[Annotation]:
    asked = None
    for turn in found.conversations:
        text = turn.value.strip()
        if turn.speaker != "gpt":
            asked = _WHAT_HAPPENED.search(text)
            continue
        told = _find_events(text, asked)
        if isinstance(told, str):
            yield Annotation(record=record, video=found.id, query=text, spans=(), skipped=told)
            continue
        for start, end, event in told:
            for mark in (start, end):
                if mark not in found.meta.token:
                    record.refuse(f"`meta.token` has no time for {mark}")
            yield Annotation(
                record=record,
                video=found.id,
                query=event.strip(" ,.;"),
                spans=((found.meta.token[start], found.meta.token[end]),),
                duration=found.meta.duration,
                clip=found.meta.split,
            )


def _find_events(answer: str, asked: re.Match[str] | None) -> list[tuple[str, str, str]] | str:
    """Marks of start and end with the event, of every event that an answer tells; or why it tells none."""
    if not _MARK.search(answer):
        return "an answer without times" if asked is None else [(asked[1], asked[2], answer)]
    between = _SPAN.split(answer)
    texts = [text.strip() for text in between[::3]]
    if not any(text.strip(_STOPS) for text in texts):
        return "only times: the event is in the question"
    events = _split_after_times(texts) or _split_before_times(texts)
    if not events or not all(event.strip(" ,") for event in events) or any(map(_MARK.search, events)):
        return "times in another form"
    return list(zip(between[1::3], between[2::3], events, strict=True))


def _split_after_times(texts: Sequence[str]) -> list[str]:
    """The events of `From <s0> to <e0>, EVENT. From …`, of what stands before, between and after the times."""
    first, *events = texts
    stopped = all(event.endswith(tuple(_STOPS)) for event in events[:-1])
    return events if not first and stopped and all(event.startswith(",") for event in events) else []


def _split_before_times(texts: Sequence[str]) -> list[str]:
    """The events of `EVENT, from <s0> to <e0>. EVENT, …`, a sentence each: which of two would the times be of?"""
    *events, last = texts
    stopped = all(event.startswith(tuple(_STOPS)) for event in events[1:])
    events = [event.lstrip(_STOPS) for event in events]
    sentences = all(not set(_STOPS) & set(event) for event in events)
    return events if stopped and sentences and not last.strip(_STOPS) else []
