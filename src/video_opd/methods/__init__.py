"""A method says who writes the answers, who judges them, and what a token costs. Nothing else differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from video_opd.policy.load import Policy
    from video_opd.policy.reading import Reading
    from video_opd.vocabulary import AnswerGroup, Prompt, TokenLosses, TokenScores


class Method(Protocol):
    """The three blanks that the loop leaves open."""

    @property
    def needs_distribution(self) -> bool:
        """Whether `losses` wants the student's whole distribution at every answer position."""

    def write(self, student: Policy, reading: Reading, seed: int) -> tuple[AnswerGroup, ...]:
        """The answers to train on, one group per prompt of the student's reading."""

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> TokenScores:
        """What the judge thinks of every token."""

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: TokenScores) -> TokenLosses:
        """What every token costs, with gradient through the learner's scores."""
