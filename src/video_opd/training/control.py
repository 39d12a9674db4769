"""The on-policy control: does an update bring the student closer to its teacher on the very states it was made on?

A reviewer of the paper asked for it. The exact reverse KL of the same visited states is measured before and after an
update; the answers stay those of the policy before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from video_opd.objectives import masked_mean, reverse_kl
from video_opd.policy.load import Policy
from video_opd.vocabulary import AnswerGroup, Prompt, Sampling, TokenScores


@dataclass(frozen=True, eq=False)
class Probe:
    """A few prompts, the student's answers to them, and what the teacher thinks of every state on the way."""

    student: Policy
    prompts: tuple[Prompt, ...]
    groups: tuple[AnswerGroup, ...]
    teacher: TokenScores

    @classmethod
    def take(cls, student: Policy, teacher: Policy, prompts: Sequence[Prompt], sampling: Sampling) -> Probe:
        """Answer the prompts with the student as it is, and have the teacher score every state in full."""
        groups = student.answer(student.read(prompts), sampling=sampling)
        scores = teacher.score(teacher.read(prompts), groups, distribution=True)
        return cls(student, tuple(prompts), groups, scores)

    def reverse_kl(self) -> float:
        """KL(student || teacher), exact, nats per token, over the probe's states, for the student as it is now."""
        scores = self.student.score(self.student.read(self.prompts), self.groups, distribution=True)
        assert scores.distribution is not None
        assert self.teacher.distribution is not None
        return float(masked_mean(reverse_kl(scores.distribution, self.teacher.distribution), scores.answer_mask))
