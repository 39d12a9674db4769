"""Does the teacher know the wording of the annotated answers?

Off-policy methods train on text that the student did not write. Where the teacher would never write it either, what it
says of every token is that of a stranger: in the tiny world such training ruins the student (docs/CLAIMS.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from video_opd.methods import Writer
from video_opd.methods.teachers import Teacher
from video_opd.policy.load import Policy
from video_opd.types import Prompt

IMPROBABLE_NATS = 5.0
"""One word that a teacher would not write, once in 150 times or less. In a model's own wording the tiny teacher finds
no word more improbable than 0.1 nats; in another one, or without the reasoning it is used to, 11 to 21."""


NUM_WORDED = 8
"""Annotated answers looked at before a run."""


def surprise_at_wording(
    write: Writer, student: Policy, teacher: Teacher, prompts: Sequence[Prompt]
) -> tuple[float, str]:
    """Measure how improbable the teacher finds the most improbable word of an answer: the median over answers, in nats;
    and one of the answers.

    Only tokens with letters count, where there are any, and no token after a digit, and the median is taken, because
    annotations may be noisy: a wrong time in the right words is another matter, and so is the word after it. The worst
    word and not the mean, because a model that has been led into a phrase goes along with it.

    Args:
        write: who writes the answers: the annotations.
        student: whose tokenizer makes tokens of the annotations.
        teacher: whose log-probs are taken.
        prompts: one answer is written to each.
    """
    worst, text = [], ""
    for prompt in prompts:  # one at a time: prompts may be long
        scores = teacher([prompt], write(student, student.read([prompt]), 0))
        (answer,), (row,), text = scores.answers, scores.logprobs.tolist(), scores.answers[0].text
        pieces = [student.tokenizer.decode([token]) for token in answer.token_ids[:-1]]
        words = [
            any(map(str.isalpha, piece)) and not any(map(str.isdigit, before))
            for before, piece in zip(["", *pieces[:-1]], pieces, strict=True)
        ]
        words = words if any(words) else [True] * len(pieces)
        worst.append(max(-value for value, is_word in zip(row, words, strict=False) if is_word))
    return median(worst), text
