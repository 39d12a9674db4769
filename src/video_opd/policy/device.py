"""Which device a name means."""

from __future__ import annotations

import os

import torch

from video_opd.ranks import num_processes


def find_device(name: str) -> str:
    """The device of that name; `auto` is CUDA where there is one."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_precision(device: str) -> str:
    """The type in which a frozen model is held there, where nothing else is said."""
    return "bfloat16" if device.startswith("cuda") else "float32"


def find_capability() -> float:
    """The compute capability of this machine's GPU, such as 9.0 of an H100; 0 where torch sees none."""
    if not torch.cuda.is_available():
        return 0.0
    major, minor = torch.cuda.get_device_capability()
    return major + minor / 10


def find_device_here(name: str) -> str:
    """The device of that name for this process: of several processes on a machine each has the GPU of its number."""
    device = find_device(name)
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" and num_processes() > 1 else device
