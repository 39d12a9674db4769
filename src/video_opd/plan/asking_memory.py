"""The memory of evaluations and of scoring the pool: prompts are read without gradient and answered together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from video_opd.config import CouplingSettings, RoundsSettings
from video_opd.policy.model_shape import Arithmetic, ModelShape
from video_opd.train.memory_estimate import FrozenModel, MemoryEstimate, Parts, StepMemory

EVALUATION, SCORING = "evaluation", "scoring the pool"
"""Names of the phases."""


def estimate_run(memory: StepMemory) -> MemoryEstimate:
    """Estimate the memory of a run: of a step, of an evaluation, and of scoring the pool.

    Args:
        memory: of a step, with the longest prompts.
    """
    step, asking = memory.estimate(), AskingMemory(step=memory)
    phases = dict(step.phases)
    phases[EVALUATION] = asking.evaluate()
    if (scoring := asking.score_pool()) is not None:
        phases[SCORING] = scoring
    return replace(step, phases=phases)


@dataclass(frozen=True, kw_only=True)
class AskingMemory:
    """Counts what a model that answers needs beside the weights and the optimiser of a run."""

    step: StepMemory

    def evaluate(self) -> Parts:
        """The student answers during training; a teacher answers the test manifest before it."""
        found = [self.ask_student(1, has_optimiser=True)]
        if self.step.recipe.data.test is not None:
            found += self._ask_teachers(1)
        return max(found, key=_add_up)

    def score_pool(self) -> Parts | None:
        """The models whose answers a curriculum chooses by; None where it asks no model."""
        recipe = self.step.recipe
        curriculum, found = recipe.curriculum, list[Parts]()
        if not isinstance(curriculum, RoundsSettings | CouplingSettings):
            return None
        rows = curriculum.num_answers if curriculum.top_k == "sampled" else max(4, 2 * curriculum.num_answers)
        if isinstance(curriculum, CouplingSettings) or curriculum.is_student_asked:
            is_again = isinstance(curriculum, RoundsSettings) and curriculum.num_rounds > 1
            found.append(self.ask_student(rows, has_optimiser=is_again))
        if curriculum.needs_teacher and curriculum.teacher_scores is None:
            found += self._ask_teachers(rows)
        return max(found, key=_add_up, default=None)

    def ask_student(self, num_answers: int, *, has_optimiser: bool = False) -> Parts:
        """The student answers.

        Args:
            num_answers: to a prompt.
            has_optimiser: whether the optimiser has its state.
        """
        step = self.step
        parts = self._lie_idle(has_optimiser=has_optimiser) | {"bfloat16 copies": step.copies}
        return parts | self._answer(step.student, step.how, num_answers)

    def _ask_teachers(self, num_answers: int) -> Iterator[Parts]:
        """A teacher with its whole weights where they are not sharded; else two layers of it are gathered at once."""
        step, width = self.step, self.step.how.compute
        idle = self._lie_idle(has_optimiser=False)
        for model in step.frozen:
            if model.part != "teacher" or model.is_elsewhere:
                continue
            weights = idle.get("teacher", 0) + self._bring(model)
            how = Arithmetic(compute=width, residual=width, trains_weights=True)
            yield idle | {"teacher": weights} | self._answer(model.shape, how, num_answers)

    def _bring(self, model: FrozenModel) -> int:
        """Bytes that a teacher at work has beside those that lie on the device anyway."""
        if self.step.num_shards > 1:
            return 2 * model.num_bytes // len(model.shape.layer_kinds)
        return model.num_bytes if model.waits_on_cpu else 0

    def _lie_idle(self, *, has_optimiser: bool) -> Parts:
        """What is on the device between steps; the optimiser has its state from the first step on."""
        resident = self.step.count_resident()
        return resident if has_optimiser else {**resident, "optimiser": 0}

    def _answer(self, shape: ModelShape, how: Arithmetic, num_answers: int) -> Parts:
        """Read a batch, or answer it: whichever needs more."""
        load, count = self.step.load, self.step.recipe.compute.evaluation_batch_size
        prompt, patches = load.tokens // load.prompts, count * load.patches // load.prompts
        tokens, text = count * prompt, shape.text
        cached, query = tokens * shape.count_cached(how), shape.query_size * how.compute
        hidden = int(text.hidden_size)
        inner = int(getattr(text, "intermediate_size", None) or text.moe_intermediate_size)
        block = patches * (7 * shape.vision_width + shape.vision_inner) * how.compute
        layer = tokens * (3 * inner + 4 * hidden) * how.compute
        if count > 1:
            # A mask hides the padding: every head has its own keys and values of a layer, and its scores have a bias.
            layer += tokens * 2 * query + 3 * count * prompt**2
        reading = {"activations": max(block, layer) + patches * shape.patch_bytes, "keys and values": cached}
        answering = {
            "keys and values": 2 * cached + tokens * 2 * query,
            # Logits, log-probs, and what a draw makes of them in double precision; a bfloat16 head computes in float32.
            "distributions": 32 * count * num_answers * int(text.vocab_size)
            + (4 * shape.embedding if how.residual == 2 else 0),
        }
        return max(reading, answering, key=_add_up)


def _add_up(parts: Parts) -> int:
    return sum(parts.values())
