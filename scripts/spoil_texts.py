# ruff: noqa: E501  (samples are kept on one line)
"""Spoil a text: one text and one seed give one mutant, the same one on every machine."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

DEEP, LONG = 100_000, 5_000
"""Brackets within one another; digits of a number."""

RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * LONG, "9" * 400, "1." + "1" * LONG, "1e308", "-1e308",
    "1e-320", "-1", "0", "-0.0", "9007199254740993", str(2**63), "1e400000", "0x10", "1_000", "nan", "inf", "[" * DEEP,
    '{"a":' * DEEP, "[" * DEEP + "]" * DEEP, "[" * 900 + "]" * 900, '"\\ud800"', '"\\u0000"', '"a\\u0000b"', '"\x1b[2J"',
    '"\u202egnp"', '"' + "x" * 100_000 + '"', "null", "true", "[]", "{}", '""', '"../x"', '"/etc/passwd"', '"0"',
    "[[]]", "[null]", "[1, 2]", "[2, 1]", "[-4, -2]", "[[1, 2]]", "[[2, 1], [1]]", '{"": 0}', "1979-05-27", "'x'", "", '"[/bold]"',
)  # fmt: skip
"""What may stand in the place of a value, some of it not JSON."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, -0.5, 0.5, 10**400, 2**63, 1e308, -1e308, float("nan"), float("inf"), "", "a", "0",
    "nan", "\x00", "a\x00b", "\ud800", "\x1b]0;x\x07", "\x9b2J", "\u202e", "\ufeff", "x" * 50_000, [], {}, [[]], [None],
    [0, 1], [1, 0], [-3, -1], [[0, 1]], [[1, 0]], [[float("nan"), 1]], [1e308, 1e308], [-1e308, 1e308], {"a": 1},
    [{"id": "a"}], [[[0, 1]]], ["0", "1"], [True, False], "../../x", "/x", "a" * 300 + "/b", "C:\\x", "%s {0} \\", "[/bold]x", "[red",
)  # fmt: skip

_TOKEN = re.compile(rb'-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|"(?:[^"\\\n]|\\.)*"|\btrue\b|\bfalse\b|\bnull\b')


def spoil(text: bytes, seed: str) -> bytes:
    """A mutant of a text, by one to three changes.

    Args:
        text: the whole file.
        seed: chooses the changes.
    """
    draw = random.Random(seed)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        text = draw.choice(_CHANGES)(text, draw)
    return text


def _change_value(text: bytes, draw: random.Random) -> bytes:
    """Another value in the place of one, anywhere in one line or in the whole, where that is JSON."""
    lines = text.split(b"\n")
    for number in draw.sample(range(len(lines)), len(lines)):
        if lines[number].strip() and (changed := _change_json(lines[number], draw)) is not None:
            return b"\n".join([*lines[:number], changed, *lines[number + 1 :]])
    changed = _change_json(text, draw)
    return _change_token(text, draw) if changed is None else changed


def _change_json(text: bytes, draw: random.Random) -> bytes | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    places = list(_list_places(value))
    if not places:
        return None
    holder, key = draw.choice(places)
    what = draw.random()
    if what < 0.2:
        del holder[key]
    elif what < 0.3 and isinstance(holder, list):
        holder.append(holder[key])
    elif what < 0.4:
        other, place = draw.choice(places)
        holder[key] = json.loads(json.dumps(other[place]))
    else:
        holder[key] = draw.choice(VALUES)
    try:
        return json.dumps(value, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return None


def _list_places(value: Any) -> Any:
    """Every (holder, key) of a tree."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _list_places(value[key])


def _change_token(text: bytes, draw: random.Random) -> bytes:
    tokens = [match.span() for match in _TOKEN.finditer(text)]
    if not tokens:
        return _insert(text, draw)
    at, to = draw.choice(tokens)
    return text[:at] + draw.choice(RAW).encode("utf-8", "surrogatepass") + text[to:]


def _insert(text: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(text))
    return text[:at] + draw.choice(RAW).encode("utf-8", "surrogatepass") + text[at:]


def _flip(text: bytes, draw: random.Random) -> bytes:
    found = bytearray(text)
    for _ in range(draw.randint(1, 4)):
        if found:
            found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    return bytes(found)


def _cut(text: bytes, draw: random.Random) -> bytes:
    at, to = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
    return draw.choice((text[:at], text[at:], text[:at] + text[to:]))


def _change_lines(text: bytes, draw: random.Random) -> bytes:
    lines = text.split(b"\n")
    at = draw.randrange(len(lines))
    return b"\n".join(draw.choice((
        [*lines[:at], *lines[at + 1 :]], [*lines[:at], lines[at], *lines[at:]], lines[::-1], [*lines, lines[at]],
        [*lines[:at], b"", *lines[at:]], [*lines[:at], draw.choice((b"[1]", b"null", b"{}", b'"x"', b"7")), *lines[at:]],
    )))  # fmt: skip


def _double_key(text: bytes, draw: random.Random) -> bytes:
    pairs = [match.span() for match in re.finditer(rb'"\w+": (?:"[^"\n]*"|[\d.]+|null|true|false)', text)]
    if not pairs:
        return _change_lines(text, draw)
    at, to = draw.choice(pairs)
    return text[:to] + b", " + text[at:to] + text[to:]


def _change_whole(text: bytes, draw: random.Random) -> bytes:
    return draw.choice((
        b"", b"\xef\xbb\xbf" + text, text.replace(b"\n", b"\r\n"), text.replace(b"\n", b"\r"), b"\n" * 50 + text, b"\x00",
        text + b"\x00", b"\xff\xfe" + text.decode("utf-8", "replace").encode("utf-16-le"), text + b"\xff", b"[" * DEEP,
        b"{" * DEEP, b'{"a":' * DEEP, b"[" + b"9" * LONG + b"]", b"[]", b"{}", b"null", b"0", b'""', text + text, b"[[[]]]",
        text.replace(b'"', b"'"), text.replace(b"e", b"\xe9"), text.strip(), b" " + text, text.replace(b": ", b" = "),
    ))  # fmt: skip


_CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *[_change_value] * 6, *[_change_token] * 4, _insert, _flip, _flip, _cut, _change_lines, _double_key, _change_whole
)  # fmt: skip
