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
    return (
        f"Memory was within {_find_error(gpu):.1f} % of {gpu['count']} peaks measured on an H100 and an H200, and "
        f"within {_find_error(cpu):.0f} % of {cpu['count']} measured on a CPU. The seconds of a step were "
        f"{step['smallest']:.2f} to {step['largest']:.2f} times those of {step['count']} steps measured on one "
        "card. Several cards were never measured. The time to decode videos is not counted."
    )


def _find_error(ratios: dict[str, float]) -> float:
    """In percent."""
    return 100 * max(1 - ratios["smallest"], ratios["largest"] - 1)
