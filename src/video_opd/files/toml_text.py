"""Read TOML that a person wrote: the tables of a recipe, and only what a recipe can hold."""

from __future__ import annotations

import tomllib
from typing import Any

DEEPEST = 60
"""Tables and lists within one another. A recipe has four; several thousand are an attack on the reader's stack."""

_LARGEST = 2**63
_MOST_DOTS = 1_000
"""Before the `=` of a line: the time to read a key grows with the square of its parts."""


class UnusableTomlError(ValueError):
    """TOML with a value that no recipe can have; as text, one clause."""


def load_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        tomllib.TOMLDecodeError: it is not TOML.
        UnusableTomlError: it is TOML, but nested too deep, or with a number of more than 64 bits or a NUL
            character. Both are a `ValueError`.
    """
    if any(line.partition("=")[0].count(".") > _MOST_DOTS for line in text.split("\n")):
        raise UnusableTomlError("one of its keys has too many parts")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise UnusableTomlError("its lists or tables are nested too deep") from None
    except ValueError:  # Python converts no number of more than 4,300 digits
        raise UnusableTomlError("one of its numbers is too long") from None
    _refuse_unusable(tables)
    return tables


def _refuse_unusable(tables: dict[str, Any]) -> None:
    """Look at every key and value, without recursion."""
    level: list[Any] = [tables]
    for _ in range(DEEPEST):
        for each in level:
            _refuse_value(each)
        level = [part for each in level if isinstance(each, dict | list) for part in _list_parts(each)]
        if not level:
            return
    raise UnusableTomlError("its lists or tables are nested too deep")


def _list_parts(value: dict[str, Any] | list[Any]) -> list[Any]:
    return value if isinstance(value, list) else [*value, *value.values()]


def _refuse_value(value: Any) -> None:
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise UnusableTomlError(f"the number {str(value)[:20]}… has more than 64 bits")
    if isinstance(value, str) and "\0" in value:
        raise UnusableTomlError(f"the text {value[:20]!r} has a NUL character, which no name or path can have")
