"""Spoil a video file: one file and one seed give one mutant, the same one on every machine.

Changes know what a file is made of: boxes of MP4, elements of Matroska, chunks of AVI, tags of FLV, packets of a
transport stream. Any other file is taken as a row of bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

_BOXES = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex", b"dinf", b"udta"))
"""Boxes that hold boxes."""
_COUNTED = frozenset((
    b"mvhd", b"tkhd", b"mdhd", b"elst", b"stts", b"ctts", b"stss", b"stsc", b"stsz", b"stco", b"co64", b"trex", b"tfhd",
    b"tfdt", b"trun", b"mfhd", b"mehd", b"avih", b"strh", b"strf", b"idx1",
))  # fmt: skip
"""Boxes and chunks that hold numbers: times, sizes, places, scales, counts."""
_ELEMENTS = frozenset(
    (0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0x1F43B675, 0xA0, 0x1C53BB6B, 0xBB, 0xB7, 0x114D9B74)
)
"""Elements of Matroska that hold elements."""
_NUMBERS = frozenset((0x2AD7B1, 0x4489, 0xE7, 0x9B, 0x23E383, 0xB0, 0xBA, 0xB3, 0xF1, 0xD7, 0x83, 0x55B0))
"""Elements that hold a number: scale, duration, times, lengths, sides, places."""
VALUES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)

Change = Callable[[bytes, "list[bytes]", random.Random], bytes]


class Unit(NamedTuple):
    """A piece of a file that has a length of its own."""

    start: int
    end: int
    content: int
    """Where what it holds begins."""
    size_at: int
    size_length: int
    """Bytes of the field that says how long it is; 0: there is none."""
    order: str
    """Of the bytes of a number: big or little."""
    name: bytes
    depth: int
    is_counted: bool
    """It holds numbers only."""


def spoil_video(data: bytes, others: list[bytes], seed: str) -> tuple[bytes, list[str]]:
    """A mutant of a file, and the changes it has: one to three.

    Args:
        data: the whole file.
        others: files to take pieces of.
        seed: chooses the changes.
    """
    draw, names = random.Random(seed), []
    for _ in range(draw.choice((1, 1, 1, 1, 2, 3))):
        change = draw.choice(_CHANGES)
        data = change(data, others, draw)
        names.append(change.__name__.lstrip("_"))
    return data, names


def list_units(data: bytes) -> list[Unit]:
    """What a file is made of, outer pieces before what they hold."""
    if data[4:8] in (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"wide"):
        return list(_walk_boxes(data, 0, len(data), 0))
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return list(_walk_elements(data, 0, len(data), 0))
    if data[:4] == b"RIFF":
        return list(_walk_chunks(data, 0, len(data), 0))
    if data[:3] == b"FLV":
        return list(_walk_tags(data))
    if data[:1] == b"G" and data[188:189] == b"G":
        return [Unit(at, at + 188, at + 4, at, 0, "big", b"", 0, False) for at in range(0, len(data) - 187, 188)]
    return []


def _walk_boxes(data: bytes, at: int, end: int, depth: int) -> Iterator[Unit]:
    while at + 8 <= end:
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        to = end if size < 8 else min(end, at + size)
        yield Unit(at, to, at + 8, at, 4, "big", name, depth, name in _COUNTED)
        if name in _BOXES and depth < 9:
            yield from _walk_boxes(data, at + 8, to, depth + 1)
        at = to


def _walk_chunks(data: bytes, at: int, end: int, depth: int) -> Iterator[Unit]:
    while at + 8 <= end:
        size, name = int.from_bytes(data[at + 4 : at + 8], "little"), data[at : at + 4]
        to = min(end, at + 8 + size + size % 2)
        yield Unit(at, to, at + 8, at + 4, 4, "little", name, depth, name in _COUNTED)
        if name in (b"RIFF", b"LIST") and depth < 5:
            yield from _walk_chunks(data, at + 12, to, depth + 1)
        at = to


def _walk_elements(data: bytes, at: int, end: int, depth: int) -> Iterator[Unit]:
    while at + 2 <= end and data[at]:
        id_length = 9 - data[at].bit_length()
        size_at = at + id_length
        if size_at >= end or not data[size_at]:
            return
        size_length = 9 - data[size_at].bit_length()
        unknown = (1 << 7 * size_length) - 1
        size = int.from_bytes(data[size_at : size_at + size_length], "big") & unknown
        content = size_at + size_length
        to = end if size == unknown else min(end, content + size)
        number = int.from_bytes(data[at:size_at], "big")
        yield Unit(at, to, content, size_at, size_length, "big", data[at:size_at], depth, number in _NUMBERS)
        if number in _ELEMENTS and depth < 9:
            yield from _walk_elements(data, content, to, depth + 1)
        at = to


def _walk_tags(data: bytes) -> Iterator[Unit]:
    yield Unit(0, 13, 3, 5, 4, "big", b"FLV", 0, False)
    at = 13
    while at + 11 <= len(data):
        to = min(len(data), at + 15 + int.from_bytes(data[at + 1 : at + 4], "big"))
        yield Unit(at, to, at + 11, at + 1, 3, "big", data[at : at + 1], 0, data[at] == 18)
        yield Unit(at + 4, at + 8, at + 4, at + 4, 0, "big", b"time", 1, True)
        at = to


def _flip_bits(data: bytes, _: list[bytes], draw: random.Random) -> bytes:
    found = bytearray(data)
    near = draw.choice((len(found), len(found), min(2048, len(found))))
    for _number in range(draw.choice((1, 1, 2, 8))):
        if near:
            at = draw.randrange(near)
            found[draw.choice((at, len(found) - 1 - at))] ^= 1 << draw.randrange(8)
    return bytes(found)


def _overwrite_range(data: bytes, _: list[bytes], draw: random.Random) -> bytes:
    at, to = _draw_range(data, draw)
    fill = draw.choice((b"\0" * (to - at), b"\xff" * (to - at), draw.randbytes(to - at)))
    return data[:at] + fill + data[to:]


def _truncate(data: bytes, _: list[bytes], draw: random.Random) -> bytes:
    at = draw.randint(0, len(data))
    return data[at:] if draw.random() < 0.1 else data[:at]


def _truncate_at_unit(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Between two pieces, where nothing tells but what was promised."""
    units = list_units(data)
    return data[: draw.choice(units).start] if units else _truncate(data, others, draw)


def _move_range(data: bytes, _: list[bytes], draw: random.Random) -> bytes:
    at, to = _draw_range(data, draw)
    piece, rest = data[at:to], data[:at] + data[to:]
    where = draw.randint(0, len(rest))
    return draw.choice((rest, data[:to] + piece + data[to:], rest[:where] + piece + rest[where:]))


def _change_units(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Leave a piece out, write it twice, swap it with the next one, or write another's in its place."""
    units = list_units(data)
    if not units:
        return _move_range(data, others, draw)
    depth = draw.choice(sorted({unit.depth for unit in units}))
    level = [unit for unit in units if unit.depth == depth]
    number = draw.randrange(len(level))
    unit = level[number]
    piece, what = data[unit.start : unit.end], draw.randrange(5)
    if what == 0:
        return data[: unit.start] + data[unit.end :]
    if what == 1:
        return data[: unit.end] + piece + data[unit.end :]
    if what == 2:
        other = level[(number + 1) % len(level)]
        first, second = sorted((unit, other))
        if first.end <= second.start:
            between = data[first.end : second.start]
            swapped = data[second.start : second.end] + between + data[first.start : first.end]
            return data[: first.start] + swapped + data[second.end :]
    if what == 3:
        donor = draw.choice(others)
        pieces = [one for one in list_units(donor) if one.name == unit.name]
        if pieces:
            one = draw.choice(pieces)
            return data[: unit.start] + donor[one.start : one.end] + data[unit.end :]
    last = draw.choice(level[number:])  # several at once
    return data[: unit.start] + data[last.end :]


def _change_size(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    units = [unit for unit in list_units(data) if unit.size_length]
    if not units:
        return _change_number(data, others, draw)
    unit = draw.choice(units)
    return _write_number(data, unit.size_at, unit.size_length, unit.order, draw)


def _change_number(data: bytes, _: list[bytes], draw: random.Random) -> bytes:
    """Another time, scale, count, place or length in the place of one."""
    units = [unit for unit in list_units(data) if unit.is_counted and unit.end > unit.content]
    names = sorted({unit.name for unit in units})
    if not names:
        at = draw.randrange(max(1, min(len(data), 4096)))
        return _write_number(data, at, draw.choice((1, 2, 4)), "big", draw)
    name = draw.choice(names)
    unit = draw.choice([unit for unit in units if unit.name == name])
    length = min(unit.end - unit.content, draw.choice((1, 2, 4, 4, 4, 8)) if unit.end - unit.content > 8 else 8)
    places = max(1, (unit.end - unit.content) // length)
    at = unit.content + length * min(draw.randrange(places), draw.randrange(places))
    return _write_number(data, at, length, unit.order, draw)


def _change_name(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    units = [unit for unit in list_units(data) if unit.name]
    if not units:
        return _flip_bits(data, others, draw)
    unit, other = draw.choice(units), draw.choice(units)
    at = data.find(unit.name, unit.start, unit.start + 8)
    name = other.name if len(other.name) == len(unit.name) else bytes(reversed(unit.name))
    return data if at < 0 else data[:at] + name + data[at + len(name) :]


def _take_header(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """The beginning of another file before this one, or in the place of its own."""
    donor = draw.choice(others)
    length = draw.choice((4, 8, 12, 32, 188, 1024, draw.randint(0, len(donor))))
    return donor[:length] + data[draw.choice((0, length)) :]


def _join(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    donor = draw.choice((data, draw.choice(others)))
    at, to = draw.randint(0, len(data)), draw.randint(0, len(donor))
    return draw.choice((data + donor, donor + data, data[:at] + donor[to:], data[:at] + donor))


def _write_number(data: bytes, at: int, length: int, order: str, draw: random.Random) -> bytes:
    now, most = int.from_bytes(data[at : at + length], order), (1 << 8 * length) - 1  # type: ignore[arg-type]
    value = draw.choice((
        draw.choice(VALUES), now + 1, now - 1, now * 2, now // 2, now * 10, now // 10, most - now,
        now ^ 1 << draw.randrange(8 * length), draw.randrange(most + 1),
    ))  # fmt: skip
    return data[:at] + (value & most).to_bytes(length, order) + data[at + length :]  # type: ignore[arg-type]


def _draw_range(data: bytes, draw: random.Random) -> tuple[int, int]:
    at = draw.randint(0, len(data))
    return at, min(len(data), at + draw.choice((1, 4, 16, 188, 512, 2048, draw.randint(0, len(data)))))


_CHANGES: tuple[Change, ...] = (
    *[_flip_bits] * 3, _overwrite_range, *[_truncate] * 2, *[_truncate_at_unit] * 2, _move_range, *[_change_units] * 4,
    *[_change_size] * 2, *[_change_number] * 6, _change_name, _take_header, _join,
)  # fmt: skip
