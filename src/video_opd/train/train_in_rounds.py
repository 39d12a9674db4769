"""A run, round by round: the curriculum says what is trained on, the loop trains."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from video_opd.config import Recipe
from video_opd.data.batches import Batches, ScheduledBatches
from video_opd.files.durable import write_durably
from video_opd.runs.directory import RunDirectory
from video_opd.train.lessons import Lesson
from video_opd.train.loop import evaluation_file, train
from video_opd.train.run_parts import RunParts
from video_opd.train.training_state import TrainingState


def train_in_rounds(parts: RunParts, state: TrainingState, run: RunDirectory, warn: Callable[[str], None]) -> None:
    """Train from `state` to the recipe's last step.

    Killed in any phase, the same call goes on: scores row by row, a selection that was made is kept, and training from
    its newest checkpoint, of which there is one at every round's end.

    Args:
        parts: of the run.
        state: how far the run got; it is kept up to date.
        run: the folder of the run, whose journals have no row of a later step.
        warn: is given each warning of the curriculum, one sentence.

    Raises:
        Interrupted: a signal asked for a stop; the state is saved.
        UserError: nothing fits what the curriculum asks for.
    """
    recipe, plan = parts.recipe, parts.curriculum.plan
    with closing(parts.data.source), closing(parts.data.validation_source):
        # From the round of the last step: it may have been interrupted between its last checkpoint and its evaluation.
        for round in range(plan.round_at(max(state.step - 1, 0)), plan.num_rounds + 1):
            lesson = parts.curriculum.make_lesson(round, run)
            for warning in lesson.warnings:
                warn(f"round {round}: {warning}")
            if parts.gate is not None:
                parts.gate.begin(lesson.kinds, state.coupling)
            batches = _choose_batches(lesson, recipe, first_step=plan.first_step(round))
            train(parts, state, run, batches=batches, until=plan.end(round))
            if (folder := run.rounds / str(round)).is_dir():
                write_durably(folder / "evaluation.json", evaluation_file(run, plan.end(round)).read_bytes())


def _choose_batches(lesson: Lesson, recipe: Recipe, *, first_step: int) -> Batches | ScheduledBatches:
    """The batches of a round that begins after `first_step` steps."""
    if lesson.steps is not None:
        return ScheduledBatches(steps=lesson.steps, first_step=first_step)
    return Batches(
        examples=lesson.examples,
        batch_size=recipe.training.batch_size,
        seed=recipe.seed,
        first_step=first_step,
        in_order=lesson.in_order,
    )
