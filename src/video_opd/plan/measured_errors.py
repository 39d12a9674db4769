"""How far the estimates were from measurements; benchmarks/plan_accuracy.py writes the file that is read here."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "plan_accuracy.json"


@cache
def read_accuracy() -> dict[str, Any]:
    """Read the smallest and the largest ratio of estimate and measurement, by what was measured."""
    return dict(json.loads(_FILE.read_text(encoding="utf-8")))


def describe_accuracy() -> str:
    """Say in one sentence each how far memory and seconds were from what was measured."""
    found = read_accuracy()
    gpu, cpu, step = found["memory_on_gpu"], found["memory_on_cpu"], found["seconds_of_a_step"]
    answering = found["memory_of_answering"]
    return (
        f"Estimates of memory differ from {gpu['count']} peaks measured on an H100 and an H200 by "
        f"{_describe_range(gpu)}, and from {cpu['count']} measured on a CPU by {_describe_range(cpu)}. For prompts of "
        f"one length that are only answered, they differ from {answering['count']} peaks on these GPUs by "
        f"{_describe_range(answering)}. Estimates of the seconds differ from {step['count']} measured steps on one "
        f"card by {_describe_range(step)}; the constants come from these steps. Several cards were never measured. "
        "The time to decode videos is not counted."
    )


def _describe_range(ratios: dict[str, float]) -> str:
    low, high = (100 * (ratios[name] - 1) for name in ("smallest", "largest"))
    return f"{low:+.1f} to {high:+.1f} %"
