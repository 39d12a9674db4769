"""Read annotations from files: find the importer of a format, and the format that a file looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

from video_opd.data.importers._annotation import Annotation, Importer, ReadOptions
from video_opd.data.importers._asked_by_template import QUERY
from video_opd.data.importers._formats import FORMATS
from video_opd.data.video.video_names import video_name
from video_opd.errors import DataError
from video_opd.files.records import text_lines
from video_opd.plugin_table import load_place

_FIRST = 5
"""Annotations that must be read before a format counts as one that can read a file."""


def load_importer(format: str) -> Importer:
    """The importer of a format."""
    read = FORMATS[format].read
    return cast(Importer, load_place(__package__, read)) if isinstance(read, str) else read


def read_annotations(format: str, files: Sequence[Path], reading: ReadOptions) -> list[Annotation]:
    """All annotations of the files, in order.

    Raises:
        DataError: at the first record that is not of the format. If the format cannot even read the beginning and
            another can, that one is named.
    """
    together = FORMATS[format].is_read_together
    try:
        annotations = list(load_importer(format)(list(files), reading))
        _refuse_files_without_any(annotations, files, together=together)
    except DataError as error:
        alone = [list(files)] if together else [[file] for file in files]
        strange = next((some for some in alone if not _can_read_beginning(format, some, reading)), None)
        others = [] if strange is None else list_readable_formats(strange, reading)
        if not others:
            raise
        raise DataError(
            error.cause,
            reason=f"{error.reason}; it does not look like {format}, it looks like {' or '.join(others)}",
            remedy=f"import it with `video-opd data import {others[0]}`",
        ) from error
    return annotations


def _refuse_files_without_any(annotations: Sequence[Annotation], files: Sequence[Path], *, together: bool) -> None:
    found = {annotation.record.path for annotation in annotations}
    for file in files:
        if file not in found and not (together and annotations):
            raise DataError(
                f"{file}", reason="it holds no annotations", remedy="Check the file: there is nothing to import"
            )


def list_readable_formats(files: Sequence[Path], reading: ReadOptions) -> list[str]:
    """The formats that can read the beginning of the files: what they look like.

    A general one is named only where no data set's own is, and one of several names for the same.
    """
    able = [name for name in FORMATS if _can_read_beginning(name, files, reading)]
    able = [name for name in able if not FORMATS[name].is_general] or able
    if "sft" in able:  # whatever conversations are, they are that
        able = ["sft"]
    first = {FORMATS[name].read: name for name in reversed(able) if name != "json"}
    return [name for name in able if name in first.values()]


def read_video_list(path: Path) -> frozenset[str]:
    """Names of the videos that a file lists, one a line; QuerYD's `video-` in front is taken off."""
    return frozenset(video_name(record.value.strip().removeprefix("video-")) for record in text_lines(path))


def _can_read_beginning(format: str, files: Sequence[Path], reading: ReadOptions) -> bool:
    any_question = replace(reading, template=QUERY)  # conversations are that however their questions are put
    try:
        return bool(list(islice(load_importer(format)(list(files), any_question), _FIRST)))
    except DataError:
        return False
    except Exception:
        if isinstance(FORMATS[format].read, str):
            raise
        return False  # an importer of the user's own, on a file that is not of its format
