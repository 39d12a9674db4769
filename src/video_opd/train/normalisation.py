"""What the summed loss of a batch, and so its gradient, is divided by: one number, whatever the pieces are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from video_opd.config import CouplingSettings, Recipe, TrainingSettings
from video_opd.train.agreement import BatchCount


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """How a step is normalised (`training.normalise`)."""

    by: Literal["tokens", "examples", "constant"]
    constant: float
    last_constant: float
    """At the last step of the run."""

    @classmethod
    def of_training(
        cls, training: TrainingSettings, *, num_answers: int = 1, last_batch_size: int | None = None
    ) -> Normalisation:
        """What the settings ask for.

        Args:
            training: the table [training].
            num_answers: answers to an example.
            last_batch_size: size of a full batch at the last step; None: as at the others.
        """
        given, full = training.normalise_by, training.batch_size
        return cls(
            by=training.normalise or "tokens",
            constant=given or full * num_answers,
            last_constant=given or (last_batch_size or full) * num_answers,
        )

    @classmethod
    def of_recipe(cls, recipe: Recipe) -> Normalisation:
        """What a recipe asks for.

        Args:
            recipe: of the run.
        """
        curriculum, last = recipe.curriculum, None
        if isinstance(curriculum, CouplingSettings) and curriculum.is_front_loaded:
            last = curriculum.last_full_batch
        num_answers = getattr(recipe.method, "num_answers", 1)
        return cls.of_training(recipe.training, num_answers=num_answers, last_batch_size=last)

    def find_divisor(self, count: BatchCount, *, is_last: bool) -> float:
        """The number that the summed loss of a batch is divided by.

        Args:
            count: the answers of the whole batch.
            is_last: whether it is the last step of the run.
        """
        match self.by:
            case "tokens":
                return count.scheduled
            case "examples":
                return count.answers
            case "constant":
                return self.last_constant if is_last else self.constant
