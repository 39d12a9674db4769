"""Which device a name means."""

from __future__ import annotations

import torch


def find_device(name: str) -> str:
    """The device of that name; `auto` is CUDA where there is one."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_precision(device: str) -> str:
    """The type in which a frozen model is held there, where nothing else is said."""
    return "bfloat16" if device.startswith("cuda") else "float32"
