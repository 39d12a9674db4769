"""Answers on their way into a file: every batch is on the disk before the next one is asked.

    answers.jsonl                 {"id": "q1", "answer": "4.0 - 9.0 seconds", "spans": [[4.0, 9.0]]}, one object a line
    answers.jsonl.settings.json   what they are of: model, questions, settings, each as a hash or in words

The rows are what every reader of predictions expects, so what they are of stands in a file beside them. Whoever asks
the same of the same model goes on where a killed evaluation stopped; whoever asks anything else is refused. Where a
file of that name lies without one beside it, it stays as it is until the new answers are whole: until then they are in
`answers.jsonl.partial`. A pipe or a device gets every row as it comes, and cannot be gone on with.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from video_opd.errors import DataError, Stopped
from video_opd.files.dotted_keys import flatten_tables
from video_opd.files.durable import sync_folder, write_durably
from video_opd.files.file_lock import hold_file
from video_opd.files.journal import Journal, iterate_journal, make_json_line
from video_opd.files.outputs import find_place
from video_opd.files.strict_json import load_json
from video_opd.terminal import show

FORMAT = 1

Row = Mapping[str, Any]
"""One row of the file; it has an `id`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersOf:
    """The evaluation that answers belong to: models, questions and settings."""

    models: Mapping[str, tuple[str, str]]
    """By the part it plays: a model's name and the SHA-256 of its folder."""
    questions_sha256: str
    settings: Mapping[str, Any]
    """How it was asked: prompt, frames, precision, limit of an answer, parser."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file beside the answers."""
        return json.loads(json.dumps({"answers_of": {"format": FORMAT, **asdict(self)}}))

    def describe_difference(self, found: Mapping[str, Any]) -> str:
        """Say how another evaluation, as its file describes it, differs from this one. Empty if they are the same, or
        if the other one asked fewer models and those are the same.
        """
        mine, different = self.to_json()["answers_of"], []
        models: Mapping[str, Any] = found["models"]
        for part in models:
            one, other = models.get(part), mine["models"].get(part)
            if (one and one[1]) != (other and other[1]):
                names = [pair[0] if pair else "none" for pair in (one, other)]
                different.append(f"model: {' and '.join(names)}" + " of other weights" * (names[0] == names[1]))
        if mine["questions_sha256"] != found["questions_sha256"]:
            different.append("the questions")
        settings, theirs = flatten_tables(mine["settings"]), flatten_tables(found["settings"])
        different += [
            f"{key}: {json.dumps(theirs.get(key))} and {json.dumps(settings.get(key))}"
            for key in dict.fromkeys([*theirs, *settings])
            if theirs.get(key) != settings.get(key)
        ]
        return "; ".join(different)


class AnswerFile:
    """A file of answers, open for more; see `open_answers`."""

    def __init__(self, path: Path, rows: Sequence[Row], stream: _Lines | _Stream) -> None:
        self.path = path
        """Where the rows are for the time being."""
        self.rows = list(rows)
        """All of them, those of earlier runs first."""
        self._stream = stream

    @property
    def is_stream(self) -> bool:
        """Whether it is a pipe or a device: its content cannot be read back or replaced."""
        return isinstance(self._stream, _Stream)

    def describe_kept(self, num_questions: int) -> str:
        """What there is of so many answers, in a sentence, and how to go on."""
        there = f"{len(self.rows)} of {num_questions} answers are in {self.path}."
        return there if self.is_stream else f"{there} Run the same command to go on."

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows. When this returns, the rows of a file are on the disk."""
        if rows:
            self._stream.append(*rows)
            self.rows += rows


class _Lines:
    """A file of rows, opened for the first new one: a file without any says nothing, and is not made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._journal: Journal | None = None

    def append(self, *rows: Row) -> None:
        if self._journal is None:
            self._journal = Journal(self._path, ascii_only=False)
        self._journal.append(*rows)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()


class _Stream:
    """A pipe or a device, opened for the first row: opening some of them waits for a reader."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def append(self, *rows: Row) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.writelines(make_json_line(row, ascii_only=False) for row in rows)
        self._file.flush()

    def close(self) -> None:
        self.append()  # whoever reads must see an end, even of nothing
        assert self._file is not None
        self._file.close()


@contextlib.contextmanager
def open_answers(path: Path, of: AnswersOf | None) -> Iterator[AnswerFile]:
    """Hold a file of answers for writing; if the block ends well, it bears the name `path` after it.

    Args:
        of: what the answers are of; None: the caller knows that the file holds nothing else and that no other
            process writes to it.

    Raises:
        DataError: it holds answers to something else, or another process writes to it.
        OSError: the disk would not take it.
    """
    refuse_other_answers(path, of)
    place = find_place(path)
    if place is None:
        with contextlib.closing(_Stream(path)) as pipe:
            yield AnswerFile(path, [], pipe)
        return
    working = _choose_working_place(place, of)
    working.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if of is not None:
            stack.enter_context(_remove_if_empty_on_error(working))
            cause = f"answers {working} are being written by another process"
            stack.enter_context(hold_file(working, cause, remedy="wait for it, or give another file with --out"))
            write_durably(_settings_place(working), (json.dumps(of.to_json(), indent=2) + "\n").encode())
        lines = stack.enter_context(contextlib.closing(_Lines(working)))
        yield AnswerFile(working, _read_rows(working), lines)
        if working != place:
            os.replace(working, place)
            os.replace(_settings_place(working), _settings_place(place))
            sync_folder(place.parent)


@contextlib.contextmanager
def _remove_if_empty_on_error(path: Path) -> Iterator[None]:
    """Remove the file if the block ends with an error before the first row."""
    was_there = path.exists()
    try:
        yield
    except BaseException:
        if not was_there and not _has_content(path):
            for made in (path, _settings_place(path)):
                made.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def report_kept_answers(file: AnswerFile, num_questions: int) -> Iterator[None]:
    """If the block ends early, say how many answers are kept and how to resume.

    Raises:
        Stopped: in the place of a KeyboardInterrupt, and with what is kept.
    """
    try:
        yield
    except (KeyboardInterrupt, Stopped) as error:
        number = error.number if isinstance(error, Stopped) else signal.SIGINT
        raise Stopped(
            number, f"stopped by {signal.Signals(number).name}; {file.describe_kept(num_questions)}"
        ) from error
    except Exception:
        if file.rows:
            show(f"video-opd: {file.describe_kept(num_questions)}", file=sys.stderr)
        raise


def rewrite(file: AnswerFile, path: Path, rows: Sequence[Row]) -> None:
    """Replace the rows of a finished file all at once if the new rows differ. A pipe is left as it is."""
    if find_place(path) is not None and [*rows] != [
        json.loads(make_json_line(row, ascii_only=False)) for row in file.rows
    ]:
        write_durably(path, b"".join(make_json_line(row, ascii_only=False) for row in rows))


def read_kept_answers(path: Path, of: AnswersOf | None) -> dict[str, str]:
    """Example id -> the answer that a file holds already.

    Raises:
        DataError: it holds answers to something else.
    """
    refuse_other_answers(path, of)
    place = find_place(path)
    if place is None:
        return {}
    working = _choose_working_place(place, of)
    return take_texts(_read_rows(working), working)


def take_texts(rows: Sequence[Row], path: Path) -> dict[str, str]:
    """Example id -> the answer in rows of predictions.

    Raises:
        DataError: a row has none; names its line.
    """
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("answer"), str):
            raise _make_strange(path, number, "answer")
    return {row["id"]: row["answer"] for row in rows}


def is_begun(path: Path) -> bool:
    """Whether an evaluation has started to write answers into a file, which may then end in half a line."""
    return _settings_place(path).exists()


def refuse_other_answers(path: Path, of: AnswersOf | None) -> None:
    """Refuse to add to answers to something else.

    Raises:
        DataError: the file holds some, or nothing can be said of it.
    """
    place = find_place(path)
    if of is None or place is None:
        return
    beside = _settings_place(place)
    if beside.exists():
        found = _read_beside(beside)
        if _has_content(place) and (difference := of.describe_difference(found)):
            raise DataError(
                f"{path} holds the answers of another evaluation already",
                reason=f"it differs in {difference}",
                remedy=f"give another file with --out, or remove it with {beside.name} beside it",
            )
    partial = _partial_place(place)
    if not beside.exists() and _has_content(place) and (_has_content(partial) or _settings_place(partial).exists()):
        found = _read_beside(_settings_place(partial))
        if _has_content(partial) and (difference := of.describe_difference(found)):
            raise DataError(
                f"{partial} holds the answers so far of another evaluation",
                reason=f"it differs in {difference}",
                remedy="finish that evaluation with its own command, give another file with --out, or remove the file",
            )


def hash_questions(rows: Sequence[Any]) -> str:
    """A hash of questions in their order; they are values that JSON has."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _choose_working_place(place: Path, of: AnswersOf | None) -> Path:
    """Where rows are written for the time being."""
    foreign = of is not None and _has_content(place) and not _settings_place(place).exists()
    return _partial_place(place) if foreign else place


def _partial_place(place: Path) -> Path:
    return place.with_name(f"{place.name}.partial")


def _settings_place(place: Path) -> Path:
    return place.with_name(f"{place.name}.settings.json")


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _read_beside(path: Path) -> Mapping[str, Any]:
    try:
        found: Any = load_json(path.read_bytes())["answers_of"]
        if found["format"] == FORMAT and {"models", "questions_sha256", "settings"} <= found.keys():
            return dict(found)
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        pass
    raise DataError(
        f"{path} does not say which evaluation the answers beside it belong to",
        reason="another program or another version of this program wrote it",
        remedy="give another file with --out, or move it away",
    )


def _read_rows(path: Path) -> list[Row]:
    """Read the rows of the file, and refuse rows without an id: another program wrote them."""
    rows: list[Row] = list(iterate_journal(path))
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("id"), str):
            raise _make_strange(path, number, "id")
    return rows


def _make_strange(path: Path, number: int, key: str) -> DataError:
    return DataError(
        f"{path}, line {number} is not an answer",
        reason=f"it has no `{key}`, so another program wrote it",
        remedy="restore the file, remove it, or give another file with --out",
    )
