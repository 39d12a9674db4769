"""How many prompts are answered in one token loop, where a recipe leaves it open: what `auto` chooses.

On a GPU the host decides how fast answers are written: on an H100 a token of one prompt and a token of 32 prompts take
the same time (benchmarks/gpu/results). On a CPU nothing is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path

from video_opd.config import Recipe
from video_opd.files.toml_text import load_toml
from video_opd.policy.device import find_device
from video_opd.policy.model_shape import ModelShape
from video_opd.train.largest_micro_batch import Load
from video_opd.train.measured_models import measure_student
from video_opd.train.memory_choice import MARGIN, estimate_step, find_smallest
from video_opd.train.memory_estimate import MemoryEstimate
from video_opd.train.run_inputs import Inputs

READS_TWICE_UP_TO = 100e12
"""Operations of a prefill that may be made once more for the sake of one token loop less. An H100 makes them in half a
second; its token loop for one prompt takes 0.9 s (benchmarks/gpu/results, the phases `read` and `answer`)."""


def is_answering_open(recipe: Recipe) -> bool:
    """Whether a run decides by itself how many prompts it answers together. Without sampled answers it is none."""
    return recipe.training.answer_together in (None, "auto") or recipe.method.writes_annotations


def settle_answering(recipe: Recipe, inputs: Inputs, *, num_processes: int = 1, run: Path | None = None) -> Recipe:
    """Choose how many prompts are answered together, once for the whole run, where the recipe leaves it open.

    Args:
        recipe: whose `gradient_checkpointing` is settled.
        inputs: what was read of the recipe's files.
        num_processes: of the job. Its smallest device decides.
        run: folder of a run. If the run has begun, its recipe has the choice already, on any device. A run of an
            earlier version answers one micro-batch after the other, as it began.

    Returns:
        the recipe without `auto`.
    """
    if not is_answering_open(recipe):
        return recipe
    is_known, choice = _read_answering_choice(run)
    if not is_known:
        choice = None if recipe.training.answer_together is None else 1
        if _is_on_gpu(recipe) and not recipe.method.writes_annotations:
            choice = _find_most(recipe, inputs, num_processes) or choice
    return set_together(recipe, choice)


def find_most_together(
    recipe: Recipe,
    shape: ModelShape,
    estimate: Callable[[Recipe], MemoryEstimate],
    *,
    num_processes: int,
    free: int,
) -> int | None:
    """Find the most prompts that fit together, in groups of like size; None where two micro-batches do not fit, or
    where reading them twice takes longer than writing their answers apart.

    Args:
        recipe: whose `gradient_checkpointing` is settled.
        shape: of its student.
        estimate: of the memory of a step with another recipe.
        num_processes: of the job.
        free: bytes of its smallest device.
    """
    share = ceil(recipe.training.batch_size / num_processes)
    for num_groups in range(1, share):
        found = estimate(set_together(recipe, ceil(share / num_groups)))
        if not found.load.together:
            return None
        if not found.is_checkpointed and _count_prefill(recipe, shape, found.load) > READS_TWICE_UP_TO:
            return None
        if found.peak * MARGIN <= free:
            return found.load.together
    return None


def _find_most(recipe: Recipe, inputs: Inputs, num_processes: int) -> int | None:
    return find_most_together(
        recipe,
        measure_student(recipe),
        lambda trial: estimate_step(trial, inputs, num_processes=num_processes),
        num_processes=num_processes,
        free=find_smallest(recipe)[1],
    )


def _count_prefill(recipe: Recipe, shape: ModelShape, load: Load) -> float:
    """Operations of reading a micro-batch of the longest prompts once more, for one token loop less; a frozen tower
    does not run again. Of a mixture of experts the chosen experts count."""
    text = shape.num_active - shape.head
    tower = 0 if recipe.student.freeze_vision or recipe.student.lora else shape.num_weights["tower"]
    return 2.0 * (text * load.tokens + tower * load.patches)


def _is_on_gpu(recipe: Recipe) -> bool:
    return find_device(recipe.compute.device).startswith("cuda")


def set_together(recipe: Recipe, choice: int | None) -> Recipe:
    """Set how many prompts a recipe answers together.

    Args:
        recipe: stays as it is.
        choice: None: it is left open.
    """
    training = recipe.training.model_copy(update={"answer_together": choice})
    return recipe.model_copy(update={"training": training})


def _read_answering_choice(run: Path | None) -> tuple[bool, int | None]:
    """Whether an earlier start of a run has chosen, and what."""
    try:
        tables = load_toml((run / "recipe.toml").read_text(encoding="utf-8")) if run else {}
    except (OSError, ValueError):  # no run yet, or one that is refused elsewhere
        return False, None
    found = tables.get("training", {}).get("answer_together")
    return "training" in tables, found if isinstance(found, int) else None
