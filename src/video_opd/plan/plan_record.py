"""The plan of a run: what it needs on the cards that it is to have, and whether that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from video_opd.config import Recipe
from video_opd.errors import ConfigurationError
from video_opd.plan.asking_memory import EVALUATION, SCORING
from video_opd.plan.cards import Gpus
from video_opd.plan.measured_errors import read_accuracy
from video_opd.plan.model_flops import Flops
from video_opd.plan.remedies import Remedies
from video_opd.plan.step_flops import StepWork
from video_opd.policy.model_shape import ModelShape
from video_opd.train.memory_choice import MARGIN
from video_opd.train.memory_estimate import GIB, MemoryEstimate
from video_opd.train.trained_parts import count_trained

MOST_TOKENS, MOST_ANSWERS = 131_072, 1024
"""Larger numbers are not looked for."""

Fit = Literal["fits", "tight", "does not fit"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run needs."""

    recipe: Recipe
    gpus: Gpus
    num_processes: int
    student: ModelShape
    teachers: Mapping[str, ModelShape]
    memory: MemoryEstimate
    """Of the process that needs most, with the longest prompts."""
    work: StepWork
    """Of one process and step, with prompts of the mean length."""
    flops: Mapping[str, Flops]
    """By phase, of one process and step."""
    seconds: Mapping[str, float]
    """By phase, of one step with a full batch."""
    num_steps: int | None
    """None: the training manifest is not there, so their number is not known."""
    step_sizes: Sequence[int] | None
    """Examples of every step; None: their number is not known."""
    selection_s: float | None
    """Seconds of scoring the pool, for curricula that do it; None: its size is not known."""
    evaluation_s: float
    """Seconds of the evaluations on the manifests that are there."""
    largest_max_tokens: int | None
    """The largest `video.max_tokens` that fits, at most `MOST_TOKENS`; None: none does."""
    largest_num_answers: int | None
    """The largest number of answers to a prompt that fits, at most `MOST_ANSWERS`; None: none does."""
    remedies: Remedies | None = None
    """What makes the run fit; None: it fits."""

    @property
    def num_trained(self) -> int:
        """Number of trained weights, with those of an adapter."""
        return sum(count_trained(self.recipe, self.student).values()) + self.student.num_adapter_weights

    def name_models(self) -> dict[str, ModelShape]:
        """Student and teachers."""
        return {"student": self.student, **self.teachers}

    @property
    def step_s(self) -> float:
        """Seconds of a step with a full batch."""
        return sum(self.seconds.values())

    @property
    def training_s(self) -> float | None:
        """Seconds of all steps; None: their number is not known."""
        if self.step_sizes is None:
            return None
        # A step takes as long as the process with most of its examples.
        most = sum(ceil(size / self.num_processes) for size in self.step_sizes)
        return most / ceil(self.recipe.training.batch_size / self.num_processes) * self.step_s

    @property
    def hours(self) -> float | None:
        """Hours in all, without decoding videos; None: the number of steps is not known."""
        if self.training_s is None:
            return None
        return (self.training_s + (self.selection_s or 0.0) + self.evaluation_s) / 3600

    @property
    def room(self) -> int:
        """Bytes of a card."""
        return self.gpus.card.room

    @property
    def fit(self) -> Fit:
        """`tight`: with less than the margin that the error of the estimate and an allocator need."""
        if self.memory.peak > self.room:
            return "does not fit"
        return "fits" if self.memory.peak * MARGIN <= self.room else "tight"

    def refuse_unfit(self) -> None:
        """Refuse a plan that does not fit.

        Raises:
            ConfigurationError: with what makes it fit, first what costs least.
        """
        if self.fit != "does not fit":
            return
        assert self.remedies is not None
        needs_less = self.memory.least > self.room
        what = {EVALUATION: "an evaluation", SCORING: SCORING}.get(self.memory.phase, "a step")
        raise ConfigurationError(
            f"recipe {self.recipe.name!r} does not fit {self.gpus}",
            reason=f"{what} needs {self.memory.peak / GIB:.1f} GiB on a card, which has {self.room / GIB:.1f} GiB"
            + (f"; {self.memory.least / GIB:.1f} GiB of it whatever the prompts are" if needs_less else ""),
            remedy=self.remedies.describe(),
        )


def describe_plan(plan: Plan) -> dict[str, object]:
    """Describe a plan in plain numbers, for --json.

    Args:
        plan: what is described.
    """
    work, memory = plan.work, plan.memory
    return {
        "recipe": plan.recipe.name,
        "gpus": str(plan.gpus),
        "assumed": list(plan.gpus.card.assumed),
        "num_processes": plan.num_processes,
        "parameters": {
            name: {"all": shape.num_all, "active": shape.num_active} for name, shape in plan.name_models().items()
        },
        "num_trained": plan.num_trained,
        "memory": {
            "fit": plan.fit,
            "room_bytes": plan.room,
            "peak_bytes": memory.peak,
            "least_bytes": memory.least,
            "phase": memory.phase,
            "is_checkpointed": memory.is_checkpointed,
            "prompt_tokens": memory.load.tokens,
            "bytes_by_part": memory.parts,
            "bytes_by_phase": {phase: sum(parts.values()) for phase, parts in memory.phases.items()},
        },
        "step": {
            "prompts_of_a_process": work.prompts,
            "micro_batches": work.num_pieces,
            "prompt_tokens": work.tokens,
            "answers": work.answers,
            "answer_tokens": work.answer_tokens,
            "flops_by_phase": {phase: count.total for phase, count in plan.flops.items()},
            "seconds_by_phase": dict(plan.seconds),
            "seconds": plan.step_s,
        },
        "num_steps": plan.num_steps,
        "num_presentations": None if plan.step_sizes is None else sum(plan.step_sizes),
        "selection_seconds": plan.selection_s,
        "evaluation_seconds": plan.evaluation_s,
        "hours": plan.hours,
        "largest_max_tokens": plan.largest_max_tokens,
        "largest_num_answers": plan.largest_num_answers,
        "remedies": None if plan.remedies is None else vars(plan.remedies),
        "accuracy": read_accuracy(),
    }
