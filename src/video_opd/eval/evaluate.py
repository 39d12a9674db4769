"""Greedy answers to every example of a manifest, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from video_opd.data.prompt_source import PromptSource
from video_opd.eval.ask import KeptAnswers, ask_and_keep, greedy_texts
from video_opd.grounding import Constant, ParsedAnswer, Scores, best_constant, parse_answer, score
from video_opd.grounding.time_units import UnitEvidence, find_bare_spans, likely_unit
from video_opd.policy.load import Policy
from video_opd.types import Example


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One model on one manifest."""

    scores: Scores
    answers: dict[str, str]
    """Example id -> the answer's text."""
    parsed: dict[str, ParsedAnswer]
    set_aside: dict[str, str]
    """Example id -> why it could not be asked; it counts as unanswered."""
    best_constant: Constant | None
    """The one span that scores best when given to every query: the floor any model must clear. None: every span ends
    at 0."""
    damaged_videos: Mapping[str, int] = field(default_factory=dict)
    """Videos that were used with damaged pictures -> how many the decoder said that it painted over. Answers that an
    earlier run kept say nothing here."""
    unit: UnitEvidence | None = None
    """That the answers are very likely in another unit than seconds."""

    def to_report(self, **labels: Any) -> dict[str, Any]:
        """The file in `evaluation/`, with labels such as name, step and split."""
        floor = None if self.best_constant is None else asdict(self.best_constant)
        unit = {} if self.unit is None else {"warnings": [f"{self.unit.sentence}."], "likely_unit": self.unit.to_dict()}
        damaged = {"damaged_videos": dict(self.damaged_videos)} if self.damaged_videos else {}
        scores = self.scores.to_report()
        return {**labels, **scores, "best_constant": floor, "set_aside": self.set_aside, **damaged, **unit}


def evaluate(
    policy: Policy,
    examples: Sequence[Example],
    source: PromptSource,
    *,
    max_new_tokens: int,
    batch_size: int,
    kept: KeptAnswers[str] | None = None,
) -> Evaluation:
    """Answer greedily and score; an example that cannot be asked counts as unanswered.

    Batches are the same in every run, so an evaluation that was killed goes on to the same answers.

    Args:
        policy: the model that answers.
        examples: asked in this order.
        source: renders them; what it sets aside counts as unanswered.
        max_new_tokens: the most tokens of an answer.
        batch_size: examples that are read together.
        kept: answers of an earlier run, and who is told of the new ones.

    Raises:
        EngineError: too many examples cannot be asked.
    """
    answers = ask_and_keep(
        policy, examples, source, greedy_texts(policy, max_new_tokens), batch_size=batch_size, kept=kept
    )
    return replace(judge(answers, examples, source.set_aside), damaged_videos=dict(source.damaged_videos))


def judge(answers: Mapping[str, str], examples: Sequence[Example], set_aside: Mapping[str, str]) -> Evaluation:
    """Score answers.

    Args:
        answers: example id -> text, in any order.
        examples: every query that counts.
        set_aside: example id -> why there is none.
    """
    answers = {example.id: answers[example.id] for example in examples if example.id in answers}
    parsed = {id: parse_answer(text) for id, text in answers.items()}
    bare = {id: find_bare_spans(text, parsed[id]) for id, text in answers.items()}
    return Evaluation(
        scores=score(parsed, examples),
        answers=answers,
        parsed=parsed,
        set_aside=dict(set_aside),
        best_constant=best_constant(examples),
        unit=likely_unit({id: spans[0] for id, spans in bare.items() if spans}, examples),
    )
