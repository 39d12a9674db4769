"""The first layer of the vision tower in bfloat16: as the convolution that it is, and as the matrix product that it
equals. On some cards and versions the convolution takes seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from record import Record, gib, release_memory, synchronize
from torch import Tensor, nn

PATCH = (2, 16, 16)
"""Frames, rows and columns of a patch: a stride apart, so that no two overlap."""


Compute = Callable[[nn.Conv3d, Tensor], Tensor]
SLOW_MS = 500.0
"""A call that takes longer is not repeated."""


def measure(record: Record, device: str, *, rehearse: bool) -> None:
    """32,768 patches, of 8,192 video tokens, with the widths of an 8B's and a 2B's tower, forward and backward."""
    patches = 256 if rehearse else 4 * 8192
    for width in (32,) if rehearse else (1152, 1024):
        for dtype in (torch.bfloat16, torch.float32):
            name = f"patch embedding, {patches} patches, width {width}, {str(dtype).removeprefix('torch.')}"
            torch.manual_seed(0)
            pixels = torch.randn(patches, 3 * PATCH[0] * PATCH[1] * PATCH[2], device=device, dtype=dtype)
            layer = nn.Conv3d(3, width, kernel_size=PATCH, stride=PATCH, device=device, dtype=dtype)
            for way, do in (("matrix product", multiply), ("convolution", convolve)):
                record.attempt(f"{name}: {way}", lambda d=do, c=layer, p=pixels: time_layer(d, c, p, device))
            record.attempt(f"{name}: largest difference", lambda c=layer, p=pixels: find_difference(c, p))
            release_memory()


def convolve(layer: nn.Conv3d, pixels: Tensor) -> Tensor:
    """As transformers computes it."""
    return layer(pixels.view(-1, 3, *PATCH)).view(len(pixels), -1)


def multiply(layer: nn.Conv3d, pixels: Tensor) -> Tensor:
    """The same as one product."""
    return nn.functional.linear(pixels, layer.weight.flatten(1), layer.bias)


def time_layer(do: Compute, layer: nn.Conv3d, pixels: Tensor, device: str) -> dict[str, float]:
    """Milliseconds of the first call and of a later one, also with gradient; the most memory beside what is there."""
    with torch.no_grad():
        found = {"first_call_ms": time_ms(lambda: do(layer, pixels), 1)}
        is_slow = found["first_call_ms"] > SLOW_MS
        found["ms"] = time_ms(lambda: do(layer, pixels), 1 if is_slow else 3)
        is_slow &= found["ms"] > SLOW_MS
        if not is_slow:
            found["extra_gib"] = peak_gib(lambda: do(layer, pixels), device)
    if not is_slow:
        found["with_gradient_ms"] = time_ms(lambda: do(layer, pixels).sum().backward(), 2)
    return found


@torch.no_grad()
def find_difference(layer: nn.Conv3d, pixels: Tensor) -> float:
    """Between both ways, on a few patches."""
    few = pixels[:64]
    return float((convolve(layer, few).float() - multiply(layer, few).float()).abs().max())


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
