"""Sizes of the advantages of recorded training answers, by region and by position, early and late in a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from video_opd.files.run_records import SampledAnswer
from video_opd.report.run.answer_cards import list_tokens

_LONGEST = 400
"""Positions that are told apart."""


@dataclass(slots=True)
class AdvantageSum:
    """Tokens, and the sum of their advantages without the signs."""

    total: float = 0.0
    count: int = 0

    def add(self, advantage: float) -> None:
        """Count one more token."""
        self.total, self.count = self.total + abs(advantage), self.count + 1

    @property
    def mean(self) -> float:
        """Nats per token; 0 without tokens."""
        return self.total / self.count if self.count else 0.0


@dataclass(slots=True)
class AdvantageStretch:
    """The answers of some steps."""

    first_step: int = 0
    last_step: int = 0
    num_answers: int = 0
    regions: dict[str, AdvantageSum] = field(default_factory=dict)
    positions: list[AdvantageSum] = field(default_factory=list)

    def add(self, answer: SampledAnswer, answer_starts: str) -> None:
        """Count the tokens of one answer.

        Args:
            answer: with or without advantages.
            answer_starts: what the final answer begins with; see `grounding.regions`.
        """
        from video_opd.grounding.regions import find_regions  # here: the package loads numpy

        tokens = list_tokens(answer)
        if all(token.advantage is None for token in tokens):
            return
        regions = find_regions(answer.tokens, truncated=answer.truncated, answer_starts=answer_starts)
        self.num_answers += 1
        for place, (token, region) in enumerate(zip(tokens, regions, strict=True)):
            if token.advantage is None:
                continue
            self.regions.setdefault(region, AdvantageSum()).add(token.advantage)
            if place < _LONGEST:
                self.positions += [AdvantageSum() for _ in range(place + 1 - len(self.positions))]
                self.positions[place].add(token.advantage)


class AdvantageTally:
    """The first and the last tenth of a run's steps.

    Args:
        num_steps: that the run has taken.
        settings: its recipe, which names the template of the answers.
    """

    def __init__(self, num_steps: int, settings: Mapping[str, Any]) -> None:
        tenth = max(1, num_steps // 10)
        self.early = AdvantageStretch(1, tenth)
        self.late = AdvantageStretch(max(num_steps - tenth, tenth) + 1, num_steps)
        self._starts = find_answer_starts(settings)

    def is_counted(self, step: int) -> bool:
        """Whether answers of a step are counted."""
        return any(stretch.first_step <= step <= stretch.last_step for stretch in (self.early, self.late))

    def add(self, answer: SampledAnswer) -> None:
        """Count an answer of any step."""
        for stretch in (self.early, self.late):
            if stretch.first_step <= answer.step <= stretch.last_step:
                stretch.add(answer, self._starts)


def find_answer_starts(settings: Mapping[str, Any]) -> str:
    """What the final answer of a recipe's template begins with; empty where the template is not known."""
    from video_opd.data.prompt_templates import TEMPLATES

    prompt = settings.get("prompt")
    name = prompt.get("template") if isinstance(prompt, Mapping) else None
    template = TEMPLATES.get(name) if isinstance(name, str) else None
    return template.answer_starts if template else ""
