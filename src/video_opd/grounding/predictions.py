"""The predictions file: one JSON object a line, `{"id": str, "answer": str, "spans": [[start_s, end_s], …]}`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

from video_opd.errors import DataError
from video_opd.files.outputs import replace_file
from video_opd.files.strict_json import NotJsonError, StrictError, decode, decode_simple_object
from video_opd.grounding.parser import ParsedAnswer, Reason, parse_answer
from video_opd.types import Span

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswer:
    """An answer as a file gives it, before the rules of any parser are applied: text, or spans as numbers."""

    text: str | None = None
    spans: tuple[Span, ...] | None = None
    """Finite seconds, otherwise unchanged: they may be reversed or negative, or there may be none."""
    choice: str | None = None
    """The answer to the multiple-choice question that the span belongs to, where the data set asks one."""

    def parse(self) -> ParsedAnswer:
        """Apply our rules: `parse_answer` reads the text, so that the present parser judges old files too. Only if
        there is no text, the rules of the parser for numbers are applied to the spans."""
        return parse_answer(self.text) if self.text is not None else _judge(self.spans or ())


def index_by_id(pairs: Iterable[tuple[str, _T]], what: str) -> dict[str, _T]:
    """Make a mapping from pairs, and refuse an id that occurs twice.

    Args:
        pairs: pairs of id and value.
        what: what the pairs are, for the message.

    Raises:
        DataError: naming `what` and the id.
    """
    unique: dict[str, _T] = {}
    for id_, value in pairs:
        if id_ in unique:
            raise DataError(
                f"{what}: id {id_!r} is given twice",
                reason="the score would depend on only one of them",
                remedy="give every id once",
            )
        unique[id_] = value
    return unique


def write_predictions(path: Path, answers: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
    """Write answers as JSON lines `{"id", "answer", "spans"}`, in the order given; whole or not at all.

    Args:
        path: file to write; its folder is made.
        answers: example id -> answer text, or pairs of the two.

    Raises:
        DataError: an id given twice.
    """
    unique = index_by_id(answers.items() if isinstance(answers, Mapping) else answers, "predictions")
    rows = (make_prediction_row(id_, text) for id_, text in unique.items())
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as unfinished:
        # A lone surrogate has no UTF-8; Python's escape for it happens to be JSON's.
        unfinished.write_bytes(lines.encode("utf-8", errors="backslashreplace"))


def make_prediction_row(id_: str, text: str) -> dict[str, Any]:
    """Make one row of a predictions file; the spans are read from the text."""
    return {"id": id_, "answer": text, "spans": [list(span) for span in parse_answer(text).spans]}


def read_predictions(path: Path) -> dict[str, ParsedAnswer]:
    """Read a predictions file, written by `write_predictions` or by another program.

    Returns:
        Example id -> parsed answer (see `GivenAnswer.parse`), in the order of the file.

    Raises:
        DataError: as `read_answers`.
    """
    return {id_: answer.parse() for id_, answer in read_answers(path).items()}


def read_answers(path: Path) -> dict[str, GivenAnswer]:
    """Read a predictions file without judging the answers.

    `spans` is looked at only where there is no `answer`. Blank lines, a byte-order mark and other keys are
    ignored. A file that is one JSON list of such objects is read too.

    Returns:
        Example id -> answer, in the order of the file.

    Raises:
        DataError: a file that cannot be read, or a line that is not a prediction; names file and line.
    """
    reader = AnswerReader(path)
    answers: dict[str, GivenAnswer] = {}
    place_of: dict[str, int] = {}
    for place, id_, answer in reader:
        if id_ in answers:
            reader.refuse_repeated(place, id_, place_of[id_])
        answers[id_], place_of[id_] = answer, place
    return answers


class AnswerReader:
    """Reads a predictions file row by row.

    Args:
        path: the file, as for `read_answers`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._what = "line"

    def __iter__(self) -> Iterator[tuple[int, str, GivenAnswer]]:
        """Line or, in a list, number of the entry, from 1; id; answer.

        Raises:
            DataError: as `read_answers`, but for an id that is given twice.
        """
        try:
            with self.path.open("rb") as file:
                for place, row in self._read_rows(file):
                    yield place, *_read_answer(row, self._describe(place))
        except OSError as error:
            raise DataError(
                f"{self.path}: {error.strerror or error}",
                reason="the predictions cannot be read",
                remedy="give the path of a file of JSON lines",
            ) from error

    def refuse_repeated(self, place: int, id_: str, first: int) -> NoReturn:
        """Refuse an id that an earlier row has.

        Raises:
            DataError: always.
        """
        _refuse(self._describe(place), f"id {id_!r} was given on {self._what} {first} already", "give every id once")

    def _describe(self, place: int) -> str:
        return f"{self.path}, {self._what} {place}"

    def _read_rows(self, file: BinaryIO) -> Iterator[tuple[int, object]]:
        """What each line holds, or each entry of a file that is one list."""
        beginning: list[bytes] = []
        for line in file:
            beginning.append(line.removeprefix(b"\xef\xbb\xbf") if not beginning else line)
            if beginning[-1].strip():
                break
        if beginning and beginning[-1].lstrip().startswith(b"["):
            beginning += file.readlines()
            if (entries := self._read_list(b"".join(beginning))) is not None:
                self._what = "entry"
                yield from enumerate(entries, start=1)
                return
        for number, line in enumerate(chain(beginning, file), start=1):
            if line.strip():
                row = _decode_plain(line)
                yield number, self._decode(line.rstrip(b"\n"), number) if row is None else row

    def _read_list(self, raw: bytes) -> list[object] | None:
        """None where it is no list: then a line is at fault, and is named."""
        try:
            return list(decode(raw))
        except NotJsonError:
            return None
        except StrictError:
            from video_opd.files.records import json_entries

            for _ in json_entries(self.path):  # refuses the entry, with its line
                pass
            raise

    def _decode(self, line: bytes, number: int) -> object:
        try:
            return decode(line)
        except StrictError as error:
            remedy = "save it as UTF-8" if "UTF-8" in str(error) else f"write one JSON object a line, like {_ROW}"
            _refuse(self._describe(number), str(error), remedy)


_ROW = '{"id": "a1", "answer": "4.0 - 9.0 seconds", "spans": [[4.0, 9.0]]}'


_PLAIN_TIME_S = 1e12
"""A number within is neither infinite nor too large."""


def _decode_plain(line: bytes) -> dict[str, Any] | None:
    """A row of texts and spans, quickly; None: decode it strictly."""
    try:
        row = decode_simple_object(line.decode().strip(" \t\r\n"))  # what JSON calls blank, and no more
    except UnicodeDecodeError:
        return None
    if row is None:
        return None
    for key, value in row.items():
        if type(value) is not str and value is not None and not (key == "spans" and _are_plain_spans(value)):
            return None
    return row


def _are_plain_spans(spans: object) -> bool:
    return type(spans) is list and all(
        type(span) is list and all(type(time) in (int, float) and abs(time) < _PLAIN_TIME_S for time in span)
        for span in spans
    )


def _read_answer(row: object, where: str) -> tuple[str, GivenAnswer]:
    if not isinstance(row, dict):
        _refuse(where, f"it is a {type(row).__name__}, not an object", f"write rows like {_ROW}")
    id_, text = row.get("id"), row.get("answer")
    if not isinstance(id_, str) or not id_:
        _refuse(where, 'it has no "id" that is a text', f"write rows like {_ROW}")
    choice = row.get("choice")
    if choice is not None and not isinstance(choice, str):
        _refuse(where, f'its "choice" is a {type(choice).__name__}, not a text', 'write the letter, like "choice": "B"')
    if text is not None:
        if not isinstance(text, str):
            _refuse(where, f'its "answer" is a {type(text).__name__}, not a text', f"write rows like {_ROW}")
        return id_, GivenAnswer(text=text, choice=choice)
    if {"video", "query", "spans"} <= row.keys():
        _refuse(
            where,
            "it is a row of a manifest, whose spans are annotated: they would be scored against themselves",
            "give the file that `video-opd evaluate` or `video-opd ground` wrote",
        )
    if "spans" not in row:
        _refuse(where, 'it has neither "answer" nor "spans"', f"write rows like {_ROW}")
    return id_, GivenAnswer(spans=tuple(_read_spans(row["spans"], where)), choice=choice)


def _read_spans(spans: object, where: str) -> Iterator[Span]:
    if not isinstance(spans, list):
        _refuse(where, '"spans" is not a list', "write [[start_s, end_s], …]")
    for span in spans:
        if not (isinstance(span, list) and len(span) == 2 and all(type(time) in (int, float) for time in span)):
            _refuse(where, '"spans" holds something other than two numbers', "write [[start_s, end_s], …]")
        yield Span(float(span[0]), float(span[1]))


def _judge(spans: Sequence[Span]) -> ParsedAnswer:
    """Spans given as numbers, held to the parser's rules: an invalid one among valid ones is dropped."""
    valid = tuple(span for span in spans if 0 <= span.start_s <= span.end_s)
    if valid:
        return ParsedAnswer(valid)
    if not spans:
        return ParsedAnswer(reason=Reason.EMPTY)
    return ParsedAnswer(reason=Reason.NEGATIVE if min(spans[0]) < 0 else Reason.REVERSED)


def _refuse(where: str, reason: str, remedy: str) -> NoReturn:
    raise DataError(f"{where} is not a prediction", reason=reason, remedy=remedy)
