"""How far a student is from its teacher, position by position, on prefixes that it wrote or that others wrote.

The argument for on-policy training is that a student trained on other people's prefixes meets its own at inference and
is lost there. This is the measurement that decides it: the exact KL(student || teacher) of every state.
"""

from __future__ import annotations

from collections.abc import Sequence

from video_opd.eval.ask import ask_in_batches, batches_in_step, make_batches
from video_opd.methods.teachers import Teacher
from video_opd.objectives import reverse_kl
from video_opd.policy.load import Policy
from video_opd.policy.read import Reading
from video_opd.types import AnswerGroup, Prompt, TokenScores


def reverse_kl_by_position(
    student: Policy, teacher: Teacher, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup], *, batch_size: int = 16
) -> list[tuple[float, int]]:
    """Mean KL(student || teacher) in nats at every answer position, and how many answers are that long.

    Args:
        groups: answers to the prompts, in their order, all groups of one size; their tokens are the prefixes.
    """
    total: list[float] = []
    count: list[int] = []
    next_groups = batches_in_step(groups)

    def compare(reading: Reading) -> list[tuple[TokenScores, TokenScores]]:
        written = next_groups(reading)
        mine = student.score(reading, written, distribution=True)
        return [(mine, teacher(reading.prompts, written, distribution=True))]

    for asked in ask_in_batches(student, make_batches(prompts, batch_size), compare):
        ((mine, theirs),) = asked.answers
        assert mine.distribution is not None
        assert theirs.distribution is not None
        for row, mask in zip(
            reverse_kl(mine.distribution, theirs.distribution).tolist(), mine.answer_mask.tolist(), strict=True
        ):
            for position, (value, is_token) in enumerate(zip(row, mask, strict=True)):
                if position == len(total):
                    total.append(0.0)
                    count.append(0)
                if is_token:
                    total[position] += value
                    count[position] += 1
    return [(value / max(number, 1), number) for value, number in zip(total, count, strict=True)]
