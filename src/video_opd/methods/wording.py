"""Check whether the teacher knows the wording of the annotated answers.

Off-policy methods train on text that the student did not write. If the teacher would never write it either, its scores
are of no use: in the tiny world such training ruins the student (docs/CLAIMS.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from video_opd.methods import Writer
from video_opd.methods.teachers import Teacher
from video_opd.methods.writers import MixedWrites
from video_opd.policy.load import Policy
from video_opd.types import Prompt

IMPROBABLE_NATS = 5.0
"""Surprise, in nats, of a word that the teacher does not use: its probability is 1 in 150 or less. In a model's own
wording, the tiny teacher's most improbable word has 0.1 nats. In another wording, or without the usual reasoning, it
has 11 to 21 nats."""


NUM_WORDED = 8
"""Number of annotated answers that are checked before a run."""


def measure_surprise_at_wording(
    write: Writer, student: Policy, teacher: Teacher, prompts: Sequence[Prompt]
) -> tuple[float, str]:
    """Measure how improbable the teacher finds the most improbable word of an answer.

    Only tokens with letters count, if there are any, and no token after a digit: annotations may be noisy, and a wrong
    time makes the next word improbable too. For the same reason the median over answers is taken. The worst word is
    taken and not the mean, because the later words of an unusual phrase are probable given its beginning.

    Args:
        write: the writer of the answers: the annotations, alone or in a mix.
        student: the model whose tokenizer encodes the annotations.
        teacher: the model that gives the log-probs.
        prompts: the prompts; each gets one answer.

    Returns:
        The median surprise in nats, and one of the answers.
    """
    worst, text = [], ""
    write = write.annotation if isinstance(write, MixedWrites) else write
    for prompt in prompts:  # one prompt at a time: prompts may be long
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
