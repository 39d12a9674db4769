"""How far `video-opd plan` is from what was measured: memory on the CPU and on GPUs, seconds on GPUs.

    python benchmarks/plan_accuracy.py [--show]

Reads benchmarks/results/memory_estimate.json and benchmarks/gpu/results/*.json, and writes the errors to
src/video_opd/plan/plan_accuracy.json, which `plan` prints beside its figures. Nothing is measured here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import shipped_recipes
from video_opd.plan.asking_memory import AskingMemory
from video_opd.plan.cards import KNOWN_CARDS
from video_opd.plan.step_flops import Judge, StepWork
from video_opd.plan.step_time import StepTime
from video_opd.train.largest_micro_batch import Load
from video_opd.train.measured_models import measure_model
from video_opd.train.memory_estimate import GIB, FrozenModel, StepMemory

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "src" / "video_opd" / "plan" / "plan_accuracy.json"
ANSWER_TOKENS, GRPO_ANSWERS, GROUP_TOKENS = 20, 8, 32
CARD_OF = {"h100": "H100-80GB", "h200": "H200-141GB"}
STUDENT, TEACHER = "Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen3-VL-8B-Instruct"


def list_gpu_cases() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Card, name, measured case and prompt of every step of the package's own learner that was measured."""
    for path in sorted((ROOT / "benchmarks" / "gpu" / "results").glob("*.json")):
        results = json.loads(path.read_text(encoding="utf-8"))["real-size"]
        for name, case in results.items():
            if ", shared, " in name and isinstance(case, dict) and "peak_gib" in case:
                yield path.stem.split("-")[0], name, case, results[f"prompt of {name.split(', ')[2].split()[0]}"]


def plan_case(card: str, name: str, prompt: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """Peak in GiB and seconds by phase of a measured case, by the code of `plan`."""
    method, _, _, together = name.split(", ")
    count = int(together.split()[0])
    keys = {"method.name": "grpo" if method == "grpo" else "opd"}
    keys |= {"method.estimator": "exact"} if method == "opd-exact" else {}
    recipe = load_recipe(shipped_recipes()["qwen3-vl-2b-from-8b"], keys)
    student, teacher = measure_model(STUDENT), measure_model(TEACHER)
    answers = GRPO_ANSWERS if method == "grpo" else 1
    load = Load(
        prompts=count, tokens=prompt["tokens"] * count, patches=4 * prompt["video_tokens"] * count,
        answers=answers * count, answer_tokens=ANSWER_TOKENS, num_pieces=1,
    )  # fmt: skip
    size = 2 * teacher.num_all
    memory = StepMemory(
        recipe=recipe, student=student, frozen=[FrozenModel(part="teacher", shape=teacher, num_bytes=size)], load=load,
        is_on_gpu=True, is_fused=False, adds_rows=False,
    )  # fmt: skip
    work = StepWork(
        prompts=count, num_pieces=1, tokens=prompt["tokens"], patches=4 * prompt["video_tokens"],
        groups=prompt["video_tokens"] / GROUP_TOKENS, answers=answers, answer_tokens=ANSWER_TOKENS,
    )  # fmt: skip
    judges = [] if method == "grpo" else [Judge(shape=teacher, num_bytes=size)]
    time = StepTime(recipe=recipe, student=student, judges=judges, work=work, card=KNOWN_CARDS[CARD_OF[card]])
    return memory.estimate().peak / GIB, dict(time.estimate())


def list_answering_ratios() -> Iterator[float]:
    """Estimate over measurement of every token loop behind a prefill without gradient, as evaluations have it."""
    shape = measure_model(STUDENT)
    for path in sorted((ROOT / "benchmarks" / "gpu" / "results").glob("*.json")):
        results = json.loads(path.read_text(encoding="utf-8")).get("token-loop", {})
        for name, case in results.items():
            if not name.startswith("bfloat16 weights: ") or "peak_gib" not in case:
                continue
            prompts, answers = (int(word) for word in name.split() if word.isdigit())
            recipe = load_recipe(
                shipped_recipes()["one-gpu-lora-80gb"],
                {"student.model": STUDENT, "compute.evaluation_batch_size": str(prompts)},
            )
            load = Load(
                prompts=1, tokens=results["prompt"]["tokens"], patches=4 * results["prompt"]["video_tokens"],
                answers=1, answer_tokens=32, num_pieces=1,
            )  # fmt: skip
            step = StepMemory(recipe=recipe, student=shape, frozen=[], load=load, is_on_gpu=True)
            yield sum(AskingMemory(step=step).ask_student(answers).values()) / GIB / case["peak_gib"]


def compare_all(*, show: bool = False) -> dict[str, Any]:
    """The errors of every estimate for which there is a measurement.

    Args:
        show: print every case.
    """
    peaks, steps, phases = [], [], []
    for card, name, case, prompt in list_gpu_cases():
        peak, seconds = plan_case(card, name, prompt)
        measured = {
            phase: case["phases"][phase] for phase in ("read", "answer", "teacher", "score", "backward", "step")
        }
        if name.startswith("grpo"):  # its teacher had nothing to do, and kept its memory
            del measured["teacher"]
        peaks.append(peak / max(case["peak_gib"].values()))
        steps.append(sum(seconds.values()) / sum(measured.values()))
        ratios = {phase: seconds[phase] / found for phase, found in measured.items()}
        phases += ratios.values()
        if show:
            print(f"{card} {name:<46} peak {peaks[-1]:.3f} step {steps[-1]:.2f} "
                  + " ".join(f"{phase} {ratio:.2f}" for phase, ratio in ratios.items()))  # fmt: skip
    rows = json.loads((ROOT / "benchmarks" / "results" / "memory_estimate.json").read_text(encoding="utf-8"))["rows"]
    on_cpu = [1 + row["error"] for row in rows]
    return {
        "memory_on_gpu": _describe(peaks),
        "memory_on_cpu": _describe(on_cpu),
        "memory_of_answering": _describe(list(list_answering_ratios())),
        "seconds_of_a_step": _describe(steps),
        "seconds_of_a_phase": _describe(phases),
    }


def _describe(ratios: list[float]) -> dict[str, float]:
    """Estimated over measured."""
    return {"count": len(ratios), "smallest": round(min(ratios), 3), "largest": round(max(ratios), 3)}


def main() -> None:
    """Compare, and write the errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", action="store_true", help="print every case, write nothing")
    show = parser.parse_args().show
    found = compare_all(show=show)
    print(json.dumps(found, indent=2))
    if not show:
        OUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
