"""Distillation by a divergence of whole distributions: the forward KL, or GKD's generalised JSD (arXiv 2306.13649)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from video_opd import objectives
from video_opd.methods import Writer
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores

if TYPE_CHECKING:
    from torch import Tensor

    from video_opd.methods.teachers import Teacher


@dataclass(frozen=True, kw_only=True)
class DivergenceDistillation:
    """Who writes: the given writer. Who judges: the teacher's whole distribution. What a token costs: the divergence of
    the two distributions in its state.

    The answers are constants for the gradient, also where the student wrote them: GKD does the same.
    """

    write: Writer
    teacher: Teacher
    divergence: Callable[[Tensor, Tensor], Tensor]
    """The student's and the teacher's log-probs, (B, T, V) each -> (B, T)."""
    needs_distribution: bool = True

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """Ask the teacher about every token of the vocabulary at every position of the answers."""
        return Judgement(teacher=self.teacher(prompts, groups, distribution=True))

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Compute the divergence of every state; the advantage is only recorded."""
        assert judgement.teacher is not None
        assert learner.distribution is not None
        assert judgement.teacher.distribution is not None
        advantage = objectives.sampled_advantage(behaviour_logprobs, judgement.teacher.logprobs)
        loss = self.divergence(learner.distribution, judgement.teacher.distribution)
        return TokenLosses(loss=loss, advantage=advantage, clamped=advantage.new_zeros(advantage.shape))
