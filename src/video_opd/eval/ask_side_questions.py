"""How many side questions a model answers with the right word: before and after a run, this is what it forgot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from video_opd.data.prompt_source import PromptSource
from video_opd.data.query_words import plain
from video_opd.data.side_questions import SideQuestion
from video_opd.eval.ask import ask_in_batches, batches_of, first_texts, greedy_answers
from video_opd.grounding.metrics import bootstrap_intervals
from video_opd.policy.load import Policy
from video_opd.sample_size import MIN_QUERIES

MAX_NEW_TOKENS = 16
NUM_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class SideScore:
    """Accuracy on side questions."""

    accuracy: float
    interval: tuple[float, float] | None
    """95 % percentile bootstrap over questions; None with fewer than `MIN_QUERIES`."""
    num_questions: int

    def to_dict(self) -> dict[str, Any]:
        """For an evaluation's file."""
        interval = None if self.interval is None else list(self.interval)
        return {"accuracy": self.accuracy, "interval": interval, "num_questions": self.num_questions}


def ask(policy: Policy, questions: Sequence[SideQuestion], source: PromptSource, *, batch_size: int) -> SideScore:
    """Greedy answers, right when they are the expected word but for case, blanks and a full stop."""
    answered: dict[str, str] = {}
    batches = batches_of([question.as_example() for question in questions], source, batch_size=batch_size)
    for asked in ask_in_batches(policy, batches, greedy_answers(policy, MAX_NEW_TOKENS)):
        answered |= first_texts(asked.answers)
    right = [plain(answered.get(question.id, "")) == plain(question.answer) for question in questions]
    scores = np.array(right, dtype=np.float64)
    interval = None
    if len(scores) >= MIN_QUERIES:
        (interval,) = bootstrap_intervals(scores[:, None], np.random.default_rng(0), NUM_RESAMPLES)
    return SideScore(accuracy=float(scores.mean()), interval=interval, num_questions=len(scores))
