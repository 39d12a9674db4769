"""How many side questions a model answers with the right word: before and after a run, this is what it forgot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from video_opd.data.prompt_source import PromptSource
from video_opd.data.query_words import normalise
from video_opd.data.side_questions import SideQuestion
from video_opd.eval.ask import ask_and_keep, greedy_texts
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
    """Ask for greedy answers. An answer is right when it is the expected word but for case, blanks and a full stop.

    Args:
        policy: the model that answers.
        questions: each counts, also one that cannot be asked.
        source: renders the questions.
        batch_size: questions that are read together.

    Raises:
        EngineError: too many questions cannot be asked.
    """
    examples, answer = [question.as_example() for question in questions], greedy_texts(policy, MAX_NEW_TOKENS)
    answered = ask_and_keep(policy, examples, source, answer, batch_size=batch_size)
    right = [normalise(answered.get(question.id, "")) == normalise(question.answer) for question in questions]
    scores = np.array(right, dtype=np.float64)
    interval = None
    if len(scores) >= MIN_QUERIES:
        (interval,) = bootstrap_intervals(scores[:, None], np.random.default_rng(0), NUM_RESAMPLES)
    return SideScore(accuracy=float(scores.mean()), interval=interval, num_questions=len(scores))
