"""QuerYD (Oncescu et al. 2021): https://www.robots.ox.ac.uk/~vgg/data/queryd.

Two files together, pickles as published (or JSON of the same shape): captions, then times.

    {"video-6Qv-LrXJjSM": [["a", "man", "sits", "down"], ["he", "smiles"]]}        raw_captions_combined_filtered.pkl
    {"video-6Qv-LrXJjSM": [[3.2, 9.0], [9.5, 9.5]]}                                times_captions_combined_filtered.pkl

`--split train_list.txt` keeps the videos of a published list. Durations are not in the files: `--durations` or
`--videos`. Pickles are read without running what they hold: anything but text, numbers and containers is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from video_opd.data.importers._annotation import Annotation, ReadOptions, Times
from video_opd.errors import DataError
from video_opd.files.records import Record, json_entries

_CAPTIONS = TypeAdapter(list[list[str] | str])
_TIMES = TypeAdapter(list[Times])


def read(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every caption of every video."""
    if len(files) != 2:
        raise DataError(
            f"{len(files)} files", reason="QuerYD is two files: captions and times", remedy="Give both, captions first"
        )
    captions, times = ({record.key: record for record in _read_entries(file)} for file in files)
    for video, record in times.items():
        if video not in captions:
            yield Annotation(record=record, video=str(video), query="", spans=(), skipped="times without captions")
    for video, record in captions.items():
        sentences = _validate(_CAPTIONS, record)
        if video not in times:
            record.refuse(f"{files[1].name} has no times for {video}")
        spans = _validate(_TIMES, times[video])
        if len(spans) != len(sentences):
            record.refuse(f"{video} has {len(sentences)} captions and {len(spans)} times")
        for sentence, span in zip(sentences, spans, strict=True):
            query = sentence if isinstance(sentence, str) else " ".join(sentence)
            yield Annotation(record=record, video=str(video).removeprefix("video-"), query=query, spans=(span,))


def _validate(shape: TypeAdapter[Any], record: Record) -> Any:
    try:
        return shape.validate_python(record.value)
    except (ValidationError, RecursionError):
        record.refuse(f"{record.key} is not a list of captions or of [start, end] pairs")


def _read_entries(file: Path) -> Iterator[Record]:
    if file.suffix.lower() == ".json":
        yield from json_entries(file, unique=True)
        return
    try:
        with file.open("rb") as stream:
            content = _Plain(stream).load()
    except OSError as error:
        raise DataError(
            f"{file}: {error.strerror or error}", reason="the file cannot be read", remedy="Check the path"
        ) from error
    except Exception as error:  # whatever a broken or hostile pickle raises
        raise DataError(
            f"{file}",
            reason=f"it is not a pickle of plain data: {error or type(error).__name__}",
            remedy="Fetch it again, or convert it to JSON",
        ) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DataError(f"{file}", reason="it is not a dict by video", remedy="Give captions and times of QuerYD")
    for number, (key, value) in enumerate(content.items(), start=1):
        yield Record(file, number, value, key)


class _Plain(pickle.Unpickler):
    """Text, numbers and containers need no class; whatever asks for one is refused, so nothing is ever run."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
