"""Rows of a manifest that are as they should be, read quickly.

A row without any fault or warning, which is nearly every row, needs none of the sentences of `manifest_rows`. Here it
is recognised by a few comparisons, which NaN, infinite and huge numbers fail; any other row is read there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from video_opd.data.manifest_rows import find_path_fault
from video_opd.data.query_words import LONG_QUERY
from video_opd.data.video.video_sampling import DURATION_TOLERANCE_S
from video_opd.files.strict_json import decode_simple_object
from video_opd.types import Example, Span

_REQUIRED = {"id", "video", "query", "spans"}
_KNOWN = _REQUIRED | {"duration", "source", "clip", "frame_rate"}
_MOST_S = 1e12
"""Times up to here are compared as floats without a doubt."""
_NUMBERS = {float, int}


def read_plain_row(raw: bytes) -> Example | None:
    """Read a line of a manifest.

    Args:
        raw: the line, with or without its end.

    Returns:
        The same as `manifest_rows` makes of it; None if there may be anything to say about the row, or if it has a
        clip or a frame rate.
    """
    try:
        text = raw.decode().rstrip()
        row = None if "\\u" in text else decode_simple_object(text)  # or half of a surrogate pair
        if row is None or not _has_plain_keys(tuple(row)):
            return None
        id, video, query, source = row["id"], row["video"], row["query"], row.get("source", "")
        if type(query) is not str or type(source) is not str:
            return None
        if not (id.strip() and _is_plain_path(video) and _is_plain_query(query)):
            return None
        spans = _read_plain_spans(row["spans"], row.get("duration"))
    except (ValueError, AttributeError, TypeError):  # a text that is a number, a span that is no pair
        return None
    if spans is None or row.get("clip") is not None or row.get("frame_rate") is not None:
        return None
    duration = row.get("duration")
    return Example(
        id=id,
        video=video,
        query=query,
        spans=spans,
        duration=None if duration is None else float(duration),
        source=_intern(source),
    )


@lru_cache(maxsize=64)
def _has_plain_keys(keys: tuple[str, ...]) -> bool:
    return _REQUIRED <= set(keys) <= _KNOWN


@lru_cache(maxsize=1024)
def _is_plain_path(video: str) -> bool:
    """Rows about one video stand together."""
    return find_path_fault(video) is None


def _is_plain_query(query: str) -> bool:
    return (
        query[:1].isalnum()
        and len(query) <= LONG_QUERY
        and query.isprintable()
        and not ("<" in query or "[" in query)  # control tokens begin with one
    )


def _read_plain_spans(spans: Any, duration: Any) -> tuple[Span, ...] | None:
    if duration is None:
        latest_s = _MOST_S
    elif type(duration) in _NUMBERS and 0 < duration < _MOST_S:
        latest_s = duration + DURATION_TOLERANCE_S
    else:
        return None
    read = []
    for start, end in spans:
        if type(start) not in _NUMBERS or type(end) not in _NUMBERS or not 0 <= start < end <= latest_s:
            return None
        read.append(Span(float(start), float(end)))
    return tuple(read) if read and type(spans) is list else None


@lru_cache(maxsize=64)
def _intern(source: str) -> str:
    return source
