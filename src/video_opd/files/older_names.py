"""Keys of files that earlier versions wrote under other names. Files of runs and comparisons are read with this."""

from __future__ import annotations

from typing import Any

from video_opd.files.strict_json import load_json

RENAMED = {"format_rate": "output_format_rate", "credit": "advantage"}
"""Old name -> present name."""
_RENAMED_BYTES = [name.encode() for name in RENAMED]


def read_json(content: str | bytes) -> Any:
    """Read the content of a file, with the present names of its keys.

    Raises:
        ValueError: it is not JSON.
    """
    names = RENAMED if isinstance(content, str) else _RENAMED_BYTES
    if not any(name in content for name in names):  # type: ignore[operator]  # both are text, or both bytes
        return load_json(content)  # the hook costs as much as the decoding
    return load_json(content, object_hook=_use_todays_names)


def _use_todays_names(table: dict[str, Any]) -> dict[str, Any]:
    if RENAMED.keys().isdisjoint(table):
        return table
    return {RENAMED.get(key, key): value for key, value in table.items()}
