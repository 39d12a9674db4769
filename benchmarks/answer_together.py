"""A step whose prompts are answered in one token loop, beside one that answers them one by one.

    python benchmarks/answer_together.py [--batch 8] [--seconds 20] [--repeats 3]
    python benchmarks/answer_together.py --from-gpu benchmarks/gpu/results/h100-2026-11-27.json --batch 32

Four ways to take the same step over the same prompts: one by one and together, each with and without gradient
checkpointing. With it every prompt is read once; without it the prompts that are answered together are read again for
the gradient. One prompt a micro-batch, one answer of 16 tokens a prompt, no teacher (its passes are the same in all
ways). The ways take turns in one process, with one thread; CPU time by phase, medians. The student is that of
shared_reading.py.

A CPU shows what the passes cost. It does not show what a GPU gains: there the host decides how fast answers are
written, and one token of 32 prompts takes as long as one token of one prompt. `--from-gpu` computes from the measured
phases of steps of one prompt what a step of a batch takes; benchmarks/gpu/together_step.py measures it.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from shared_reading import SETTINGS, build_policy, build_prompt, given_rewards, writes
from video_opd.methods.grpo import GRPO
from video_opd.policy.checkpointing import checkpoint_layers
from video_opd.policy.load import Policy
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.types import Prompt

RESULTS = Path(__file__).parent / "results" / "answer_together.json"
PHASES = ("read", "answer", "score", "backward", "step")


def make_learners(student: Policy, batch: int) -> dict[str, Learner]:
    """A learner for each way, every one with a student of its own."""
    learners = {}
    for is_checkpointed in (False, True):
        for together in (None, batch):
            own = replace(student, model=copy.deepcopy(student.model))
            if is_checkpointed:
                checkpoint_layers(own.model)
            changes = {"batch_size": batch, "answer_together": together, "gradient_checkpointing": is_checkpointed}
            name = ("together" if together else "one by one") + (", checkpointed" if is_checkpointed else "")
            learners[name] = Learner(own, SETTINGS.model_copy(update=changes), total_steps=1)
    return learners


def measure(prompts: Sequence[Prompt], student: Policy, repeats: int) -> dict[str, Any]:
    """CPU seconds by way and phase."""
    method = GRPO(write=writes(1), reward=given_rewards, divide_by_std=False)
    learners = make_learners(student, len(prompts))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in learners}
    for repeat in range(repeats):
        for name, learner in learners.items():
            outcome = take_step(learner, prompts, method, step=0, seed=repeat)
            found[name].append(outcome.cpu_seconds_by_phase)
    rows = {
        name: {phase: statistics.median(each.get(phase, 0.0) for each in steps) for phase in PHASES}
        | {"whole": statistics.median(sum(each.values()) for each in steps)}
        for name, steps in found.items()
    }
    return {"batch": len(prompts), "prompt_tokens": len(prompts[0]), "repeats": repeats, "cpu_seconds": rows}


def compute_from_gpu(path: Path, batch: int) -> dict[str, dict[str, float]]:
    """Seconds of a step by the number of prompts that are answered together, for every measured length of a prompt.

    It is arithmetic, not a measurement: a token loop takes as long for several prompts as for one, and what is read
    again, or computed again with checkpointing, takes as long as the first time, the frozen tower left out.
    """
    found: dict[str, dict[str, float]] = {}
    for name, case in json.loads(path.read_text())["real-size"].items():
        if not (name.startswith("opd, shared") and name.endswith(", 1 together") and "phases" in case):
            continue
        spent = case["phases"]
        passes = sum(spent[phase] for phase in ("read", "teacher", "score", "backward"))
        found[name] = {"1": batch * (passes + spent["answer"]) + spent["step"]}
        again = spent["read"] - spent["vision_student"]
        for together in (4, 8, batch):
            loops = math.ceil(batch / together) * spent["answer"]
            found[name][str(together)] = batch * (passes + again) + loops + spent["step"]
    return found


def main() -> None:
    """Measure, print a table, and add the figures to those of other batches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=20, help="of the clip: 32 video tokens each")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--from-gpu", type=Path, help="figures of benchmarks/gpu: compute a step of a batch from them")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.from_gpu:
        for name, row in compute_from_gpu(arguments.from_gpu, arguments.batch).items():
            print(name + "".join(f"; {count} together {seconds:.1f} s" for count, seconds in row.items()))
        return
    torch.set_num_threads(1)
    student = build_policy()
    prompts = [build_prompt(student, arguments.seconds, number) for number in range(arguments.batch)]
    case = measure(prompts, student, arguments.repeats)
    for name, row in case["cpu_seconds"].items():
        print(f"{name:<26}" + "".join(f"{phase} {seconds:7.2f}   " for phase, seconds in row.items()))
    known = json.loads(arguments.out.read_text())["cases"] if arguments.out.exists() else []
    cases = [each for each in known if each["batch"] != case["batch"]] + [case]
    arguments.out.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, indent=2) + "\n")


if __name__ == "__main__":
    main()
