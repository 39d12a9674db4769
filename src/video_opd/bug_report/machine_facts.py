"""Versions, machine and variables of the environment. Nothing here raises: what is not known is called so."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from video_opd import __version__
from video_opd.redaction import HIDDEN, is_secret_name
from video_opd.system_memory import read_memory_limit, read_memory_table

PACKAGES = (
    "torch", "torchvision", "transformers", "tokenizers", "safetensors", "av", "numpy", "pillow", "pydantic",
    "cyclopts", "accelerate", "peft", "bitsandbytes", "compressed-tensors", "kernels", "torchao", "pyarrow",
    "huggingface_hub", "tensorboard", "wandb", "mlflow", "trackio",
)  # fmt: skip

_VARIABLES = re.compile(
    r"(VIDEO_OPD|CUDA|NVIDIA|NCCL|GLOO|TORCH|PYTORCH|HF|TRANSFORMERS|HUGGINGFACE|TOKENIZERS|OMP|MKL|OPENBLAS|WANDB|MLFLOW"
    r"|TENSORBOARD|TRACKIO)_\w+|PYTHON(PATH|HASHSEED|OPTIMIZE|WARNINGS)|RANK|(LOCAL_)?WORLD_SIZE|LOCAL_RANK|LANG|LC_ALL"
    r"|LD_(LIBRARY_PATH|PRELOAD)|TMPDIR"
)
_NAMED_ONLY = re.compile(r"(WANDB|MLFLOW|TENSORBOARD|TRACKIO)_(?!(MODE|DIR|BASE_URL|TRACKING_URI)$)\w+")

_PROBE_S = 60.0
"""How long torch may take to tell of the GPUs: a broken driver may hang."""

_PROBE = """
import json, torch
found = {"cuda": torch.version.cuda, "gpus": [], "threads": torch.get_num_threads()}
for number in range(torch.cuda.device_count()):
    free, total = torch.cuda.mem_get_info(number)
    card = torch.cuda.get_device_properties(number)
    found["gpus"].append([card.name, f"{card.major}.{card.minor}", free, total])
print(json.dumps(found))
"""


def list_versions() -> list[str]:
    """Lines with the versions of this program, Python and the packages that matter."""
    found, missing = [f"video-opd {__version__}", f"Python {platform.python_version()}"], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return [*found, *([f"not installed: {', '.join(missing)}"] if missing else [])]


def list_machine_facts(place: Path) -> list[str]:
    """Lines about the machine.

    Args:
        place: a folder on the disk that matters.
    """
    facts = [f"system: {platform.platform()}", f"processor: {_name_processor()}, {_count_cores()}"]
    facts += [f"memory: {_describe_memory()}"]
    for what, folder in (("disk", place), ("/dev/shm", Path("/dev/shm"))):
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(folder)
            facts.append(f"{what}: {_gib(usage.free)} of {_gib(usage.total)} free")
    return facts + probe_gpus()


def probe_gpus() -> list[str]:
    """Lines about CUDA and the GPUs as torch sees them. Another process asks torch: it may hang or crash."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            stdin=subprocess.DEVNULL,
        )
        found = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return [f"GPUs: not known, torch gave no answer ({type(error).__name__})"]
    if found is None:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [f"GPUs: not known, torch ended with status {done.returncode}: {said}"]
    lines = [f"CUDA of torch: {found['cuda'] or 'none'}; threads of torch: {found['threads']}"]
    for name, capability, free, total in found["gpus"]:
        lines.append(f"GPU: {name}, capability {capability}, {_gib(free)} of {_gib(total)} free")
    return lines if found["gpus"] else [*lines, "GPUs: none"]


def list_variables() -> list[str]:
    """Lines `NAME=value` of variables that change what this program does. Of a secret only the name is there, and of
    most variables of trackers: they name people, teams and projects."""
    return [
        f"{name}={HIDDEN if is_secret_name(name) or _NAMED_ONLY.fullmatch(name) else value}"
        for name, value in sorted(os.environ.items())
        if _VARIABLES.fullmatch(name)
    ]


def _name_processor() -> str:
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine() or "not known"


def _count_cores() -> str:
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{os.cpu_count()} cores, {here} for this process"


def _describe_memory() -> str:
    table, limit = read_memory_table(), read_memory_limit()
    is_known = {"MemAvailable", "MemTotal"} <= table.keys()
    said = f"{_gib(table['MemAvailable'])} of {_gib(table['MemTotal'])} free" if is_known else "not known"
    return said if limit is None else f"{said}; the limit of the container is {_gib(limit)}"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
