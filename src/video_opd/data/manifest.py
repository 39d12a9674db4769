"""Manifests: one JSON object a line, each a question about a video and the spans that answer it.

    {"id": "q1", "video": "kitchen/a.mp4", "query": "a person opens the fridge", "spans": [[2.0, 4.5]],
     "duration": 31.2, "source": "charades", "clip": null}

(on one line; or all rows in one JSON list). `duration`, `source` and `clip` may be left out. A video that is a folder
of numbered pictures has a `frame_rate` too, pictures per second; its first picture is at 0 s. All times are seconds.
With a `clip`, a part of a longer video, spans are relative to its start and `duration` is its length. A duration that
is not there is read from the video where the videos are at hand, and asked for where something depends on it. Every
row has at least one span: without one there is nothing to reward or to score. `video-opd ground` needs no annotation.

What is read is what was written: a row that is wrong stops the program and is never repaired, because a guess would be
trained on. Spans that end after the video are the exception in being merely reported. They are common (562 of 3,720 in
Charades-STA), the field's scorers keep them, and clipping them would change every score.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from video_opd.data.manifest_problems import Problem, make_problem
from video_opd.data.manifest_rows import (
    Fault,
    example_from_row,
    find_path_fault,
    row_from_example,
    row_from_line,
    rows_of_text,
)
from video_opd.data.plain_rows import read_plain_row
from video_opd.errors import DataError
from video_opd.files.outputs import replace_file
from video_opd.files.records import recognise_form
from video_opd.types import Example

if TYPE_CHECKING:
    from video_opd.grounding.packed_examples import PackedExamples

_REASON = "a row that had to be guessed at would be trained on or scored"


def read_manifest(path: Path, videos: Path | None = None) -> list[Example]:
    """Read every row of a manifest, in order.

    Args:
        path: the manifest.
        videos: the folder of its videos, where rows without a duration find one; a video that cannot be read gives
            none, and is told of when its turn comes. None: such rows are left without.

    Raises:
        DataError: at the first row that cannot be used, or for a file that is missing or has no rows; a file of
            predictions or of another format is called that. Spans reaching past the end of the video are kept as they
            are; `check_manifest` reports them.
    """
    examples = [example for _, example in iterate_numbered(path)]
    return examples if videos is None else add_durations(examples, videos)


def pack_manifest(path: Path, videos: Path | None = None) -> PackedExamples:
    """Read every row of a manifest, in order, into little memory.

    Args:
        path: the manifest.
        videos: as for `read_manifest`.

    Raises:
        DataError: as `read_manifest`.
    """
    from video_opd.grounding.packed_examples import PackedExamples  # here: a check needs no NumPy

    examples = (example for _, example in iterate_numbered(path))
    return PackedExamples.of(examples if videos is None else _iterate_with_durations(examples, videos))


def add_durations(examples: Iterable[Example], videos: Path) -> list[Example]:
    """The same rows, with the duration of their video if they have none and the video can be read."""
    return list(_iterate_with_durations(examples, videos))


def _iterate_with_durations(examples: Iterable[Example], videos: Path) -> Iterator[Example]:
    known: dict[tuple[str, float | None], float | None] = {}
    for example in examples:
        if example.duration is None:
            named = example.video, example.frame_rate
            if named not in known:
                known[named] = _measure_duration_s(example, videos)
            yield replace(example, duration=known[named])
        else:
            yield example


def _measure_duration_s(example: Example, videos: Path) -> float | None:
    """None where the video cannot be read."""
    from video_opd.data.video.picture_folder import probe_video  # here, so that reading a manifest does not load FFmpeg

    try:
        return probe_video(resolve_video(videos, example), example.frame_rate).duration_s
    except DataError:
        return None


def iterate_numbered(path: Path) -> Iterator[tuple[int, Example]]:
    """Read a manifest row by row, each with its line or number; only the ids of earlier rows are remembered.

    Raises:
        DataError: as `read_manifest`.
    """
    has_rows = False
    for item in _scan(path):
        if not isinstance(item, Problem):
            has_rows = True
            yield item
        elif item.severity == "error":
            if not has_rows:
                _refuse_another_format(path)
            raise _refusal(path, item)


def check_manifest(path: Path, videos: Path | None = None, *, decode: bool = False) -> list[Problem]:
    """Find all problems of a manifest and of its videos.

    Args:
        path: the manifest.
        videos: the folder that its paths start from. Each distinct video is probed once: counted packet by packet, and
            its first frame decoded. None: the videos are not looked at.
        decode: decode them to the end too, as training would: what is broken within a frame shows nowhere else.

    Raises:
        DataError: the manifest itself cannot be opened, or is a file of predictions or of another format.
    """
    problems: list[Problem] = []
    has_rows = False
    with contextlib.ExitStack() as stack:
        of_videos = None
        if videos is not None:
            from video_opd.data.videos_of_manifest import VideosOfManifest  # here: other checks do not load FFmpeg

            of_videos = stack.enter_context(contextlib.closing(VideosOfManifest(videos, decode=decode)))
        for item in _scan(path):
            if isinstance(item, Problem):
                problems.append(item)
                continue
            has_rows = True
            if of_videos is not None:
                problems.extend(of_videos.find_problems(*item))
    if problems and not has_rows:
        _refuse_another_format(path)
    return sorted(problems, key=lambda problem: problem.line)


def write_manifest(path: Path, examples: Iterable[Example], *, are_checked: bool = False) -> None:
    """Write rows to a file, completely or not at all.

    Args:
        path: the manifest.
        examples: its rows, in order.
        are_checked: they were checked row by row already and their ids differ, as those of `Collector.collect`.

    Raises:
        DataError: at the first example that `read_manifest` would refuse; nothing is written then.
    """
    seen: dict[str, int] = {}
    line = 0
    with replace_file(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="\n") as file:
        for line, example in enumerate(examples, start=1):
            row = row_from_example(example)
            try:
                written = json.dumps(row, ensure_ascii=False, allow_nan=not are_checked)
            except TypeError:  # a value that JSON has not, such as a number of NumPy
                _refuse_faulty(path, line, row, seen)
                raise
            if not are_checked:
                is_plain = read_plain_row(written.encode("utf-8", "surrogatepass")) is not None
                if not is_plain or seen.setdefault(example.id, line) != line:
                    _refuse_faulty(path, line, row, seen)
            file.write(f"{written}\n")
        if not line:
            raise _refusal(path, _EMPTY)
        file.flush()
        os.fsync(file.fileno())


def _refuse_faulty(path: Path, line: int, row: dict[str, Any], seen: dict[str, int]) -> None:
    for item in _check_row(line, row, seen):
        if isinstance(item, Problem) and item.severity == "error":
            raise _refusal(path, item)


def resolve_video(videos: Path, example: Example) -> Path:
    """The file of an example's video, certain to lie in the videos folder. It need not exist.

    Raises:
        DataError: the path is absolute, climbs with `..`, is an address, or leads out of the folder through a link.
    """
    reason = "a manifest may only name files in the videos folder"
    fault = find_path_fault(example.video)
    if fault:
        raise DataError(f"row {example.id!r}: {fault.message}", reason=reason, remedy=fault.remedy)
    try:
        root, file = videos.resolve(), (videos / example.video).resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links, before Python 3.13
        raise DataError(
            f"row {example.id!r}: video {example.video!r} cannot be followed ({error})",
            reason="its links lead nowhere",
            remedy="Repair the links in the videos folder",
        ) from error
    if not file.is_relative_to(root):
        raise DataError(
            f"row {example.id!r}: video {example.video!r} leads to {file}, outside {root}",
            reason=reason,
            remedy="Copy the file into the folder, or give as videos folder the one the links point into",
        )
    return file


def _refuse_another_format(path: Path) -> None:
    """Refuse a file without a usable row, and name what it is if that is known."""
    if path.is_file():  # a pipe has nothing more to say
        from video_opd.data.lookalike_manifests import recognise_file  # here: reading a good manifest loads no importer

        if refusal := recognise_file(path):
            raise refusal


_EMPTY = Problem(
    line=0, id=None, severity="error", message="the manifest has no rows", remedy="Check that it was written to the end"
)


def _refusal(path: Path, problem: Problem) -> DataError:
    where = f"{path}, {problem.place}" if problem.line else f"{path}"
    row = "" if problem.id is None else f" (id {problem.id!r})"
    return DataError(f"{where}{row}: {problem.message}", reason=_REASON, remedy=problem.remedy)


def _scan(path: Path) -> Iterator[Problem | tuple[int, Example]]:
    """Every problem and every usable row with its line, in order."""
    seen: dict[str, int] = {}
    num_rows = 0
    try:
        with path.open("rb") as file:
            rows, in_list = _read_rows(file)
            for line, row in rows:
                num_rows += 1
                if isinstance(row, Example) and seen.setdefault(row.id, line) == line:
                    yield line, row
                else:
                    yield from _check_row(line, row, seen, in_list=in_list)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}",
            reason="the manifest cannot be read",
            remedy="Check the path, or make one with `video-opd data import`",
        ) from error
    if not num_rows:
        yield _EMPTY


def _read_rows(file: BinaryIO) -> tuple[Iterator[tuple[int, _Row]], bool]:
    """Rows with their line, or their number where the file is no JSON lines (then True): a list, or rows over several
    lines each. Only such a file is read at once."""
    beginning = []
    for raw in file:  # as far as the first row; a pipe cannot be read again
        beginning.append(raw)
        if raw.removeprefix(b"\xef\xbb\xbf").strip():
            break
    first = beginning[-1].removeprefix(b"\xef\xbb\xbf").strip() if beginning else b""
    if first.startswith(b"[") or (first.startswith(b"{") and not first.endswith(b"}")):
        beginning += file.readlines()
        with contextlib.suppress(UnicodeDecodeError):
            text = b"".join(beginning).decode("utf-8").removeprefix("\ufeff")
            if (form := recognise_form(text)) != "lines":
                return enumerate(rows_of_text(text, in_list=form == "list"), start=1), True
    return _parse_lines(chain(beginning, file)), False


_Row = dict[str, Any] | Fault | Example
"""A row as it was decoded, or why it was not; an example where there is nothing to say about the row."""


def _parse_lines(raw_lines: Iterable[bytes]) -> Iterator[tuple[int, _Row]]:
    """JSON lines, each with its number. Bytes, cut at "\n" alone: text mode would lose the offset of a bad byte."""
    offset = 0
    for line, raw in enumerate(raw_lines, start=1):
        row = read_plain_row(raw) or row_from_line(raw, offset, first=line == 1)
        offset += len(raw)
        if row is not None:
            yield line, row


def _check_row(
    line: int, row: _Row, seen: dict[str, int], *, in_list: bool = False
) -> Iterator[Problem | tuple[int, Example]]:
    """What is wrong with one row, then the row itself if it can be used. `seen` remembers the lines of earlier ids."""
    if isinstance(row, Fault):
        yield make_problem(line, None, row, in_list)
        return
    if isinstance(row, Example):  # its id is that of an earlier row
        row = row_from_example(row)
    example, faults = example_from_row(row)
    row_id = row.get("id")
    if not isinstance(row_id, str):
        row_id = None
    else:
        first = seen.setdefault(row_id, line)
        if first != line:
            place = "row" if in_list else "line"
            faults.append(Fault(f"the id is already that of {place} {first}", "Give every row an id of its own"))
            example = None
    for fault in faults:
        yield make_problem(line, row_id, fault, in_list)
    if example is not None:
        yield line, example
