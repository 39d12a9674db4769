"""Read durations by video from a file of any known form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from video_opd.data.importers._annotation import Seconds
from video_opd.data.video.video_names import video_name
from video_opd.errors import DataError
from video_opd.files.records import Record, json_any, table_rows

_VIDEO_KEYS = ("id", "vid", "video", "video_id", "video_uid", "name", "video_path")
_DURATION_KEYS = ("length", "duration", "duration_s", "v_duration", "video_duration")

_ANYWHERE = "**/"
"""Before a name that stands for one video, in whatever folder it is."""


class _Duration(BaseModel):
    duration: Seconds


def read_durations(path: Path) -> dict[str, float]:
    """Seconds by video: look one up by `find_key`. Paths count where folders hold videos of one name that differ.

    Read are a CSV with a column for the video (`id` …) and one for the seconds (`length`, as in `Charades_v1_test.csv`,
    or `duration` …), JSON lines with such keys, and one JSON object by video with numbers or with such objects.

    Raises:
        DataError: the file has no such columns, a duration that is no positive number of seconds, or two for one video.
    """
    is_table = path.suffix.lower() in (".csv", ".tsv", ".txt")
    by_path: dict[str, float] = {}
    paths_of: dict[str, list[str]] = {}
    for record in table_rows(path) if is_table else json_any(path):
        video, value = _read_entry(record)
        seconds = record.read_as(_Duration, {"duration": value}).duration
        if seconds <= 0:
            record.refuse(f"the duration of {video!r} is {seconds:g} s")
        if (known := by_path.setdefault(_strip_ending(video), seconds)) != seconds:
            record.refuse(f"{video!r} lasts {seconds:g} s here and {known:g} s further up")
        paths_of.setdefault(video_name(video), []).append(_strip_ending(video))
    durations: dict[str, float] = {}
    for name, paths in paths_of.items():
        alike = len({by_path[each] for each in paths}) == 1
        durations |= {_ANYWHERE + name: by_path[paths[0]]} if alike else {each: by_path[each] for each in paths}
    if not durations:
        raise DataError(f"{path}, line 1", reason="the file has no durations", remedy="Give a file with durations")
    return durations


def find_key(video: str, durations: Mapping[str, float] | None) -> str:
    """The key of a video in the result of `read_durations`: its path if the result has it, else its name in any
    folder."""
    path = _strip_ending(video)
    return path if durations is not None and path in durations else _ANYWHERE + video_name(video)


def _strip_ending(video: str) -> str:
    """The path of a video with its folders, without the ending."""
    folder, slash, _ = video.strip().replace("\\", "/").removeprefix("./").rpartition("/")
    return folder + slash + video_name(video)


def _read_entry(record: Record) -> tuple[str, Any]:
    value = record.value
    if record.key is not None and not isinstance(value, dict):
        return record.key, value
    if not isinstance(value, dict):
        record.refuse("it is not a row of a table and not an object")
    video = record.key if record.key is not None else _take_first(record, _VIDEO_KEYS, "the video")
    if not isinstance(video, str):
        record.refuse("the video's name is not a text")
    return video, _take_first(record, _DURATION_KEYS, "its duration")


def _take_first(record: Record, keys: tuple[str, ...], what: str) -> Any:
    found = next((key for key in keys if key in record.value), None)
    if found is None:
        there = ", ".join(f"`{key}`" for key in list(record.value)[:8])
        record.refuse(f"no column says {what}, of {there}", f"Call it {' or '.join(f'`{key}`' for key in keys[:3])}")
    return record.value[found]
