"""Rounds: score the student as it is, select, train, and again (Video-OPD, section 3.2). The teacher never changes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """Which optimiser steps belong to which round; the steps are divided as evenly as possible."""

    num_rounds: int
    total_steps: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_rounds <= self.total_steps:
            raise ValueError(f"{self.total_steps} steps in {self.num_rounds} rounds")

    def first_step(self, round: int) -> int:
        """Steps taken when round `round` (from 1) begins."""
        return self.total_steps * (round - 1) // self.num_rounds

    def end(self, round: int) -> int:
        """Steps taken when it is over."""
        return self.first_step(round + 1)

    def round_at(self, step: int) -> int:
        """The round that is under way or about to begin after `step` steps; one more than there are at the end."""
        return next((r for r in range(1, self.num_rounds + 1) if step < self.end(r)), self.num_rounds + 1)
