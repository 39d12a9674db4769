"""The models and answers that the checks examine, and the findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch

from video_opd.config import Recipe
from video_opd.eval.ask import ask_in_batches, batches_in_step, make_batches
from video_opd.grounding import best_iou, parse_answer
from video_opd.methods.teachers import View
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
    view: View | None = None
    """What the teacher sees in place of the prompts; None: the prompts."""

    @property
    def models(self) -> dict[str, Policy]:
        """Student and, if there is one, teacher."""
        return {"student": self.student} | ({"teacher": self.teacher} if self.teacher else {})

    def see(self, name: str) -> tuple[Prompt, ...]:
        """The prompts as one of the models sees them in training."""
        if self.view is None or name != "teacher":
            return self.prompts
        return tuple(self.view(prompt) for prompt in self.prompts)

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


def make_greedy_sampling(recipe: Recipe) -> Sampling:
    """The most probable token each time."""
    return Sampling(max_new_tokens=recipe.answers.max_new_tokens, greedy=True)


def measure_accuracy(policy: Policy, prompts: Sequence[Prompt], recipe: Recipe) -> tuple[float, int]:
    """Let a model answer greedily.

    Args:
        policy: the model.
        prompts: as it sees them.
        recipe: says how it is asked.

    Returns:
        the mean IoU with the annotations, and the number of answers in which a span was found.
    """
    groups = answer(policy, prompts, make_greedy_sampling(recipe), recipe)
    spans = [parse_answer(group.answers[0].text).spans for group in groups]
    ious = [
        best_iou(found[0], prompt.example.spans) if found else 0.0 for found, prompt in zip(spans, prompts, strict=True)
    ]
    return sum(ious) / len(ious), sum(bool(found) for found in spans)
