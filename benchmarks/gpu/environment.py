"""What it runs on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import patch_embedding
import torch
from record import Record, gib
from transformers.utils import is_flash_attn_2_available

PACKAGES = ("torch", "torchvision", "transformers", "accelerate", "triton", "av", "numpy", "safetensors", "pydantic",
            "bitsandbytes", "torchao", "compressed-tensors", "kernels", "flash-attn", "peft")  # fmt: skip


def measure(record: Record, device: str, *, rehearse: bool) -> None:
    """Versions, card, driver, memory; how fast the card is at a matrix product, at launching a small kernel, and at the
    first layer of the vision tower."""
    record["packages"] = {name: _version(name) for name in PACKAGES}
    record["machine"] = {
        "python": platform.python_version(), "platform": platform.platform(), "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(), "flash_attention_2": bool(is_flash_attn_2_available()),
        "video_opd_importable": find_spec("video_opd") is not None,
    }  # fmt: skip
    if device != "cpu":
        measure_card(record)
    patch_embedding.measure(record, device, rehearse=rehearse)


def measure_card(record: Record) -> None:
    """What the card is, and how fast."""
    properties = torch.cuda.get_device_properties(0)
    record["card"] = {
        "name": properties.name, "memory_gib": gib(properties.total_memory), "cuda": torch.version.cuda,
        "capability": f"{properties.major}.{properties.minor}", "multiprocessors": properties.multi_processor_count,
    }  # fmt: skip
    record.attempt("nvidia-smi", _nvidia_smi)
    record.attempt("bfloat16_tflops", measure_matrix_rate)
    record.attempt("launches_per_second", _launch_rate)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _nvidia_smi() -> str:
    fields = "name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,power.limit"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def measure_matrix_rate() -> float:
    """TFLOP/s of a product of two large matrices: what the card can do at most."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = _on_device(lambda: a @ b, 10)
    return round(2 * 8192**3 / seconds / 1e12, 1)


def _launch_rate() -> float:
    """Of additions that take no time: what Python and the driver can start in a second."""
    x = torch.zeros(8, device="cuda")
    return round(1 / _on_device(lambda: x.add_(1), 5000))


def _on_device(do: Any, times: int) -> float:
    for _ in range(3):
        do()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(times):
        do()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000 / times
