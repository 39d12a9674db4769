"""The models and answers that the checks examine, and the findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch

from video_opd.config import Recipe
from video_opd.eval.ask import ask_in_batches, batches_in_step, make_batches
from video_opd.policy.load import Policy
from video_opd.policy.read import Reading
from video_opd.types import AnswerGroup, Prompt, Sampling

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check."""

    checked: str
    found: str
    verdict: Verdict
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the fields by name, for --json."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Patient:
    """The models, prompts and answers that the checks examine."""

    recipe: Recipe
    student: Policy
    teacher: Policy | None
    """None where the recipe has none; of several the one that is looked at."""
    prompts: tuple[Prompt, ...]
    groups: tuple[AnswerGroup, ...]
    """The student's sampled answers, one per prompt."""

    @property
    def models(self) -> dict[str, Policy]:
        """Student and, if there is one, teacher."""
        return {"student": self.student} | ({"teacher": self.teacher} if self.teacher else {})

    @classmethod
    def admit(cls, recipe: Recipe, student: Policy, teacher: Policy | None, prompts: Sequence[Prompt]) -> Patient:
        """Let the student answer, as it would in training.

        Args:
            recipe: the recipe that is examined.
            student: the model that answers.
            teacher: the one teacher that the checks look at; None: there is none.
            prompts: of the first training examples.
        """
        sampling = Sampling(max_new_tokens=recipe.answers.max_new_tokens, seed=recipe.seed)
        groups = answer(student, prompts, sampling, recipe)
        return cls(recipe=recipe, student=student, teacher=teacher, prompts=tuple(prompts), groups=groups)


def answer(policy: Policy, prompts: Sequence[Prompt], sampling: Sampling, recipe: Recipe) -> tuple[AnswerGroup, ...]:
    """Write one answer per prompt, in micro-batches as in training.

    Args:
        policy: the model that answers.
        prompts: read in this order.
        sampling: greedy, or the seed of the draws.
        recipe: has the size of a micro-batch.
    """
    batches = make_batches(prompts, recipe.training.micro_batch_size)
    asked = ask_in_batches(policy, batches, lambda reading: policy.answer(reading, sampling=sampling))
    return tuple(group for each in asked for group in each.answers)


def score(
    policy: Policy, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup], recipe: Recipe
) -> list[torch.Tensor]:
    """Score every answer's tokens, in micro-batches as in training.

    Args:
        policy: the model that scores.
        prompts: read in this order.
        groups: the answers to each prompt, in the order of the prompts.
        recipe: has the size of a micro-batch.

    Returns:
        For every answer the log-probs of its tokens, (T,).
    """
    next_groups = batches_in_step(groups)

    def score_next(reading: Reading) -> list[torch.Tensor]:
        scores = policy.score(reading, next_groups(reading))
        return [row[mask] for row, mask in zip(scores.logprobs, scores.answer_mask, strict=True)]

    asked = ask_in_batches(policy, make_batches(prompts, recipe.training.micro_batch_size), score_next)
    return [row for each in asked for row in each.answers]
