"""Greedy answers to every example of a manifest, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from video_opd.data.source import PromptSource
from video_opd.grounding import Constant, ParsedAnswer, Scores, best_constant, parse_answer, score
from video_opd.policy.load import Policy
from video_opd.vocabulary import Example, Sampling


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One model on one manifest."""

    scores: Scores
    answers: dict[str, str]
    """Example id -> the answer's text."""
    parsed: dict[str, ParsedAnswer]
    set_aside: dict[str, str]
    """Example id -> why its video could not be used; it counts as unanswered."""
    best_constant: Constant | None
    """The one span that scores best when given to every query: the floor any model must clear. None: every span ends
    at 0."""

    def to_report(self, **labels: Any) -> dict[str, Any]:
        """The file in `evaluation/`, with labels such as name, step and split."""
        floor = None if self.best_constant is None else asdict(self.best_constant)
        return {**labels, **self.scores.to_report(), "best_constant": floor, "set_aside": self.set_aside}


def evaluate(
    policy: Policy,
    examples: Sequence[Example],
    source: PromptSource,
    *,
    max_new_tokens: int,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Answer greedily and score; an example whose video cannot be used counts as unanswered.

    Args:
        on_batch: told how many examples were done, after every batch.
    """
    sampling = Sampling(max_new_tokens=max_new_tokens, greedy=True)
    answers: dict[str, str] = {}
    for start in range(0, len(examples), batch_size):
        batch = examples[start : start + batch_size]
        source.prefetch(examples[start + batch_size : start + 2 * batch_size])
        prompts = source.prompts(batch)
        if prompts:
            for group in policy.answer(policy.read(prompts), sampling=sampling):
                answers[group.prompt_id] = group.answers[0].text
        on_batch(len(batch))
    parsed = {id: parse_answer(text) for id, text in answers.items()}
    return Evaluation(
        scores=score(parsed, examples),
        answers=answers,
        parsed=parsed,
        set_aside=dict(source.set_aside),
        best_constant=best_constant(examples),
    )
