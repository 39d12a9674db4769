"""What is examined, and what is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch

from video_opd.config import Recipe
from video_opd.policy.load import Policy
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
        """For --json."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Patient:
    """What the checks look at."""

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
        """Let the student answer, as it would in training."""
        sampling = Sampling(max_new_tokens=recipe.answers.max_new_tokens, seed=recipe.seed)
        groups = answer(student, prompts, sampling, recipe)
        return cls(recipe=recipe, student=student, teacher=teacher, prompts=tuple(prompts), groups=groups)


def answer(policy: Policy, prompts: Sequence[Prompt], sampling: Sampling, recipe: Recipe) -> tuple[AnswerGroup, ...]:
    """One answer per prompt, in micro-batches as in training."""
    size = recipe.training.micro_batch_size
    return tuple(
        group
        for start in range(0, len(prompts), size)
        for group in policy.answer(policy.read(prompts[start : start + size]), sampling=sampling)
    )


def score(
    policy: Policy, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup], recipe: Recipe
) -> list[torch.Tensor]:
    """The log-probs of every answer's tokens, in micro-batches as in training."""
    size = recipe.training.micro_batch_size
    rows: list[torch.Tensor] = []
    for start in range(0, len(prompts), size):
        scores = policy.score(policy.read(prompts[start : start + size]), groups[start : start + size])
        rows += [row[mask] for row, mask in zip(scores.logprobs, scores.answer_mask, strict=True)]
    return rows
