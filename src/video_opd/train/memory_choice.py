"""Does a recipe fit the memory of its device: what `auto` chooses, and what is refused before weights are loaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from video_opd.config import Recipe
from video_opd.config.model_settings import is_base
from video_opd.errors import ConfigurationError, DataError
from video_opd.files.toml_text import load_toml
from video_opd.policy.device import find_capability, find_device, find_device_here
from video_opd.ranks import current_job
from video_opd.system_memory import read_memory_limit, read_memory_table
from video_opd.train.largest_micro_batch import choose_load
from video_opd.train.measured_models import list_frozen, measure_student
from video_opd.train.memory_estimate import GIB, MemoryEstimate, StepMemory
from video_opd.train.run_inputs import Inputs

_log = logging.getLogger(__name__)

MARGIN = 1.15
"""The estimate times this fits with a margin: its error, and what an allocator holds and cannot give out."""

NOT_KNOWN = 2**62
"""Room of a device on a system that does not tell."""


def estimate_step(recipe: Recipe, inputs: Inputs | None = None, *, num_processes: int = 1) -> MemoryEstimate:
    """Estimate the peak memory of a recipe's step on one device, by the configurations of its models.

    Args:
        recipe: with `gradient_checkpointing = "auto"` the estimate is without.
        inputs: keeps what was read of the recipe's files.
        num_processes: of the job.

    Raises:
        ConfigurationError: a model that cannot be described.
    """
    is_on_gpu = find_device(recipe.compute.device).startswith("cuda")
    return describe_step(recipe, inputs, num_processes=num_processes, is_on_gpu=is_on_gpu).estimate()


def describe_step(
    recipe: Recipe,
    inputs: Inputs | None = None,
    *,
    num_processes: int = 1,
    is_on_gpu: bool = True,
    capability: float | None = None,
) -> StepMemory:
    """Gather what the memory of a recipe's step depends on.

    Args:
        recipe: with `gradient_checkpointing = "auto"` the step is without.
        inputs: keeps what was read of the recipe's files.
        num_processes: of the job.
        is_on_gpu: whether the step runs on a GPU.
        capability: compute capability of the GPU; by default that of this machine's.

    Raises:
        ConfigurationError: a model that cannot be described.
    """
    student = measure_student(recipe)
    longest_s = max(list_durations(recipe, inputs or Inputs()), default=None)
    capability = find_capability() if capability is None else capability
    return StepMemory(
        recipe=recipe,
        student=student,
        frozen=tuple(list_frozen(recipe, student, capability, longest_s)),
        load=choose_load(recipe, student, num_processes=num_processes, longest_s=longest_s),
        num_processes=num_processes,
        is_on_gpu=is_on_gpu,
        is_checkpointed=recipe.training.gradient_checkpointing is True,
    )


def settle_memory(
    recipe: Recipe, inputs: Inputs, *, num_processes: int = 1, run: Path | None = None, refuses: bool = True
) -> Recipe:
    """Choose what the recipe leaves to `auto`, once for the whole run, and refuse a recipe that cannot fit.

    Args:
        recipe: that `refuse_early` accepted.
        inputs: what was read then.
        num_processes: of the job. Its smallest device decides.
        run: folder of a run. If the run has begun, its recipe has the choice already.
        refuses: whether a recipe that cannot fit is refused.

    Returns:
        the recipe without `auto`.

    Raises:
        ConfigurationError: weights, gradient, optimiser and frozen models alone are more than the device has.
    """
    asked = recipe.training.gradient_checkpointing
    known = None if run is None else _read_choice(run)
    estimate = estimate_step(recipe, inputs, num_processes=num_processes)
    total, free = find_smallest(recipe)
    if refuses and estimate.least > total:
        raise _cannot_fit(recipe, estimate, total, num_processes)
    if asked == "auto":
        is_on = known if known is not None else estimate.peak * MARGIN > free
        if is_on:
            recipe = _set_checkpointing(recipe, is_on=True)
            estimate = estimate_step(recipe, inputs, num_processes=num_processes)
        recipe = _set_checkpointing(recipe, is_on=is_on)
    if refuses and estimate.peak > total:
        _log.warning("%s", explain_tightness(recipe, estimate, total, num_processes))
    return recipe


def explain_tightness(recipe: Recipe, estimate: MemoryEstimate, room: int, num_processes: int) -> str:
    """Say that a step may not fit, and what to do, in the order of what it costs.

    Args:
        recipe: whose keys may change.
        estimate: of its step.
        room: bytes of the device.
        num_processes: of the job.
    """
    remedies = "; ".join(list_remedies(recipe, num_processes))
    return (
        f"a step with the longest prompts needs about {estimate.peak / GIB:.1f} GiB ({estimate.describe()}), and the "
        f"device has {room / GIB:.1f} GiB: {remedies}"
    )


def list_remedies(recipe: Recipe, num_processes: int, *, for_prompts: bool = True) -> Iterator[str]:
    """What makes a step smaller, first what costs least.

    Args:
        recipe: whose keys may change.
        num_processes: of the job.
        for_prompts: name also what makes the activations smaller, and not only the weights and what belongs to them.
    """
    training, student = recipe.training, recipe.student
    if for_prompts:
        if training.gradient_checkpointing is not True:
            yield "set training.gradient_checkpointing = true"
        if training.most_together:
            yield "lower training.answer_together"
        if training.micro_batch_tokens is not None:
            yield "lower training.micro_batch_tokens"
        elif training.micro_batch_size > 1:
            yield "lower training.micro_batch_size"
        yield "lower video.max_tokens"
    teachers = recipe.name_teachers().values()
    if num_processes == 1 and any(not (each.has_place or is_base(each, recipe.student)) for each in teachers):
        yield "set teacher.offload = true"
    if recipe.compute.precision == "float32":
        yield 'set compute.precision = "bfloat16"'
    if not (student.lora or student.freeze_vision):
        yield "set student.freeze_vision = true"
    if student.lora is None:
        yield "train an adapter with a table [student.lora]"
    if num_processes > 1 and recipe.compute.shards not in (None, num_processes):
        yield "leave out compute.shards"
    yield "start more processes with torchrun" if num_processes > 1 else "start several processes with torchrun"


def find_room(device: str) -> tuple[int, int]:
    """Bytes of memory of a device, in all and free; of a CPU this process's share of the machine's."""
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(torch.device(device))
        return total, free + torch.cuda.memory_reserved(device)  # what an earlier run of this process had is used again
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    table = read_memory_table()
    total = table.get("MemTotal", 0)
    if not total:  # a system that does not tell
        return NOT_KNOWN, NOT_KNOWN
    limit = min(total, read_memory_limit() or total)
    free = min(table.get("MemAvailable", total), limit)
    return (limit + table.get("SwapTotal", 0)) // processes, free // processes


def find_room_here(_: dict[str, Any], device: str) -> tuple[int, int]:
    """The same on a process of a job."""
    return find_room(find_device_here(device))


def find_smallest(recipe: Recipe) -> tuple[int, int]:
    """Bytes of memory of the smallest device of a job, in all and free; of the device where there is no job."""
    ranks = current_job()
    if ranks is None:
        return find_room(find_device(recipe.compute.device))
    rooms = ranks.call_all(find_room_here, recipe.compute.device)
    return min(total for total, _ in rooms), min(free for _, free in rooms)


def _cannot_fit(recipe: Recipe, estimate: MemoryEstimate, room: int, num_processes: int) -> ConfigurationError:
    parts = ", ".join(f"{part} {size / GIB:.1f}" for part, size in estimate.certain.items())
    return ConfigurationError(
        f"recipe {recipe.name!r} needs at least {estimate.least / GIB:.1f} GiB on a device, which has "
        f"{room / GIB:.1f} GiB",
        reason=f"so much is there at every step, whatever the prompts are (GiB: {parts})",
        remedy="; or ".join(list_remedies(recipe, num_processes, for_prompts=False)),
    )


def _set_checkpointing(recipe: Recipe, *, is_on: bool) -> Recipe:
    training = recipe.training.model_copy(update={"gradient_checkpointing": is_on})
    return recipe.model_copy(update={"training": training})


def _read_choice(run: Path) -> bool | None:
    """What an earlier start of a run has chosen; None where there is none."""
    try:
        tables = load_toml((run / "recipe.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no run yet, or one that is refused elsewhere
        return None
    if "training" not in tables:
        return None
    found = tables["training"].get("gradient_checkpointing", False)
    return found if isinstance(found, bool) else None


def list_durations(recipe: Recipe, inputs: Inputs) -> list[float]:
    """List the durations of the clips of the training manifest; none where it is not there yet, or lacks one.

    Args:
        recipe: names the manifest.
        inputs: keeps what was read of it.
    """
    try:
        examples = inputs.read_manifest(recipe, recipe.data.train)
    except DataError:  # the tiny world, before it is rendered
        return []
    durations = [example.duration for example in examples if example.duration is not None]
    return durations if len(durations) == len(examples) else []
