"""Whether the tracks of an MP4 file say how long their ticks are: `moov/trak/mdia/mdhd` (ISO 14496-12, 8.4.2).

Where one does not, FFmpeg counts in the ticks of the whole file and says nothing. All times are then wrong, and an edit
list, which is in the file's ticks, leaves a few frames of many.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

_MOST_BOXES = 100_000
"""Boxes that are looked at; more make no video."""


def has_clock(path: Path) -> bool:
    """Whether every track says it. A file whose boxes are laid out in another way passes: FFmpeg judges it."""
    with path.open("rb") as file:
        left = iter(range(_MOST_BOXES))
        whole = (0, path.stat().st_size)
        return all(
            any(_read_ticks(file, *header) for header in _find_boxes(file, media, b"mdhd", left))
            for movie in _find_boxes(file, whole, b"moov", left)
            for track in _find_boxes(file, movie, b"trak", left)
            for media in _find_boxes(file, track, b"mdia", left)
        )


def _find_boxes(
    file: IO[bytes], within: tuple[int, int], wanted: bytes, left: Iterator[int]
) -> Iterator[tuple[int, int]]:
    """Where the contents of the boxes of a name begin and end."""
    at, end = within
    for _ in left:
        file.seek(at)
        head = file.read(16)
        if len(head) < 8 or at >= end:
            return
        size, content = int.from_bytes(head[:4], "big"), at + 8
        if size == 1:  # the length follows, in eight bytes
            size, content = int.from_bytes(head[8:], "big"), at + 16
        to = end if size == 0 else min(end, at + size)
        if to < content:
            return
        if head[4:8] == wanted:
            yield content, to
        at = to


def _read_ticks(file: IO[bytes], at: int, end: int) -> int:
    """Ticks in a second; 0 where the box does not say it."""
    file.seek(at)
    content = file.read(min(end - at, 24))
    place = 20 if content[:1] == b"\x01" else 12  # the two times before it are longer in version 1
    return int.from_bytes(content[place : place + 4], "big")
