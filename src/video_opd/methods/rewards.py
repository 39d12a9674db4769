"""The task's own judge: an answer is parsed by the one parser and rewarded for the span it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from video_opd.errors import DataError
from video_opd.grounding import REWARDS, RewardName, form_reward, parse_answer
from video_opd.types import Answer, AnswerGroup, Example, Prompt


@dataclass(frozen=True, kw_only=True)
class TaskReward:
    """How well an answer's span fits the annotation, and, if wanted, whether the answer has the form asked for."""

    name: RewardName = "iou"
    form: str | None = None
    """Regular expression of a whole answer; one that has the form earns `form_weight` more."""
    form_weight: float = 1.0
    """Time-R1 adds the two unweighted."""

    def __call__(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Tensor:
        """(P, G) rewards of G answers to each of P prompts.

        Raises:
            DataError: an example without an annotated span.
        """
        return torch.tensor(
            [
                [self._reward(answer, prompt.example) for answer in group]
                for prompt, group in zip(prompts, groups, strict=True)
            ]
        )

    def _reward(self, answer: Answer, example: Example) -> float:
        if not example.spans:
            raise DataError(
                f"example {example.id} has no annotated span",
                reason="its answers cannot be rewarded",
                remedy="annotate it or leave it out, or use a method that needs no annotation, such as plain opd",
            )
        reward = REWARDS[self.name](parse_answer(answer.text), example)
        return reward + (self.form_weight * form_reward(answer.text, self.form) if self.form else 0.0)
