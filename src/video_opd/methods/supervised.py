"""Supervised fine-tuning: the annotated answer, token by token, and nobody judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from video_opd.methods import Writer
from video_opd.objectives import negative_log_likelihood
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores


@dataclass(frozen=True, kw_only=True)
class SupervisedFineTuning:
    """Who writes: the annotation. Who judges: nobody. What a token costs: its negative log-likelihood."""

    write: Writer
    needs_distribution: bool = False

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:  # noqa: ARG002
        """Nothing."""
        return Judgement()

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:  # noqa: ARG002
        """Cross-entropy: the policy gradient of a token whose advantage is always 1."""
        return TokenLosses(
            loss=negative_log_likelihood(learner.logprobs),
            advantage=torch.ones_like(behaviour_logprobs),
            clamped=torch.zeros_like(behaviour_logprobs),
        )
