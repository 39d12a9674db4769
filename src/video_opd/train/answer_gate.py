"""The gate of student-curriculum coupling, between answering and judging."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from video_opd.curriculum import Coupling
from video_opd.grounding import best_iou, parse_answer
from video_opd.types import AnswerGroup, Example, Prompt


class AnswerGate:
    """Admits an example while the answers that the student just wrote are not good enough."""

    def __init__(self, coupling: Coupling) -> None:
        self.coupling = coupling

    def begin(self, kinds: Mapping[str, str], state: Mapping[str, Any]) -> None:
        """Start a round with its candidates, and restore what was known about them if the run was interrupted."""
        self.coupling.begin(kinds)
        if state:
            self.coupling.load_state_dict(state)

    def is_admitted(self, prompt: Prompt, group: AnswerGroup) -> bool:
        """Decide by the group's mean temporal IoU with the annotation; an answer without a span counts as 0."""
        return self.coupling.is_admitted(prompt.id, fmean(_iou(answer.text, prompt.example) for answer in group))


def _iou(text: str, example: Example) -> float:
    spans = parse_answer(text).spans
    return best_iou(spans[0], example.spans) if spans else 0.0
