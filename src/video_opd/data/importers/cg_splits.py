"""Charades-CG and ActivityNet-CG (Li et al. 2022): https://github.com/YYJMJC/Compositional-Temporal-Grounding.

    novel_composition.json  {"AO8RW": {"sentences": ["a person puts a book on a shelf."], "timestamps": [[0.0, 6.9]],
                              "duration": 33.67, "novels": [{"v-adv": [["put", "on"]]}]}}
    novel_word.json         the same with "news": [{"DET": ["all"]}]
    test_trivial.json, train.json   the same without either, known by the name of the file

The split becomes the last part of the source, `charades-cg/novel-word`, so that one manifest of all files can be scored
split by split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from video_opd.data.importers._annotation import Annotation, Captions, ReadOptions, require_name
from video_opd.files.records import Record, json_entries

_OF_CONTENT = {"novels": "novel-composition", "news": "novel-word"}
_OF_NAME = {"test_trivial": "test-trivial", "train": "train"}
"""The ending of a file's name."""


class _CgSplitsVideo(Captions):
    novels: list[Any] | None = None
    news: list[Any] | None = None


def read_charades(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every sentence of every video of Charades-CG."""
    yield from _read(files, re.compile(r"[0-9A-Z]{5}"), "Charades")


def read_activitynet(files: list[Path], _: ReadOptions) -> Iterator[Annotation]:
    """Every sentence of every video of ActivityNet-CG."""
    yield from _read(files, re.compile(r"v_.{11}"), "ActivityNet")


def _read(files: list[Path], id: re.Pattern[str], data_set: str) -> Iterator[Annotation]:
    for file in files:
        for record in json_entries(file, unique=True):
            require_name(record, record.key, id, data_set)
            video = record.read_as(_CgSplitsVideo)
            yield from video.make_annotations(record, source=_split(record, video))


def _split(record: Record, video: _CgSplitsVideo) -> str:
    told = [name for key, name in _OF_CONTENT.items() if getattr(video, key) is not None]
    told = told or [name for end, name in _OF_NAME.items() if record.path.stem.endswith(end)]
    if len(told) != 1:
        record.refuse(
            "it does not say of which split it is: it has neither `novels` nor `news`, and the file is called neither "
            "test_trivial nor train",
            "Keep the names that the files have in the repository",
        )
    return told[0]
