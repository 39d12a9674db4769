"""What is trained on in each round of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from video_opd.curriculum import (
    RoundPlan,
)
from video_opd.runs.directory import RunDirectory
from video_opd.types import Example


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What one round trains on."""

    examples: Sequence[Example]
    in_order: bool = False
    """As given, in every epoch; else each epoch in a random order of its own."""
    steps: Sequence[Sequence[Example]] | None = None
    """The examples of every step, where the curriculum schedules them; they are then not drawn from `examples`."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Example id -> anchor or frontier, where the curriculum tells them apart."""
    warnings: tuple[str, ...] = ()


class Curriculum(Protocol):
    """Chooses the examples of each round. Its results are kept in the run's `rounds/` and are not computed twice."""

    @property
    def plan(self) -> RoundPlan:
        """Which steps belong to which round."""

    def make_lesson(self, round: int, run: RunDirectory) -> Lesson:
        """Say what round `round` (from 1) trains on; asked at its beginning, or later, when a run goes on.

        Raises:
            UserError: nothing fits what the recipe asks for.
        """


@dataclass(frozen=True, kw_only=True)
class Given:
    """The same examples from beginning to end: the whole pool, or a selection that was made before."""

    plan: RoundPlan
    examples: Sequence[Example]
    in_order: bool = False

    def make_lesson(self, round: int, run: RunDirectory) -> Lesson:  # noqa: ARG002
        """Give the same examples in every round."""
        return Lesson(examples=self.examples, in_order=self.in_order)
