"""What the system says of its memory, in bytes."""

from __future__ import annotations

import re
from pathlib import Path

_TABLE = Path("/proc/meminfo")
_LIMIT = Path("/sys/fs/cgroup/memory.max")


def read_memory_table() -> dict[str, int]:
    """The sizes that Linux names, such as `MemTotal` and `MemAvailable`; empty on a system that does not tell."""
    try:
        text = _TABLE.read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    return {name: 1024 * int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def read_memory_limit() -> int | None:
    """The limit of a container; None where there is none, or none that is known."""
    try:
        text = _LIMIT.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
