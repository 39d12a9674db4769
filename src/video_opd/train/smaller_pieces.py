"""A step that runs out of memory is done again in smaller pieces. The gradient is the same for every split.

When one prompt by itself does not fit, its example is set aside. Nothing of a step that failed is kept: the gradient is
dropped, and the gate is as it was before the step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from video_opd.errors import is_out_of_memory
from video_opd.files.run_records import MemoryNote
from video_opd.runs.directory import RunDirectory
from video_opd.train.memory_shortage import (
    Shortage,
    StepTooLarge,
    add_to_note,
    apply_note,
    describe_note,
    plan_again,
    read_note,
    refuse_to_go_on,
)
from video_opd.train.run_parts import RunParts
from video_opd.train.trained_batch import StepOutcome
from video_opd.types import Prompt

_log = logging.getLogger(__name__)


class SmallerPieces:
    """Takes the steps of a run.

    Args:
        parts: of the run. Its learner makes smaller pieces, and its source sets examples aside.
        run: the folder in which the size of the pieces is noted, for the rest of the run.
        take_step: takes a step of a batch.
    """

    def __init__(self, parts: RunParts, run: RunDirectory, take_step: Callable[..., StepOutcome]) -> None:
        self.parts, self.note, self.take_step = parts, run.memory, take_step
        note, learner = read_note(self.note), parts.learner
        parts.data.source.set_aside.update(
            {id: _explain(reason) for id, reason in note.too_large.items() if id not in parts.data.source.set_aside}
        )
        smaller = apply_note(note, learner.settings)
        if smaller != learner.settings:
            _log.warning("this run ran out of memory before, so it %s (%s)", describe_note(note), self.note)
        learner.settings = smaller

    def __call__(self, prompts: Sequence[Prompt], *, step: int, seed: int) -> StepOutcome:
        """Take a step, in pieces that fit. An example that does not fit by itself is set aside.

        Args:
            prompts: the whole batch.
            step: steps taken before.
            seed: of every draw in this step.

        Raises:
            EngineError: the step cannot be done again, too many examples do not fit, or the loss is not finite.
        """
        parts, gate = self.parts, self.parts.gate
        parts.learner.step = step
        for num_retries in range(1_000_000):
            before = gate.coupling.copy() if gate else None
            outcome, shortages = self._try(prompts, step=step, seed=seed)
            if outcome is not None:
                return replace(outcome, num_retries=num_retries)
            # The exception is gone by now, and the graph with it.
            parts.learner.give_up()
            if gate and before:
                gate.coupling = before
            for shortage in shortages:
                if shortage.is_final or not shortage.ids:
                    refuse_to_go_on(shortage, parts.learner.settings, self.note, step=step + 1)
            prompts = self._prepare(plan_again(shortages, parts.learner.settings), prompts, step=step)
        raise AssertionError("a step cannot fail so often: every time its pieces or its batch are smaller")

    def _try(
        self, prompts: Sequence[Prompt], *, step: int, seed: int
    ) -> tuple[StepOutcome | None, tuple[Shortage, ...]]:
        learner = self.parts.learner
        try:
            return self.take_step(learner, prompts, self.parts.method, step=step, seed=seed), ()
        except StepTooLarge as error:
            return None, error.shortages
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None, (learner.describe_shortage(error),)

    def _prepare(self, note: MemoryNote, prompts: Sequence[Prompt], *, step: int) -> Sequence[Prompt]:
        """Make the pieces smaller, or set examples aside; returns what is left of the batch."""
        learner = self.parts.learner
        add_to_note(self.note, note)
        if note.too_large:
            for id, reason in note.too_large.items():
                _log.warning("step %d ran out of memory on %s alone, so this example is set aside", step + 1, id)
                self.parts.data.source.leave_out(id, _explain(reason))
            return [prompt for prompt in prompts if prompt.id not in note.too_large]
        before = learner.settings
        learner.settings = apply_note(note, before)
        key = next(iter(note.model_fields_set))
        _log.warning(
            "step %d ran out of memory with training.%s = %d; it is done again with %d, and so is the rest of the run. "
            "Set training.%s = %d in the recipe of the next run",
            step + 1, key, getattr(before, key), getattr(learner.settings, key), key, getattr(learner.settings, key),
        )  # fmt: skip
        return prompts


def _explain(reason: str) -> str:
    return f"it does not fit the memory by itself: {reason}"
