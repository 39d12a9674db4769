"""Scoring less than the whole pool: a random part of every stratum first, and no more of those that yield nothing.

The teacher's reading of a pool costs more than the training on what is selected from it (96,586 readings against
2,500). A stratum, such as one source, whose first examples nearly all fail the filter need not be read to its end; and
a strategy that chooses at random needs no more than enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from video_opd.seeds import uniform

_NORMAL = 1.959964
"""Two-sided 95 % quantile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceRule:
    """When to stop."""

    pilot: int = 40
    """Examples of a stratum scored before it is judged, and at every look after that. With fewer than 35 not even none
    of them would be surely less than a tenth."""
    min_yield: float = 0.1
    """A stratum is given up when the share of its examples that pass the filter is surely lower (95 %)."""
    enough: int | None = None
    """Stop altogether once as many examples pass; None: never."""


class Race:
    """Which examples to score next. Deterministic: the same yields in, the same stages out, so that it can be resumed.

    Args:
        strata: example id -> the stratum it belongs to, in pool order.
    """

    def __init__(self, strata: Mapping[str, str], rule: RaceRule, seed: int) -> None:
        self.rule = rule
        self.waiting: dict[str, list[str]] = {}
        for id in sorted(strata, key=lambda id: uniform(seed, "race", id)):
            self.waiting.setdefault(strata[id], []).append(id)
        self.scored: dict[str, list[str]] = {name: [] for name in self.waiting}
        self.stopped: dict[str, str] = {}
        """Id -> why it was never scored."""

    def next_stage(self, passes: Mapping[str, bool]) -> Sequence[str]:
        """The ids to score now; none when the race is over.

        Args:
            passes: of every example scored so far, whether it passed the filter.
        """
        for name in list(self.waiting):
            passed, seen = sum(passes[id] for id in self.scored[name]), len(self.scored[name])
            if seen and upper_bound(passed, seen) < self.rule.min_yield:
                self._give_up(name, f"{passed} of the first {seen} examples of {name!r} passed the filter")
        total = sum(passes[id] for ids in self.scored.values() for id in ids)
        if self.rule.enough is not None and total >= self.rule.enough:
            for name in list(self.waiting):
                self._give_up(name, f"{total} examples had passed the filter, and {self.rule.enough} are enough")
        stage = []
        for name in sorted(self.waiting):
            part, rest = self.waiting[name][: self.rule.pilot], self.waiting[name][self.rule.pilot :]
            self.scored[name] += part
            stage += part
            if rest:
                self.waiting[name] = rest
            else:
                del self.waiting[name]
        return stage

    def _give_up(self, name: str, why: str) -> None:
        self.stopped |= dict.fromkeys(self.waiting.pop(name), why)


def upper_bound(passed: int, seen: int) -> float:
    """Upper end of the 95 % Wilson interval of a share."""
    share, z = passed / seen, _NORMAL
    centre = share + z**2 / (2 * seen)
    reach = z * math.sqrt(share * (1 - share) / seen + z**2 / (4 * seen**2))
    return (centre + reach) / (1 + z**2 / seen)
