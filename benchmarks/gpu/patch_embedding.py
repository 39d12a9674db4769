"""The first layer of the vision tower in bfloat16: as the convolution that it is, and as the matrix product that it
equals. On some cards and versions the convolution takes seconds."""

from __future__ import annotations

import time
from typing import Any

import torch
from record import Record, gib, release_memory, synchronize
from torch import Tensor, nn

PATCH = (2, 16, 16)
"""Frames, rows and columns of a patch: a stride apart, so that no two overlap."""


def measure(record: Record, device: str, *, rehearse: bool) -> None:
    """32,768 patches, of 8,192 video tokens, with the widths of a 2B's and an 8B's tower, forward and backward."""
    patches = 256 if rehearse else 4 * 8192
    for width in (32,) if rehearse else (1024, 1152):
        for dtype in (torch.bfloat16, torch.float32):
            name = f"patch embedding, {patches} patches, width {width}, {str(dtype).removeprefix('torch.')}"
            record.attempt(name, lambda w=width, d=dtype: compare(patches, w, d, device))
            release_memory()


def compare(patches: int, width: int, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Milliseconds of both ways, and how far their results are apart."""
    torch.manual_seed(0)
    pixels = torch.randn(patches, 3 * PATCH[0] * PATCH[1] * PATCH[2], device=device, dtype=dtype)
    convolution = nn.Conv3d(3, width, kernel_size=PATCH, stride=PATCH, device=device, dtype=dtype)
    weight = convolution.weight

    def convolve() -> Tensor:
        return convolution(pixels.view(-1, 3, *PATCH)).view(-1, width)

    def multiply() -> Tensor:
        return nn.functional.linear(pixels, weight.view(width, -1), convolution.bias)

    found: dict[str, Any] = {}
    for name, do in (("matrix_product", multiply), ("convolution", convolve)):
        with torch.no_grad():
            found[f"{name}_first_call_ms"] = time_ms(do, 1)
            found[f"{name}_ms"] = time_ms(do, 3)
            found[f"{name}_gib"] = peak_gib(do, device)
        found[f"{name}_with_gradient_ms"] = time_ms(lambda do=do: do().sum().backward(), 2)
    with torch.no_grad():
        one, other = convolve().float(), multiply().float()
    found["largest_difference"] = float((one - other).abs().max())
    return found


def time_ms(do: Any, times: int) -> float:
    """The mean of a few calls."""
    synchronize()
    began = time.perf_counter()
    for _ in range(times):
        do()
    synchronize()
    return 1000 * (time.perf_counter() - began) / times


def peak_gib(do: Any, device: str) -> float:
    """The most memory that a call needs beside what is there; 0 on a CPU."""
    if device == "cpu":
        return 0.0
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    do()
    return gib(torch.cuda.max_memory_allocated() - before)
