"""When and on what a benchmark ran: versions, date, and the machine in words."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from video_opd import __version__

PACKAGES = ("torch", "transformers", "numpy")


def describe_machine() -> dict[str, Any]:
    """The first entries of a file of results."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {_name_processor()}, {platform.system()}; one thread is used",
        "versions": {
            "video-opd": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
    }


def _name_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
