"""Whether models may be downloaded. Needs neither torch nor the hub's library."""

from __future__ import annotations

import os
import sys

_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""The hub's library reads both."""
_YES = ("1", "ON", "YES", "TRUE")


def is_offline() -> bool:
    """Whether nothing may be downloaded: by `--offline`, or by the environment."""
    return any(os.environ.get(name, "").upper() in _YES for name in _VARIABLES)


def go_offline() -> None:
    """Forbid downloads, for this process and for those that it starts."""
    os.environ[_VARIABLES[0]] = "1"
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:  # it read the environment when it was imported
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
