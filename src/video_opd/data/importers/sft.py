"""Conversations for supervised training, as ms-swift, LLaMA-Factory and LLaVA (ShareGPT) write them.

    {"messages": [{"role": "user", "content": "<video>Find 'a cat sits'."},
      {"role": "assistant", "content": "2.0 - 4.5"}], "videos": ["k/a.mp4"]}
    {"conversations": [{"from": "human", "value": "<video> Find 'a cat sits'."},
      {"from": "gpt", "value": "2.0 - 4.5"}], "video": "k/a.mp4"}

Content may be a text or a list of parts (`{"type": "text", "text": …}`, `{"type": "video", "video": …}`); `query` with
`response`, and `instruction` (and `input`) with `output`, are read too, with their `history`. A question with its
answer is a row, several in a conversation are several; the system's turn says nothing of them. The query is what the
question has in the place of `{query}` in a preset (`data/prompts.toml`), or in `--template NAME` or a pattern of
your own; without it every preset is tried, then what stands in quotes where a question quotes exactly one thing. The
spans are read out of the answer by the parser that reads models' answers. An answer that names no span, and a question
of another form, is counted as dropped. Times count from the start of the file; durations are seldom there
(`duration`): `--durations` or `--videos` fill them in. Of an absolute path what follows its last `videos` folder is
kept, or else the name of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from video_opd.data.importers._annotation import Annotation, ReadOptions
from video_opd.data.importers._asked_by_template import Finder, make_finders, strip_places
from video_opd.files.parquet import parquet_or_json_rows
from video_opd.files.record import Record
from video_opd.files.strict_json import DECODER, name_kind
from video_opd.grounding.parser import parse_answer

_USERS, _MODELS = ("user", "human"), ("assistant", "gpt", "model")
_PAIRS = (("query", "response"), ("instruction", "output"))
"""Keys of a question and its answer, in rows without turns."""
_OTHER_FORM = "the question fits no template"


@dataclass(frozen=True, slots=True)
class _Turns:
    """One conversation."""

    pairs: list[tuple[str, str]]
    """Question and answer."""
    videos: list[str]
    cut: bool
    """Only a part of the video is shown."""


def read(files: list[Path], reading: ReadOptions) -> Iterator[Annotation]:
    """Every question that has an answer."""
    ways = make_finders(reading.template)
    for file in files:
        yield from refuse_other_forms(
            annotation for record in parquet_or_json_rows(file) for annotation in read_questions(record, ways)
        )


def refuse_other_forms(annotations: Iterable[Annotation]) -> Iterator[Annotation]:
    """The rows of one file.

    Raises:
        DataError: at the end, if none is left and a question fits no template.
    """
    found, other = False, None
    for annotation in annotations:
        yield annotation
        found = found or not annotation.skipped
        other = other or (annotation if annotation.skipped == _OTHER_FORM else None)
    if other is not None and not found:
        other.record.refuse(
            f"no question of the file fits a template, such as {other.query[:120]!r}",
            "Say where the query stands in it, such as --template \"…'{query}'…\"",
        )


def read_questions(record: Record, ways: dict[str, Finder]) -> Iterator[Annotation]:
    """The rows of one conversation, with the reason for questions that are not rows."""
    turns = _read_turns(record)
    own = record.value.get("id", record.value.get("qid", ""))
    name = str(own) if isinstance(own, (str, int)) and not isinstance(own, bool) else ""
    duration = record.value.get("duration")
    reason = _explain_unusable(turns)
    video = "" if reason else strip_machine_path(turns.videos[0])
    for number, (question, answer) in enumerate(turns.pairs or [("", "")]):
        parsed = parse_answer(answer)
        text = strip_places(question)
        way, query = next(((way, query) for way, find in ways.items() if (query := find(text))), ("", ""))
        skipped = reason
        if not skipped and parsed.reason is not None:
            skipped = f"the answer names no span: {parsed.reason}"
        if not skipped and not way:
            skipped = _OTHER_FORM
        yield Annotation(
            record=record,
            video=video,
            query=query if way else text,
            spans=tuple((span.start_s, span.end_s) for span in parsed.spans),
            duration=float(duration) if type(duration) in (int, float) else None,
            name=f"{name}_{number}" if name and len(turns.pairs) > 1 else name,
            skipped=skipped,
            remark=f"the query is what `{way}` has in the place of {{query}}",
        )


def strip_machine_path(path: str) -> str:
    """A video's path without the folders of the writer's machine."""
    path = path.removeprefix("file://").replace("\\", "/")
    if not path.startswith("/") and path[1:2] != ":":
        return path
    parts = PurePosixPath(path).parts
    folders = [number for number, part in enumerate(parts[:-1]) if part.lower() == "videos"]
    return "/".join(parts[folders[-1] + 1 :]) if folders else parts[-1]


def _explain_unusable(turns: _Turns) -> str:
    if not turns.pairs:
        return "it has no question with an answer"
    if len(turns.videos) != 1:
        return f"it shows {len(turns.videos)} videos" if turns.videos else "it names no video"
    return "it shows a part of its video, and nothing says where times count from" if turns.cut else ""


def _read_turns(record: Record) -> _Turns:
    value = record.value
    if not isinstance(value, dict):
        record.refuse(f"it is {name_kind(value)}, not an object with keys")
    pairs, shown, cut = [], list[str](), False
    given = next((value[key] for key in ("messages", "conversations") if value.get(key) is not None), None)
    if given is None:
        keys = next((keys for keys in _PAIRS if all(isinstance(value.get(key), str) for key in keys)), None)
        if keys is None or not {"videos", "video"} & value.keys():
            there = ", ".join(f"`{name}`" for name in list(value)[:8])
            record.refuse(f"it has neither `messages` nor `conversations`, only {there}", "Give conversations")
        more = value.get("input")  # LLaMA-Factory puts it under the instruction
        asked = f"{value[keys[0]]}\n{more}" if more and isinstance(more, str) else value[keys[0]]
        pairs = [*_read_history(record), (asked, value[keys[1]])]
    else:
        asked = None
        for turn in _list_of(record, given):
            role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
            text, videos, part = _read_content(record, content)
            shown += videos
            cut = cut or part
            if role in _USERS:
                asked = text
            elif role in _MODELS and asked is not None:
                pairs.append((asked, text))
                asked = None
    listed = _list_videos(record, value.get("videos", value.get("video")))
    return _Turns(pairs, listed or list(dict.fromkeys(shown)), cut)


def _list_of(record: Record, turns: Any) -> list[dict[str, Any]]:
    if isinstance(turns, str):  # a column of text, in parquet
        try:
            turns = DECODER.decode(turns)
        except (ValueError, RecursionError):
            _refuse_turns(record)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        _refuse_turns(record)
    return turns


def _read_history(record: Record) -> list[tuple[str, str]]:
    """The turns before the last, in rows that keep these apart (`history`)."""
    history = record.value.get("history") or []
    pairs = history if isinstance(history, list) else [history]
    if not all(isinstance(pair, list) and list(map(type, pair)) == [str, str] for pair in pairs):
        record.refuse("its `history` is no list of questions with their answers")
    return [(question, answer) for question, answer in pairs]


def _refuse_turns(record: Record) -> NoReturn:
    record.refuse("its turns are no list of objects with a role and a content")


def _read_content(record: Record, content: Any) -> tuple[str, list[str], bool]:
    """Text, videos, and whether one of them is cut."""
    if content is None or isinstance(content, str):
        return content or "", [], False
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        record.refuse("the content of a turn is neither a text nor a list of parts")
    texts = [str(part.get("text") or "") for part in content if part.get("type", "text") == "text"]
    videos = [(part, path) for part in content if (path := _find_shown_video(part))]
    cut = any(part.get(key) is not None for part, _ in videos for key in ("video_start", "video_end"))
    return " ".join(texts), [path for _, path in videos], cut


def _find_shown_video(part: dict[str, Any]) -> str | None:
    """The video of a part: `video`, or as chat templates and OpenAI's interface write it."""
    given = part.get("video")
    if given is None and part.get("type") == "video":
        given = part.get("path", part.get("url"))
    if given is None:
        given = part.get("video_url")
    if isinstance(given, dict):
        given = given.get("url")
    return given if isinstance(given, str) else None


def _list_videos(record: Record, videos: Any) -> list[str]:
    """The videos of a row: a path, a list of them, or of objects that hold one."""
    found = []
    for video in videos if isinstance(videos, list) else [videos]:
        if isinstance(video, dict):
            video = video.get("path", video.get("video"))
        if video is None:
            continue
        if not isinstance(video, str):
            record.refuse(f"a video is {name_kind(video)}, not a path")
        found.append(video)
    return found
