"""A method says who writes the answers, who judges them, and what a token costs. Nothing else differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from video_opd.policy.load import Policy
    from video_opd.policy.read import Reading
    from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores


class Writer(Protocol):
    """Who writes the answers: the student, or the annotations."""

    def __call__(self, student: Policy, reading: Reading, seed: int) -> tuple[AnswerGroup, ...]:
        """The answers to train on, one group per prompt of the student's reading, all groups of one size."""


class Method(Protocol):
    """The three blanks that the loop leaves open."""

    @property
    def needs_distribution(self) -> bool:
        """Whether `losses` wants the student's whole distribution at every answer position."""

    @property
    def write(self) -> Writer:
        """Who writes the answers."""

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """What the judges think of the answers."""

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """What every token costs, with gradient through the learner's scores.

        Args:
            behaviour_logprobs: (B, T), the learner's own before its first update on this batch.
        """
