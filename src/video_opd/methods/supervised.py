"""Supervised fine-tuning: the annotated answer, token by token; no judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from video_opd import objectives
from video_opd.methods import Method, MethodParts, Writer
from video_opd.methods.writers import AnnotationSettings
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores

if TYPE_CHECKING:
    from torch import Tensor


class SupervisedSettings(AnnotationSettings):
    """Cross-entropy on annotated answers."""

    name: Literal["sft"]
    """The method."""

    def build(self, parts: MethodParts) -> Method:
        """Make supervised fine-tuning on the annotations."""
        return SupervisedFineTuning(write=self.make_annotation_writer(parts))


@dataclass(frozen=True, kw_only=True)
class SupervisedFineTuning:
    """Who writes: the annotation. Who judges: no one. What a token costs: its negative log-likelihood."""

    write: Writer
    needs_distribution: bool = False

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:  # noqa: ARG002
        """Return an empty judgement: this method has no judge."""
        return Judgement()

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:  # noqa: ARG002
        """Compute the cross-entropy: the policy gradient of a token whose advantage is always 1."""
        return TokenLosses(
            loss=objectives.negative_log_likelihood(learner.logprobs),
            advantage=behaviour_logprobs.new_ones(behaviour_logprobs.shape),
            clamped=behaviour_logprobs.new_zeros(behaviour_logprobs.shape),
        )
