"""Peak memory of one training step over a long prompt, every case in a process of its own.

    python benchmarks/memory.py [--seconds 83] [--cases plain ours checkpointed] [--out benchmarks/results/memory.json]

The models and the plain path are those of shared_reading.py: answer-only logits, no checkpointing. Measured is the peak
of the resident memory during the step, less what was resident before it: weights, the optimiser's state, and the
prompt. The gradient is in it. glibc gives freed blocks back at once, so that what its free lists hold is no part of a
figure (`--keep-freed`: as it is by default). A case with `lora` in its name trains an adapter of rank 16 on the
language model in place of all weights, and needs peft. With `frozen` in its name, the vision tower and its merger are
frozen, and the teacher has the same tower. Needs Linux.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from shared_reading import (
    Ours,
    Plain,
    build_policy,
    build_prompt,
    copy_tower,
    freeze_vision,
    load_as_package,
    write_answers,
    writes,
)
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.policy.adapters import attach_adapter
from video_opd.policy.checkpointing import checkpoint_layers
from video_opd.policy.lora_settings import LoraSettings
from video_opd.policy.shared_vision import share_vision
from video_opd.train.stopwatch import PeakMemory

CASES = ("plain", "ours", "checkpointed", "lora", "lora-checkpointed")
FROZEN = ("plain-frozen", "checkpointed-frozen")
RESULTS = Path(__file__).parent / "results" / "memory.json"


def measure(case: str, seconds: int) -> dict[str, float | int | str]:
    """Take a step over a short prompt, so that the optimiser has its state, then measure one over a long prompt."""
    torch.set_num_threads(1)
    student, teacher = build_policy(), build_policy(hidden=640, layers=12, intermediate=1792).freeze()
    if "frozen" in case:
        freeze_vision(student)
        copy_tower(student, teacher)
    if "plain" not in case:
        student, teacher = load_as_package(student), load_as_package(teacher)
    method = ReverseKLDistillation(write=writes(1), teacher=OneTeacher(teacher))
    if "lora" in case:
        attach_adapter(student.name, student.model, LoraSettings(rank=16, alpha=32), seed=0)
    if "checkpointed" in case:
        checkpoint_layers(student.model)
    if "plain" not in case:
        share_vision(student, [teacher], num_clips=0)
    path = (Plain if "plain" in case else Ours)(student, method)
    path.is_checked = False
    memory, began = PeakMemory(torch.device("cpu")), 0.0
    for prompt in (build_prompt(student, 2, 1), build_prompt(student, seconds, 0)):
        answers = write_answers(method, student, prompt)
        ctypes.CDLL(None).malloc_trim(0)
        memory, began = PeakMemory(torch.device("cpu")), time.process_time()
        with memory.watch():
            path.step(prompt, answers)
    assert memory.extra_bytes is not None, "this system does not tell the peak of a process"
    return {
        "case": case,
        "prompt_tokens": len(prompt),
        "patches": len(prompt.pixel_values),
        "peak_gb": memory.extra_bytes / 1e9,
        "gradient_gb": sum(4 * p.numel() for p in student.model.parameters() if p.requires_grad) / 1e9,
        "cpu_seconds": time.process_time() - began,
    }


def measure_in_own_process(case: str, seconds: int, *, keep_freed: bool) -> dict[str, float | int | str]:
    """Run `measure` in a fresh interpreter, where no earlier case left memory behind."""
    environment = os.environ | ({} if keep_freed else {"MALLOC_MMAP_THRESHOLD_": "65536"})
    command = [sys.executable, __file__, "--only", case, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=83, help="of the clip: 32 video tokens each")
    parser.add_argument("--cases", nargs="+", choices=CASES + FROZEN, default=CASES)
    parser.add_argument("--only", choices=CASES + FROZEN, help="measure this case in this process, print JSON")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--keep-freed", action="store_true", help="let glibc keep what was freed, as by default")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.seconds)))
        return
    rows = [
        measure_in_own_process(case, arguments.seconds, keep_freed=arguments.keep_freed) for case in arguments.cases
    ]
    first = rows[0]["peak_gb"]
    for row in rows:
        row["of_first"] = row["peak_gb"] / first
        print(f"{row['case']:<20}{row['peak_gb']:6.2f} GB {row['of_first']:6.2f} {row['cpu_seconds']:7.1f} CPU-s")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
