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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

from video_opd.data.manifest_rows import (
    Fault,
    example_from_row,
    find_path_fault,
    row_from_example,
    row_from_line,
    rows_of_text,
)
from video_opd.data.video.video_sampling import DURATION_TOLERANCE_S, MIN_VIDEO_FRAMES
from video_opd.errors import DataError
from video_opd.files.outputs import replace_file
from video_opd.files.records import recognise_form
from video_opd.types import Example, Span

_REASON = "a row that had to be guessed at would be trained on or scored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem of a manifest or of a video that it names."""

    line: int
    """Line in the file, or row in its list, from 1; 0: the file as a whole."""
    id: str | None
    """Id of the row, where it could be read."""
    severity: Literal["error", "warning"]
    """Errors stop `read_manifest` or the reading of the video; warnings stop nothing."""
    message: str
    """One sentence, without the file and line."""
    remedy: str
    """What to do about it."""
    in_list: bool = False
    """The rows stand in one JSON list, or over several lines each: `line` is the number of the row."""

    @property
    def place(self) -> str:
        """The row of the problem."""
        return f"{'row' if self.in_list else 'line'} {self.line}"

    def __str__(self) -> str:
        row = "" if self.id is None else f" (id {self.id!r})"
        return f"{self.place}{row}: {self.severity}: {self.message}"


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
    examples = [example for _, example in read_numbered(path)]
    return examples if videos is None else add_durations(examples, videos)


def add_durations(examples: Sequence[Example], videos: Path) -> list[Example]:
    """The same rows, with the duration of their video if they have none and the video can be read."""
    if all(example.duration is not None for example in examples):
        return list(examples)
    from video_opd.data.video.picture_folder import probe_video  # here, so that reading a manifest does not load FFmpeg

    one_of = {(example.video, example.frame_rate): example for example in examples}

    @cache
    def length_s(video: str, frame_rate: float | None) -> float | None:
        try:
            return probe_video(resolve_video(videos, one_of[video, frame_rate]), frame_rate).duration_s
        except DataError:
            return None

    return [
        replace(example, duration=length_s(example.video, example.frame_rate)) if example.duration is None else example
        for example in examples
    ]


def read_numbered(path: Path) -> list[tuple[int, Example]]:
    """The same, each row with its line in the file, or its number where the file is a list, from 1.

    Raises:
        DataError: as `read_manifest`.
    """
    rows: list[tuple[int, Example]] = []
    for item in _scan(path):
        if isinstance(item, Problem):
            if item.severity == "error":
                _refuse_another_format(path, rows)
                raise _refusal(path, item)
        else:
            rows.append(item)
    return rows


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
    rows: list[tuple[int, Example]] = []
    for item in _scan(path):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            rows.append(item)
    if problems:
        _refuse_another_format(path, rows)
    if videos is not None:
        problems.extend(_find_video_problems(rows, videos))
        if decode:
            broken = {problem.line for problem in problems if problem.severity == "error"}
            problems.extend(_find_decoding_problems([row for row in rows if row[0] not in broken], videos))
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
            for item in () if are_checked else _check_row(line, row, seen):
                if isinstance(item, Problem) and item.severity == "error":
                    raise _refusal(path, item)
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        if not line:
            raise _refusal(path, _EMPTY)
        file.flush()
        os.fsync(file.fileno())


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


def _refuse_another_format(path: Path, rows: list[tuple[int, Example]]) -> None:
    """If a file has no usable row, refuse it, and name what it is if that is known."""
    if not rows and path.is_file():  # a pipe has nothing more to say
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
                yield from _check_row(line, row, seen, in_list=in_list)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}",
            reason="the manifest cannot be read",
            remedy="Check the path, or make one with `video-opd data import`",
        ) from error
    if not num_rows:
        yield _EMPTY


def _read_rows(file: BinaryIO) -> tuple[Iterator[tuple[int, dict[str, Any] | Fault]], bool]:
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


def _parse_lines(raw_lines: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """JSON lines, each with its number. Bytes, cut at "\n" alone: text mode would lose the offset of a bad byte."""
    offset = 0
    for line, raw in enumerate(raw_lines, start=1):
        row = row_from_line(raw, offset, first=line == 1)
        offset += len(raw)
        if row is not None:
            yield line, row


def _check_row(
    line: int, row: dict[str, Any] | Fault, seen: dict[str, int], *, in_list: bool = False
) -> Iterator[Problem | tuple[int, Example]]:
    """What is wrong with one row, then the row itself if it can be used. `seen` remembers the lines of earlier ids."""
    if isinstance(row, Fault):
        yield _make_problem(line, None, row, in_list)
        return
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
        yield _make_problem(line, row_id, fault, in_list)
    if example is not None:
        yield line, example


def _make_problem(line: int, row_id: str | None, fault: Fault, in_list: bool = False) -> Problem:
    return Problem(
        line=line, id=row_id, severity=fault.severity, message=fault.message, remedy=fault.remedy, in_list=in_list
    )


def _find_video_problems(rows: list[tuple[int, Example]], videos: Path) -> Iterator[Problem]:
    """Probe each distinct video once. A video that cannot be read is reported at the first row that names it."""
    from video_opd.data.video.picture_folder import probe_video  # here, so that reading a manifest does not load FFmpeg
    from video_opd.data.video.video_io import VideoInfo

    probed: dict[tuple[str, float | None], VideoInfo | None] = {}
    for line, example in rows:
        named = example.video, example.frame_rate
        if named not in probed:
            probed[named] = None
            try:
                probed[named] = info = probe_video(resolve_video(videos, example), example.frame_rate)
            except DataError as error:
                yield _make_problem(line, example.id, Fault(f"{error.cause}: {error.reason}", error.remedy))
            else:
                if info.num_frames < MIN_VIDEO_FRAMES:
                    message = f"`video` {example.video!r} has {info.num_frames} frame, which cannot show when"
                    yield _make_problem(line, example.id, Fault(message, "Leave out the rows about it"))
        found = probed[named]
        if found is None or found.num_frames < MIN_VIDEO_FRAMES:
            continue
        if example.clip is not None and example.clip.end_s > found.duration_s + DURATION_TOLERANCE_S:
            message = f"`clip` ends at {example.clip.end_s:g} s, but the file is {found.duration_s:.2f} s long"
            yield _make_problem(line, example.id, Fault(message))
        length_s = found.duration_s if example.duration is None else example.duration
        if example.clip is None and abs(found.duration_s - length_s) > DURATION_TOLERANCE_S:
            message = f"`duration` is {length_s:g} s, but the file is {found.duration_s:.2f} s long"
            yield _make_problem(line, example.id, Fault(message, "Check that it is the right video", "warning"))


def _find_decoding_problems(rows: list[tuple[int, Example]], videos: Path) -> Iterator[Problem]:
    """Decode each distinct video, or part of one, once; it is reported at the first row that asks about it."""
    from video_opd.data.video.decoding_workers import DecodingWorkers
    from video_opd.data.video.video_sampling import VideoBudget

    little = VideoBudget(fps=0.1, max_frame_tokens=1)  # the last frame is always among those wanted
    seen: set[tuple[str, Span | None, float | None]] = set()
    with contextlib.closing(DecodingWorkers()) as workers:
        for line, example in rows:
            if (asked := (example.video, example.clip, example.frame_rate)) not in seen:
                seen.add(asked)
                try:
                    workers.read_video(resolve_video(videos, example), little, *asked[1:])
                except DataError as error:
                    yield _make_problem(line, example.id, Fault(f"{error.cause}: {error.reason}", error.remedy))
