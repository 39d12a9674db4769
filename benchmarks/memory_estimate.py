"""The estimate of a step's peak memory beside what is measured, every case in a process of its own.

    python benchmarks/memory_estimate.py [--seconds 20] [--out benchmarks/results/memory_estimate.json]

The models are those of shared_reading.py. Measured is the peak of the resident memory during the second step, less what
was resident before it: gradient, activations, keys and values, distributions and what the optimiser needs while it
updates. The allocator of each process gives all memory back that is freed (MALLOC_MMAP_THRESHOLD_), so that the
resident memory is what tensors take. The GPU figures are those of benchmarks/gpu/results. Needs Linux.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from shared_reading import SETTINGS, build_policy, build_prompt, writes
from video_opd.config.recipe_file import parse_recipe
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.policy.adapters import attach_adapter
from video_opd.policy.checkpointing import checkpoint_layers
from video_opd.policy.lora_settings import LoraSettings
from video_opd.policy.model_shape import measure_shape
from video_opd.policy.shared_vision import share_vision
from video_opd.train.largest_micro_batch import Load
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.memory_estimate import FrozenModel, MemoryEstimate, StepMemory
from video_opd.train.stopwatch import PeakMemory

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "checkpointed": {"training": {"gradient_checkpointing": True}},
    "lora": {"student": {"lora": {"rank": 8}}},
    "frozen vision, checkpointed": {
        "training": {"gradient_checkpointing": True},
        "student": {"freeze_vision": True, "freeze_merger": True},
    },
    "bfloat16": {"compute": {"precision": "bfloat16"}},
    "two micro-batches": {"training": {"batch_size": 2}},
    "three answered together": {"training": {"batch_size": 3, "answer_together": 3}},
    "three answered together, checkpointed": {
        "training": {"batch_size": 3, "answer_together": 3, "gradient_checkpointing": True}
    },
    "three answered together, lora, checkpointed": {
        "training": {"batch_size": 3, "answer_together": 3, "gradient_checkpointing": True},
        "student": {"lora": {"rank": 8}},
    },
}
"""By name: the tables of the recipe."""

RESULTS = Path(__file__).parent / "results" / "memory_estimate.json"


def make_recipe(tables: dict[str, Any]) -> Any:
    """The recipe of a case."""
    data = dict.fromkeys(("videos", "train", "validation"), "x")
    return parse_recipe(
        {"name": "bench", "data": data, "teacher": {"model": "tiny-teacher"}, **tables}
        | {"student": {"model": "tiny-student", **tables.get("student", {})}}
        | {"training": {"batch_size": 1, **tables.get("training", {})}, "answers": {"max_new_tokens": 16}}
    )


def measure(case: str, seconds: int) -> dict[str, Any]:
    """Take a step over a short prompt, so that the optimiser has its state, then measure one over long ones."""
    torch.set_num_threads(1)
    recipe = make_recipe(CASES[case])
    student, teacher = build_policy(), build_policy(hidden=640, layers=12, intermediate=1792).freeze()
    shapes = [measure_shape("bench", policy.model.config, policy.family) for policy in (student, teacher)]
    if recipe.compute.precision == "bfloat16":
        student.autocast = torch.bfloat16
    if recipe.student.lora is not None:
        shapes[0] = measure_shape("bench", student.model.config, student.family, LoraSettings(rank=8))
        attach_adapter("bench", student.model, recipe.student.lora, seed=0)
    if recipe.student.freeze_vision:
        for name, parameter in student.model.named_parameters():
            parameter.requires_grad_(student.family.vision_part(name) is None)
    if recipe.training.gradient_checkpointing:
        checkpoint_layers(student.model)
    count = recipe.training.batch_size
    pieces = {"gradient_checkpointing", "answer_together"}
    settings = SETTINGS.model_copy(update={"batch_size": count, **recipe.training.model_dump(include=pieces)})
    share_vision(student, [], num_clips=recipe.training.most_together)
    learner = Learner(student, settings, total_steps=1)
    method = ReverseKLDistillation(write=writes(1), teacher=OneTeacher(teacher))
    memory = PeakMemory(torch.device("cpu"))
    for prompts in ([build_prompt(student, 2, 1)], [build_prompt(student, seconds, number) for number in range(count)]):
        ctypes.CDLL(None).malloc_trim(0)
        memory = PeakMemory(torch.device("cpu"))
        with memory.watch():
            take_step(learner, prompts, method, step=0, seed=0)
    assert memory.extra_bytes is not None, "this system does not tell the peak of a process"
    load = Load(
        prompts=1, tokens=len(prompts[0]), patches=len(prompts[0].pixel_values), answers=1, answer_tokens=16,
        num_pieces=count, together=recipe.training.most_together,
    )  # fmt: skip
    estimate = StepMemory(
        recipe=recipe,
        student=shapes[0],
        frozen=[FrozenModel(part="teacher", shape=shapes[1], num_bytes=4 * shapes[1].num_all)],
        load=load,
        is_checkpointed=recipe.training.gradient_checkpointing is True,
    ).estimate()
    expected = count_extra(estimate, load)
    return {
        "case": case,
        "prompt_tokens": load.tokens,
        "patches": load.patches,
        "measured_mb": memory.extra_bytes / 1e6,
        "estimated_mb": expected / 1e6,
        "error": expected / memory.extra_bytes - 1,
        "phase": estimate.phase,
    }


def count_extra(estimate: MemoryEstimate, load: Load) -> int:
    """What of the estimate was not resident before the step: weights, the optimiser's state and the pixels were."""
    resident = sum(estimate.certain.values()) - estimate.certain["gradient"]
    holds_all = estimate.is_checkpointed and "activations" in estimate.parts and "vision features" not in estimate.parts
    return estimate.peak - resident - load.patches * 6144 * (max(load.together, 1) if holds_all else 1)


def measure_in_fresh_process(case: str, seconds: int) -> dict[str, Any]:
    """Run `measure` in an interpreter of its own."""
    command = [sys.executable, __file__, "--only", case, "--seconds", str(seconds)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20, help="of the clip: 32 video tokens each")
    parser.add_argument("--only", choices=CASES, help="measure this case in this process, print one line of JSON")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.seconds)))
        return
    rows = []
    for case in CASES:
        rows.append(measure_in_fresh_process(case, arguments.seconds))
        row = rows[-1]
        print(f"{case:<30}{row['measured_mb']:8.0f} MB{row['estimated_mb']:8.0f} MB {row['error']:+7.1%}", flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
