"""Recognises a file that is not a manifest, so that the error message can name it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from video_opd.data.importers._annotation import ReadOptions
from video_opd.data.importers._read_annotations import list_readable_formats
from video_opd.errors import DataError
from video_opd.files.records import json_rows


def recognise_file(path: Path) -> DataError | None:
    """The error for a file of predictions or of a data set's own annotations; None if it is neither.

    Rows that have an `id` and a query or spans are no annotations in any format: such a file is a manifest with a
    fault.
    """
    keys = _keys_of_first_row(path)
    if {"id", "answer"} <= keys and not keys & {"video", "query"}:
        return DataError(
            f"{path} is not a manifest",
            reason="it is a file of predictions, which say nothing of videos and queries",
            remedy=f"give the manifest they answer; `video-opd metrics {path} --ground-truth MANIFEST` scores them",
        )
    formats = [] if "id" in keys and keys & {"query", "spans"} else list_readable_formats([path], ReadOptions())
    if not formats:
        return None
    return DataError(
        f"{path} is not a manifest",
        reason=f"it looks like annotations in the format {' or '.join(formats)}",
        remedy=f"make a manifest of it with `video-opd data import {formats[0]} {path} --out manifest.jsonl`",
    )


def _keys_of_first_row(path: Path) -> set[str]:
    """The keys of the first row; empty if it is not an object."""
    with contextlib.suppress(DataError):
        row = next((record.value for record in json_rows(path)), None)
        return set(row) if isinstance(row, dict) else set()
    return set()
