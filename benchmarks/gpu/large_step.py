"""A step at the size that people train: an 8B with LoRA and a whole 4B, each taught by an 8B, at 8,192 video tokens.

Measured are the seconds of every phase, the share of what the card can do at most, and the peak of memory beside its
estimate, by the package's learner and by the plain path. What the estimate says does not fit the card is left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import real_size
import torch
from environment import measure_matrix_rate
from models import build_policy, build_prompt, config_of, copies, processor_of, train_language_model_only
from real_size import Bench, WatchingMemory, measured
from record import Record, gib, release_memory, timed

from video_opd.config import Recipe
from video_opd.config.recipe_file import parse_recipe
from video_opd.plan.step_flops import Judge, StepFlops, StepWork
from video_opd.policy.adapters import attach_adapter
from video_opd.policy.checkpointing import checkpoint_layers
from video_opd.policy.families import find_family
from video_opd.policy.load import Policy, keep_on_cpu
from video_opd.policy.lora_settings import LoraSettings
from video_opd.policy.model_shape import ModelShape, measure_shape
from video_opd.policy.placement import Placement
from video_opd.policy.shared_vision import share_vision
from video_opd.train import learner as learner_module
from video_opd.train.largest_micro_batch import choose_load
from video_opd.train.learner import Learner
from video_opd.train.memory_estimate import FrozenModel, MemoryEstimate, StepMemory
from video_opd.types import Prompt

PROMPTS = 4
"""Of a step. A micro-batch is one; all are answered in one token loop, as `auto` chooses on a GPU."""
LEAST_SHARE, LARGEST_ERROR = 0.4, 0.1
"""The goals: share of the card's ceiling over a whole step, and error of the estimate of memory."""
ALLOCATOR = 1.05
REHEARSED_TFLOPS = 1.0
"""The ceiling in a rehearsal, where none is measured."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Who learns from whom, and how."""

    student: str
    teacher: str = "8B"
    lora: LoraSettings | None = None
    is_checkpointed: bool = True
    offloads: bool = False
    """Whether the teacher waits on the CPU between its turns."""

    @property
    def recipe(self) -> Recipe:
        """As a user would write it."""
        student: dict[str, Any] = {"model": "tiny-student"}
        student |= {"lora": self.lora.model_dump()} if self.lora else {"freeze_vision": True, "freeze_merger": True}
        return parse_recipe({
            "name": "bench", "data": dict.fromkeys(("videos", "train", "validation"), "x"), "student": student,
            "teacher": {"model": "tiny-teacher", "offload": self.offloads}, "compute": {"precision": "bfloat16"},
            "training": {"batch_size": PROMPTS, "gradient_checkpointing": self.is_checkpointed,
                         "answer_together": PROMPTS},
            "answers": {"max_new_tokens": real_size.ANSWER_TOKENS},
        })  # fmt: skip


LORA = LoraSettings(rank=16)
LARGER, SMALLER = "4B, language model", "2B, language model"
CASES = {
    "8B, LoRA": Case(student="8B", lora=LORA),
    LARGER: Case(student="4B"),
    SMALLER: Case(student="2B"),
    "8B, LoRA, not checkpointed": Case(student="8B", lora=LORA, is_checkpointed=False),
}
"""By name; what matters most comes first. Trained is an adapter, or all weights of the language model."""
REHEARSED = {
    "small, LoRA": Case(student="small", teacher="small", lora=LoraSettings(rank=4)),
    "small, language model": Case(student="small", teacher="small", is_checkpointed=False, offloads=True),
}
REHEARSED_ROOM = 2**34


def shape_of(size: str, processor: Any, lora: LoraSettings | None = None) -> ModelShape:
    """The sizes of one of `SIZES`."""
    config = config_of(size, processor)
    return measure_shape(size, config, find_family(config), lora)


def estimate(case: Case, processor: Any, prompt: Prompt) -> MemoryEstimate:
    """What a step of a case needs on a GPU, by the package's own estimate."""
    student, teacher = shape_of(case.student, processor, case.lora), shape_of(case.teacher, processor)
    load = choose_load(case.recipe, student, num_processes=1)
    load = replace(load, tokens=len(prompt), patches=len(prompt.pixel_values))
    return StepMemory(
        recipe=case.recipe, student=student, load=load, is_on_gpu=True,
        frozen=[FrozenModel(part="teacher", shape=teacher, num_bytes=2 * teacher.num_all, waits_on_cpu=case.offloads)],
        is_checkpointed=case.is_checkpointed,
    ).estimate()  # fmt: skip


def count_flops(case: Case, processor: Any, prompt: Prompt) -> dict[str, float]:
    """What a step of one prompt executes, by phase, as `video-opd plan` counts it."""
    student, teacher = shape_of(case.student, processor, case.lora), shape_of(case.teacher, processor)
    work = StepWork(
        prompts=1, num_pieces=1, tokens=len(prompt), patches=len(prompt.pixel_values), groups=prompt.grid_thw[0],
        answers=1, answer_tokens=real_size.ANSWER_TOKENS,
    )  # fmt: skip
    judges = [Judge(shape=teacher, num_bytes=2 * teacher.num_all)]
    step = StepFlops(
        recipe=case.recipe, student=student, judges=judges, work=work, is_checkpointed=case.is_checkpointed
    )
    return {phase: flops.total for phase, flops in step.count().items()}


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """How a case is run, and what it needs."""

    case: Case
    plan: MemoryEstimate
    room: int
    """Bytes of the card."""

    @property
    def fits(self) -> bool:
        """Whether the card has that much, and what an allocator cannot give out."""
        return self.plan.peak * ALLOCATOR <= self.room

    def describe(self) -> dict[str, Any]:
        """For the record."""
        return {
            "fits": self.fits, "planned_gib": gib(self.plan.peak), "room_gib": gib(self.room),
            "checkpointed": self.case.is_checkpointed, "teacher_waits_on_cpu": self.case.offloads,
            "phase": self.plan.phase, "parts": self.plan.describe(),
        }  # fmt: skip


def arrange(case: Case, processor: Any, prompt: Prompt, room: int) -> Arrangement:
    """Choose whether the teacher waits on the CPU between its turns, which takes time.

    Where nothing fits `room` bytes, the smallest arrangement is given.
    """
    for offloads in dict.fromkeys((case.offloads, True)):
        case = replace(case, offloads=offloads)
        found = Arrangement(case=case, plan=estimate(case, processor, prompt), room=room)
        if found.fits:
            break
    return found


@dataclass(frozen=True, kw_only=True)
class Place:
    """What all cases are run with."""

    processor: Any
    device: str
    ceiling: float
    """TFLOP/s that the card can do at most."""


def build(case: Case, processor: Any, device: str) -> Bench:
    """The models of a case with random weights, and their learner."""
    weights = torch.bfloat16 if case.lora else torch.float32
    student = build_policy(case.student, processor, device=device, weights=weights, autocast=torch.bfloat16)
    if case.lora:
        attach_adapter(case.student, student.model, case.lora, seed=0)
    else:
        train_language_model_only(student)
    if case.is_checkpointed:
        checkpoint_layers(student.model)
    # The teacher counts as one with another tower, although random weights of one seed are equal.
    share_vision(student, [], num_clips=PROMPTS)
    teacher = build_policy(case.teacher, processor, device=device, weights=torch.bfloat16, autocast=None).freeze()
    return Bench(student, let_wait(teacher, device) if case.offloads else teacher,
                 Learner(student, case.recipe.training, total_steps=1))  # fmt: skip


def let_wait(teacher: Policy, device: str) -> Policy:
    """A teacher that is on the CPU between its turns."""
    teacher.placement = Placement(devices=(device,), scores_on=device, offload=True)
    teacher.model.to("cpu")
    teacher.resting = keep_on_cpu(teacher.model, torch.device(device))
    return teacher


@dataclass(frozen=True, kw_only=True)
class Ruler:
    """Knows what a step of a case executes and needs, and so what its seconds and its peak of memory mean."""

    prompt: Prompt
    flops: Mapping[str, float]
    """Of one prompt, by phase."""
    plan: MemoryEstimate
    ceiling: float
    """TFLOP/s."""

    def judge(self, found: dict[str, Any], count: int) -> dict[str, Any]:
        """What `measured` found of a step of `count` prompts, with tokens a second and shares of the ceiling."""
        tflop = {phase: count * number / 1e12 for phase, number in self.flops.items()}
        shares = {phase: number / found["phases"][phase] / self.ceiling for phase, number in tflop.items()}
        shares["step"] = sum(tflop.values()) / found["seconds"] / self.ceiling
        found |= {
            "prompt_tokens_per_second": count * len(self.prompt) / found["seconds"],
            "answer_tokens_per_second": count * real_size.ANSWER_TOKENS / found["phases"]["answer"],
            "tflop": sum(tflop.values()),
            "share_of_ceiling": shares,
        }
        if "peak_gib" in found and count == PROMPTS:  # the plan is that of such a step
            peak, plan = max(found["peak_gib"].values()), gib(self.plan.peak)
            found |= {"most_gib": peak, "planned_gib": plan, "error_of_plan": plan / peak - 1}
        return found


def judge_goals(found: dict[str, Any]) -> dict[str, Any]:
    """What was to be reached, and whether it was."""
    share, error = found["share_of_ceiling"]["step"], found.get("error_of_plan")
    goals = {"share_of_ceiling": share, "least_share": LEAST_SHARE, "is_fast_enough": share >= LEAST_SHARE}
    if error is not None:
        is_close = abs(error) <= LARGEST_ERROR
        goals |= {"error_of_plan": error, "largest_error": LARGEST_ERROR, "is_plan_close_enough": is_close}
    return goals


def measure_case(record: Record, name: str, bench: Bench, ruler: Ruler, short: Prompt) -> None:
    """Steps by both paths; the short prompt warms up."""

    def take(path: str, count: int) -> dict[str, Any]:
        step = bench.shared if path == "ours" else bench.plain
        repeats = 2 if count > 1 and path == "ours" else 1
        warm, batches = copies(short, 1), [copy_clips(ruler.prompt, count) for _ in range(repeats)]
        if path == "plain":
            bench.write_beforehand(batches[0])
            bench.write_beforehand(warm)
        return measured(bench, lambda: step("opd", batches.pop()), repeats, warm_up=lambda: step("opd", warm))

    ours = record.attempt(f"{name}, ours", lambda: ruler.judge(take("ours", PROMPTS), PROMPTS))
    if ours:
        record[f"{name}, goals"] = judge_goals(ours)
    plain = record.attempt(f"{name}, plain", lambda: take("plain", PROMPTS))
    if ours and plain:
        record[f"{name}, ours / plain"] = compare(ours, plain)
    record.attempt(f"{name}, ours, one prompt a step", lambda: ruler.judge(take("ours", 1), 1))


def copy_clips(prompt: Prompt, count: int) -> list[Prompt]:
    """Prompts with clips of their own: what a frozen tower gave for a clip it has seen is remembered."""
    return [replace(each, pixel_values=each.pixel_values.clone()) for each in copies(prompt, count)]


def compare(ours: dict[str, Any], plain: dict[str, Any]) -> dict[str, float]:
    """Seconds of a step, and the most memory, as ratios."""
    found = {"seconds": ours["seconds"] / plain["seconds"]}
    if "peak_gib" in ours:
        found["memory"] = max(ours["peak_gib"].values()) / max(plain["peak_gib"].values())
    return found


def run_case(
    record: Record, name: str, arrangement: Arrangement, prompts: tuple[Prompt, Prompt], at: Place
) -> dict[str, Any]:
    """Make the models, which it describes, and measure their steps; `prompts` are the short one and the long one."""
    case = arrangement.case
    seconds: dict[str, float] = {}
    with timed(seconds, "build"):
        bench = build(case, at.processor, at.device)
    trained = bench.learner.parameters.values()
    found = {
        "student_parameters": sum(p.numel() for p in bench.student.model.parameters()),
        "trained_parameters": sum(p.numel() for p in trained),
        "teacher_parameters": sum(p.numel() for p in bench.teacher.model.parameters()),
        "student_gib": gib(bench.student.num_bytes), "teacher_gib": gib(bench.teacher.num_bytes),
        "seconds_to_build": round(seconds["build"], 2),
    }  # fmt: skip
    ruler = Ruler(
        prompt=prompts[1], flops=count_flops(case, at.processor, prompts[1]), plan=arrangement.plan, ceiling=at.ceiling
    )
    measure_case(record, name, bench, ruler, prompts[0])
    return found


def measure(record: Record, device: str, *, rehearse: bool, tokenizer: Path | None) -> None:
    """Every case that fits the card. The 2B is for a card that the 4B does not fit."""
    learner_module.Stopwatch = WatchingMemory  # type: ignore[misc]
    if rehearse:
        real_size.ANSWER_TOKENS = real_size.REHEARSED_TOKENS
    processor, lengths = processor_of(tokenizer), (32, 32) if rehearse else (1024, 8192)
    template = "timelens" if tokenizer else "tiny"
    short, prompt = (build_prompt(processor, length, template=template) for length in lengths)
    record["prompt"] = {
        "tokens": len(prompt), "video_tokens": prompt.num_video_tokens, "prompts_a_step": PROMPTS,
        "answer_tokens": real_size.ANSWER_TOKENS,
    }  # fmt: skip
    on_cpu = device == "cpu"
    ceiling = REHEARSED_TFLOPS if on_cpu else record.attempt("bfloat16_tflops", measure_matrix_rate)
    release_memory()
    room = REHEARSED_ROOM if on_cpu else torch.cuda.mem_get_info()[0]
    at = Place(processor=processor, device=device, ceiling=ceiling)
    for name, case in (REHEARSED if rehearse else CASES).items():
        if name == SMALLER and record.found[f"{LARGER}, plan"]["fits"]:
            continue
        arrangement = arrange(case, processor, prompt, room)
        record[f"{name}, plan"] = arrangement.describe()
        if not arrangement.fits:
            continue
        record.attempt(f"{name}, models", lambda n=name, a=arrangement: run_case(record, n, a, (short, prompt), at))
        release_memory()
    if not on_cpu:  # the clock of a warm card may be lower
        record.attempt("bfloat16_tflops at the end", measure_matrix_rate)


def main() -> None:
    """Print what each case needs on cards of some sizes. No weights are made."""
    parser = argparse.ArgumentParser(description="the plan of every case, without a GPU")
    parser.add_argument("gib", type=float, nargs="*", default=[79.2, 139.8], help="memory of a card")
    processor = processor_of(None)
    prompt = build_prompt(processor, 8192, template="tiny")
    for size in parser.parse_args().gib:
        for name, case in CASES.items():
            found = arrange(case, processor, prompt, int(size * 2**30)).describe()
            print(f"{size:g} GiB, {name}: {json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
