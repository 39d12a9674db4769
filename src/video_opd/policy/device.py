"""Which device a name means."""

from __future__ import annotations

import torch


def device_of(name: str) -> str:
    """The device of that name; `auto` is CUDA where there is one."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
