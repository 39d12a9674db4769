"""The task's own judge: an answer is parsed by the one parser and rewarded for the span it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from video_opd.errors import ConfigurationError, DataError
from video_opd.methods import MethodParts, MethodSettings
from video_opd.settings import NotNegative, Positive
from video_opd.types import Answer, AnswerGroup, Example, Prompt

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TaskReward:
    """Rewards how well an answer's span fits the annotation, and optionally the form of the answer."""

    name: str = "iou"
    """Name of a reward in `grounding.REWARDS`."""
    form: str | None = None
    """Regular expression for the whole answer; an answer that matches earns `form_weight` more."""
    form_weight: float = 1.0
    """Weight of the reward for the form; Time-R1 adds both rewards without weights."""

    def __call__(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Tensor:
        """Compute the (P, G) rewards of G answers to each of P prompts.

        Raises:
            DataError: an example has no annotated span.
        """
        import torch

        return torch.tensor(
            [
                [self._compute_reward(answer, prompt.example) for answer in group]
                for prompt, group in zip(prompts, groups, strict=True)
            ]
        )

    def _compute_reward(self, answer: Answer, example: Example) -> float:
        from video_opd.grounding import REWARDS, form_reward, parse_answer

        if not example.spans:
            raise DataError(
                f"example {example.id} has no annotated span",
                reason="its answers cannot be rewarded",
                remedy="annotate it or leave it out, or use a method that needs no annotation, such as plain opd",
            )
        reward = REWARDS[self.name](parse_answer(answer.text), example)
        return reward + (self.form_weight * form_reward(answer.text, self.form) if self.form else 0.0)


def _require_known_reward(name: str) -> str:
    """Refuse an unknown reward as a literal type would. Rewards may be registered while the program runs."""
    from video_opd.grounding import REWARDS

    if name not in REWARDS:
        known = " or ".join(", ".join(map(repr, REWARDS)).rsplit(", ", 1))
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": known})
    return name


class RewardSettings(MethodSettings):
    """Settings of the methods that reward an answer for its span."""

    reward: Annotated[str, AfterValidator(_require_known_reward)] = "iou"
    """`iou`: temporal IoU. `timestamp-iou`: Time-R1's, which also falls with the error of each end."""
    form_weight: NotNegative = 0.0
    """Additional reward for an answer in the form that its template asks for; 0: none."""
    name: Any
    """The method."""
    num_answers: Positive = 8
    """Number of answers to each prompt, all from one reading."""

    @model_validator(mode="after")
    def _require_a_group(self) -> RewardSettings:
        if self.num_answers < 2:
            raise ValueError(
                f"method.num_answers = {self.num_answers} with {self.name}: the reward of an answer is compared with "
                "those of the other answers to the same prompt, and here there are none; give at least 2, such as 8"
            )
        return self

    def refuse_unfit(self, parts: MethodParts) -> None:
        """Refuse a reward for the form of the answer if the template asks for no form.

        Raises:
            ConfigurationError: names the key and the template.
        """
        self.make_task_reward(parts)

    def make_task_reward(self, parts: MethodParts) -> TaskReward:
        """Make the task's reward.

        Raises:
            ConfigurationError: there is a reward for the form of the answer, and the template asks for no form.
        """
        form = parts.template.form
        if self.form_weight and form is None:
            raise ConfigurationError(
                f"method.form_weight = {self.form_weight} with the prompt template {parts.template_name!r}",
                reason="that template does not say what a well-formed answer looks like",
                remedy="set it to 0, or use a template for answers with thinking, such as timelens-think",
            )
        return TaskReward(name=self.reward, form=form if self.form_weight else None, form_weight=self.form_weight)
