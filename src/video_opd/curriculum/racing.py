"""Scoring less than the whole pool: a random part of every stratum first, and no more of those that yield nothing.

The teacher's reading of a pool costs more than the training on what is selected from it (96,586 readings against
2,500). A stratum, such as one source, whose first examples nearly all fail the filter need not be read to its end; and
a strategy that chooses at random needs no more than enough.

A stratum is looked at again and again, and at every look it may be given up by bad luck. So the looks share one
probability of error: look k has 1 / (k (k + 1)) of it, and all of them together no more than the whole, however many
there are (alpha spending: Lan and DeMets, Biometrika 70, 1983; that the parts may be added is Bonferroni's bound). At a
look the chance of so few passes is the exact binomial one (Clopper and Pearson, Biometrika 26, 1934). Drawing without
replacement from a stratum spreads less than that, so the bound holds for small strata too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from video_opd.seeds import uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceRule:
    """When to stop."""

    pilot: int = 40
    """Examples of a stratum scored before it is judged, and at every look after that. With fewer than 36 not even none
    of them would be surely less than a tenth at the first look."""
    min_yield: float = 0.1
    """A stratum is given up when the share of its examples that pass the filter is surely lower."""
    error: float = 0.05
    """How often, at most, a stratum is given up of which `min_yield` or more pass, at whichever look; of each stratum
    by itself, so of twenty at the limit one may be lost."""
    enough: int | None = None
    """Stop altogether once as many examples pass; None: never."""

    def gives_up(self, passed: int, seen: int) -> bool:
        """Whether a stratum surely yields too little, when `passed` of the first `seen` of its examples pass.

        Args:
            seen: a multiple of `pilot`: there are no looks in between.
        """
        look = seen // self.pilot
        return at_most(passed, seen, self.min_yield) <= self.error / (look * (look + 1))


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
            if seen and self.rule.gives_up(passed, seen):
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


def at_most(passed: int, seen: int, share: float) -> float:
    """The chance that of `seen` examples no more than `passed` pass, each of them with probability `share`."""
    if passed >= seen * share:
        return 1.0  # nothing unusual: the chance is about a half or more
    if share == 1:
        return 0.0
    log_chance = math.lgamma(seen + 1) - math.lgamma(passed + 1) - math.lgamma(seen - passed + 1)
    term = math.exp(log_chance + passed * math.log(share) + (seen - passed) * math.log1p(-share))
    total = term
    for count in range(passed, 0, -1):  # from `passed` down to none: below the mean every term is smaller than the last
        term *= count * (1 - share) / ((seen - count + 1) * share)
        total += term
        if term < 1e-16 * total:
            break
    return total
