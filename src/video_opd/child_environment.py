"""The variables of a process that runs a module of this package: it finds the package where this process has it."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = str(Path(__file__).parents[1])


def make_child_environment(**more: str) -> dict[str, str]:
    """The variables of this process, with the folder of this package first in `PYTHONPATH`.

    Args:
        more: variables to add.
    """
    paths = filter(None, (_ROOT, os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}
