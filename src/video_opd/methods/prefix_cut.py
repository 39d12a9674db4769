"""Stop the supervision of a long answer where the teacher's scores are no longer useful (arXiv 2605.13643)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from video_opd.methods import Method, Writer
from video_opd.objectives import supervised_prefix, teacher_margin
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores


@dataclass(frozen=True, kw_only=True)
class PrefixCut:
    """A method of distillation whose tokens cost nothing after the change point of the teacher's margin.

    The margin depends on the student's present distribution, so the change point may move a little between several
    updates on one batch.
    """

    method: Method
    """The method. It must need the whole distributions of student and teacher."""

    @property
    def needs_distribution(self) -> bool:
        """Whether whole distributions are needed: always, because the margin is between candidates."""
        return True

    @property
    def write(self) -> Writer:
        """The writer of the method that is cut."""
        return self.method.write

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """Ask the judge of the method that is cut."""
        return self.method.judge(prompts, groups)

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Compute the losses of the method on every answer's supervised prefix; they are 0 after it."""
        assert learner.distribution is not None
        assert judgement.teacher is not None
        assert judgement.teacher.distribution is not None
        losses = self.method.losses(learner, behaviour_logprobs, judgement)
        margin = teacher_margin(learner.distribution, judgement.teacher.distribution)
        kept = supervised_prefix(margin, learner.answer_mask)
        return replace(losses.drop_tokens(~kept), supervised=kept)
