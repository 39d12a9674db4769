"""InternVid-VTime (Huang et al. 2024, VTimeLLM): https://github.com/huangb23/VTimeLLM.

VideoMind's lines, or VTimeLLM's own conversations, which tell one event between two placeholders each:

    {"vid": "3n3oCNerzV0", "duration": 54.2, "query": "a woman counts money", "span": [0, 9.4]}
    [{"id": "3n3oCNerzV0", "source": "internvid", "conversations": [{"from": "human", "value": "What happens?"},
      {"from": "gpt", "value": "From <s0> to <e0>, a woman counts money."}],
      "meta": {"split": [129.8, 184.0], "duration": 54.2, "token": {"<s0>": 0, "<e0>": 9.4}}}]

Times are seconds within the crop `split` of the YouTube video, which becomes `clip`. (At training VTimeLLM turns them
into hundredths of the duration; the file holds seconds.) Of the conversations, only what says `From <sN> to <eN>,
EVENT.` is read; answers without times are counted as dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, Field

from video_opd.data.importers.annotation import Annotation, Event, Reading, Seconds, Times
from video_opd.data.records import Record, json_any

_TIMES = re.compile(r"from (<s\d+>) to (<e\d+>)", re.IGNORECASE)


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


def read(files: list[Path], _: Reading) -> Iterator[Annotation]:
    """Every line, or every event of every conversation."""
    for file in files:
        for record in json_any(file, unique=True):
            if isinstance(record.value, dict) and "conversations" in record.value:
                yield from _events(record, record.as_(_Conversation))
            else:
                yield record.as_(Event).annotation(record)


def _events(record: Record, found: _Conversation) -> Iterator[Annotation]:
    times = found.meta.token
    for turn in found.conversations:
        heads = list(_TIMES.finditer(turn.value))
        ends = [*(head.start() for head in heads[1:]), len(turn.value)]
        if not heads and turn.speaker == "gpt":
            yield Annotation(
                record=record, video=found.id, query=turn.value, spans=(), skipped="an answer without times"
            )
        for head, until in zip(heads, ends, strict=False):
            start, end = head.groups()
            if start not in times or end not in times:
                record.refuse(f"`meta.token` has no time for {start} or {end}")
            yield Annotation(
                record=record,
                video=found.id,
                query=turn.value[head.end() : until].strip(" ,.;"),
                spans=((times[start], times[end]),),
                duration=found.meta.duration,
                clip=found.meta.split,
            )
