"""The on-policy control: does an update bring the student closer to its teacher on the very states it was made on?

A reviewer of the paper asked for it. The exact reverse KL of the same visited states is measured before and after an
update; the answers stay those of the policy before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from video_opd.eval.ask import ask_in_batches, make_batches
from video_opd.methods.teachers import Teacher
from video_opd.objectives import masked_sum, reverse_kl
from video_opd.policy.load import Policy
from video_opd.types import AnswerGroup, Prompt, Sampling, TokenScores, number_repeats


@dataclass(frozen=True, eq=False)
class Probe:
    """A few prompts, the student's answers to them, and what the teacher thinks of every state on the way."""

    student: Policy
    pieces: tuple[tuple[tuple[Prompt, ...], tuple[AnswerGroup, ...], TokenScores], ...]
    """Micro-batches: prompts, answers, and the teacher's scores with their distributions."""

    @classmethod
    def take(
        cls, student: Policy, teacher: Teacher, prompts: Sequence[Prompt], sampling: Sampling, micro_batch_size: int
    ) -> Probe:
        """Answer the prompts with the student as it is, and have the teacher score every state in full.

        Args:
            student: who answers.
            teacher: who scores.
            prompts: the probe.
            sampling: how the answers are drawn.
            micro_batch_size: prompts read at once.
        """
        batches = make_batches(number_repeats(prompts), micro_batch_size)
        pieces = []
        for asked in ask_in_batches(student, batches, lambda reading: student.answer(reading, sampling=sampling)):
            piece, groups = tuple(asked.batch.prompts), tuple(asked.answers)
            pieces.append((piece, groups, teacher(piece, groups, distribution=True)))
        return cls(student, tuple(pieces))

    def reverse_kl(self) -> float:
        """KL(student || teacher), exact, nats per token, over the probe's states, for the student as it is now."""
        total, num_tokens = 0.0, 0
        for prompts, groups, teacher in self.pieces:
            scores = self.student.score(self.student.read(prompts), groups, distribution=True)
            assert scores.distribution is not None
            assert teacher.distribution is not None
            total += float(masked_sum(reverse_kl(scores.distribution, teacher.distribution), scores.answer_mask))
            num_tokens += scores.num_tokens
        return total / num_tokens
