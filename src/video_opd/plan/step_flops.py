"""The operations of a training step on one process, by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from video_opd.config import Recipe
from video_opd.plan.model_flops import Flops, ModelFlops
from video_opd.policy.model_shape import ModelShape
from video_opd.train.trained_parts import count_trained

PHASES = ("read", "answer", "teacher", "reference", "score", "backward")
"""Phases with operations, in their order; `step` and `communication` have seconds only."""


@dataclass(frozen=True, kw_only=True)
class StepWork:
    """What one process reads and writes in a step."""

    prompts: float
    num_pieces: int
    """Micro-batches."""
    num_loops: int = 0
    """Token loops that write the answers; 0: one for each micro-batch."""
    is_read_twice: bool = False
    """The answers are written from readings without gradient, and every prompt is read again for the gradient."""
    tokens: float
    """Of one prompt."""
    patches: float
    """Of one video."""
    groups: float
    """Temporal groups of one video."""
    video_tokens: float = 0.0
    """Tokens of one prompt that belong to its video, the times before the groups among them."""
    answers: int
    """To one prompt."""
    answer_tokens: float
    """Of one answer."""

    @property
    def rows(self) -> float:
        """Answer tokens to one prompt."""
        return self.answers * self.answer_tokens

    def see(self, share: float) -> StepWork:
        """The same with so many video tokens for one of the student's."""
        tokens = self.tokens - (1 - share) * self.video_tokens
        return replace(self, tokens=tokens, patches=share * self.patches, groups=share * self.groups)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A frozen model that reads the prompts and scores the answers."""

    shape: ModelShape
    num_bytes: int
    """Of its weights, whole."""
    share: float = 1.0
    """Of the prompts that it judges."""
    is_student: bool = False
    """It is the student before training or without its adapter."""
    is_reference: bool = False
    """It is the reference of the method, and no teacher."""
    sees: float = 1.0
    """Video tokens in its view, for one of the student's."""


def group_judges(judges: Sequence[Judge]) -> dict[str, list[Judge]]:
    """The judges by the phase in which they work; without judges there is an empty phase `teacher`.

    Args:
        judges: of a step.
    """
    groups: dict[str, list[Judge]] = {}
    for judge in judges:
        groups.setdefault("reference" if judge.is_reference else "teacher", []).append(judge)
    return groups or {"teacher": []}


@dataclass(frozen=True, kw_only=True)
class StepFlops:
    """Counts the operations of a recipe's step."""

    recipe: Recipe
    student: ModelShape
    judges: Sequence[Judge]
    work: StepWork
    is_checkpointed: bool = False

    def count(self) -> Mapping[str, Flops]:
        """Operations by phase, of one process and one step."""
        work, updates = self.work, self.recipe.training.updates_per_batch
        follow = self._model.follow(work.tokens, work.rows, work.answer_tokens)
        written = Flops() if self.recipe.method.writes_annotations else follow
        read = self._model.read_text(work.tokens)
        vision = self._model.read_vision(work.patches, work.groups)
        times = updates if self._is_vision_trained else 1  # a frozen tower runs once for each clip and step
        return {
            "read": work.prompts * ((updates + work.is_read_twice) * read + times * vision),
            "answer": work.prompts * written,
            **{
                phase: work.prompts * sum((self._judge(judge) for judge in judges), Flops())
                for phase, judges in group_judges(self.judges).items()
            },
            "score": work.prompts * updates * follow,
            "backward": work.prompts * updates * self._count_backward(),
        }

    @property
    def _model(self) -> ModelFlops:
        return ModelFlops(shape=self.student)

    @property
    def _trained(self) -> dict[str, int]:
        return count_trained(self.recipe, self.student)

    @property
    def _is_vision_trained(self) -> bool:
        return "tower" in self._trained

    def _judge(self, judge: Judge) -> Flops:
        work, model = self.work.see(judge.sees), ModelFlops(shape=judge.shape)
        flops = model.read_text(work.tokens) + model.follow(work.tokens, work.rows, work.answer_tokens)
        if judge.sees != 1 or not judge.is_student or self._is_vision_trained:  # else the features are there
            flops += model.read_vision(work.patches, work.groups)
        return judge.share * flops

    def _count_backward(self) -> Flops:
        """The gradient of inputs, and of weights where they are trained: each as much as the pass forward."""
        work, model, trained = self.work, self._model, self._trained
        last = model.read_last_queries(work.tokens)
        read, follow = model.read_text(work.tokens), model.follow(work.tokens, work.rows, work.answer_tokens)
        through = read + -1 * last + follow
        flops = Flops(products=(2 if "text" in trained else 1) * through.products, attention=2 * through.attention)
        if self._is_vision_trained:
            flops += 2 * model.read_tower(work.patches, work.groups) + -1 * model.embed_patches(work.patches)
        if "merger" in trained:
            flops += (2 if self._is_vision_trained else 1.5) * model.merge(work.patches)
        return flops + self._compute_again() if self.is_checkpointed else flops

    def _compute_again(self) -> Flops:
        """The passes forward that checkpointing repeats."""
        work, model, trained = self.work, self._model, self._trained
        flops = model.read_text(work.tokens) + model.follow_layers(work.tokens, work.rows, work.answer_tokens)
        flops += -1 * model.skip_text(work.tokens, work.rows)
        if self._is_vision_trained:
            flops += model.read_vision(work.patches, work.groups) + -1 * model.skip_vision(work.patches)
        elif "merger" in trained:
            flops += model.merge(work.patches)
        return flops
