"""Keys of files that earlier versions wrote under other names. Files of runs and comparisons are read with this."""

from __future__ import annotations

import json
from typing import Any

RENAMED = {"format_rate": "output_format_rate", "credit": "advantage"}
"""Old name -> present name."""


def read_json(content: str | bytes) -> Any:
    """Read the content of a file, with the present names of its keys.

    Raises:
        ValueError: it is not JSON.
    """
    if isinstance(content, bytes):
        content = content.decode(json.detect_encoding(content), "surrogatepass")
    if content.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark")
    return _DECODER.decode(content)


def _use_todays_names(table: dict[str, Any]) -> dict[str, Any]:
    if RENAMED.keys().isdisjoint(table):
        return table
    return {RENAMED.get(key, key): value for key, value in table.items()}


_DECODER = json.JSONDecoder(object_hook=_use_todays_names)  # `json.loads` would make one for every line
