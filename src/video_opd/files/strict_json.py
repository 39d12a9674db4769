"""Python's JSON decoder, made strict: no NaN, no repeated key, no number that does not fit a float.

The one way to read JSON that people or other programs wrote: single lines and rows of manifests here, records of other
files in `records`. Files that video-opd wrote itself are read with `older_names.read_json`. `load_json` is Python's own
decoder for everything else; no other module calls `json.loads` on a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

SHOWN = 60
"""Characters of a value that are repeated in a sentence."""

DEEPEST = 100
"""Lists and objects within one another. No format that is read here has ten."""

_TOO_DEEP = "the nesting of its brackets is too deep"


class StrictError(ValueError):
    """JSON that Python accepts and this package does not; as text, one sentence."""


class NotJsonError(StrictError):
    """What Python would not take either."""


def _refuse_constant(name: str) -> NoReturn:
    raise StrictError(f"{name} is not a number")


def _parse_finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise StrictError(f"the number {digits[:SHOWN]} is too large")
    return number


def _parse_small(digits: str) -> int:
    number = int(digits)
    if abs(number) > 2**63:
        raise StrictError(f"the number {digits[:SHOWN]} is too large")
    return number


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise StrictError(f"the key `{key[:SHOWN]}` is there twice")
            seen.add(key)
    return entries


DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_parse_finite, parse_int=_parse_small, object_pairs_hook=_make_object
)


def decode(raw: bytes) -> Any:
    """The value that a line or a whole file holds, in UTF-8.

    Raises:
        StrictError: it holds none.
    """
    try:
        text = raw.decode("utf-8")
        value = DECODER.decode(text)
        refuse_deep(value, text)
        return value
    except UnicodeDecodeError as error:
        raise NotJsonError(f"byte {raw[error.start]:#04x} at column {error.start + 1} is not UTF-8") from None
    except StrictError:
        raise
    except json.JSONDecodeError as error:
        raise NotJsonError(f"it is not JSON ({error})") from None
    except (ValueError, RecursionError):
        raise NotJsonError("it is not JSON that can be read: a number is too long or the nesting too deep") from None


_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def decode_simple_object(text: str) -> dict[str, Any] | None:
    """Decode an object that is simple enough to be decoded without the hooks, which cost more than the decoding.

    That no key comes twice shows in the number of quotation marks, where texts stand at the top level alone.

    Args:
        text: without blanks around it.

    Returns:
        The object, whose numbers may be NaN or infinite or huge: the caller looks at them. None: decode it strictly.
    """
    if "\\\\" in text:  # or a quotation mark may be escaped, and may not
        return None
    try:
        value, end = _scan(text, 0)
    except (StopIteration, ValueError, RecursionError):
        return None
    if type(value) is not dict or end != len(text):
        return None
    num_texts = list(map(type, value.values())).count(str)
    num_marks = text.count('"') - text.count('\\"')
    return value if num_marks == 2 * (len(value) + num_texts) else None


def load_json(content: str | bytes, **hooks: Any) -> Any:
    """Decode JSON as Python does, with one kind of error.

    Args:
        content: of a whole file, or of one line.
        hooks: as for `json.loads`.

    Raises:
        ValueError: it is not JSON; a number is too long; the nesting is too deep.
    """
    try:
        value = json.loads(content, **hooks)
    except RecursionError:
        raise NotJsonError(_TOO_DEEP) from None
    if isinstance(content, str):
        refuse_deep(value, content)
    elif content.count(b"[") + content.count(b"{") > DEEPEST:
        refuse_deep(value, content.decode("utf-8", "replace"))
    return value


def refuse_deep(value: Any, text: str, begin: int = 0, end: int | None = None) -> None:
    """Refuse a value whose lists and objects lie too deep in one another for whatever calls itself on their parts.

    Args:
        value: as it was decoded.
        text: holds the value; with few brackets it is not looked at.
        begin: where the value begins.
        end: where it ends; None: with the text.

    Raises:
        NotJsonError: it is nested too deep.
    """
    end = len(text) if end is None else end
    if text.count("[", begin, end) + text.count("{", begin, end) <= DEEPEST:
        return
    level = [value]
    for _ in range(DEEPEST):
        parts = (each.values() if isinstance(each, dict) else each for each in level)
        level = [part for each in parts for part in each if isinstance(part, dict | list)]
        if not level:
            return
    raise NotJsonError(_TOO_DEEP)


def name_kind(value: object) -> str:
    """The JSON name of a value's kind."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    return "a string" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"
