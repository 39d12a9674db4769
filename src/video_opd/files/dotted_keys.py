"""Tables within tables as one table with dotted keys, `training.learning_rate`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def flatten_tables(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values by dotted keys. A table without a key gives nothing.

    Args:
        tables: the tables.
        prefix: the first part of the keys.
    """
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= flatten_tables(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def is_covered(key: str, names: Collection[str]) -> bool:
    """Whether a dotted key is one of the names, or lies in a table of such a name.

    Args:
        key: the key.
        names: keys and tables.
    """
    return any(key == name or key.startswith(f"{name}.") for name in names)
