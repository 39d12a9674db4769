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
from typing import Annotated, ClassVar

from video_opd.seeds import uniform
from video_opd.settings import Flag, Flagged, Positive, Settings, Share


class RaceRule(Settings):
    """When to stop: keys of the curricula in rounds, and flags of `video-opd score`."""

    error: ClassVar[float] = 0.05
    """How often, at most, a stratum is given up of which the least yield or more pass, at whichever look; of each
    stratum by itself, so of twenty at the limit one may be lost."""

    race: Flag = False
    """Score a random part of every source first, and give up a source of which surely too few examples pass the
    threshold."""
    race_pilot: Annotated[Positive, Flagged("pilot")] = 40
    """Of the race: examples of a source that are scored between two looks. With fewer than 36 the first look cannot be
    sure of less than a tenth, even where none passes."""
    race_min_yield: Annotated[Share, Flagged("min-yield")] = 0.1
    """Of the race: a source is given up when surely fewer of its examples pass the threshold. At most one in twenty
    sources of which just as many or more pass is given up by bad luck, all looks at it taken together."""

    @property
    def least_yield(self) -> float:
        """The share below which a stratum is given up; 0 where nothing is raced."""
        return self.race_min_yield if self.race else 0.0

    def gives_up(self, passed: int, seen: int) -> bool:
        """Whether a stratum surely yields too little, when `passed` of the first `seen` of its examples pass.

        Args:
            passed: how many passed the filter.
            seen: a multiple of `race_pilot`: there are no looks in between.
        """
        look = seen // self.race_pilot
        return at_most(passed, seen, self.least_yield) <= self.error / (look * (look + 1))


class Race:
    """Which examples to score next. Deterministic: the same yields in, the same stages out, so that it can be resumed.

    Args:
        strata: example id -> the stratum it belongs to, in pool order.
        rule: when a stratum is given up.
        seed: of the random order within each stratum.
        enough: stop altogether once as many examples pass; None: never.
    """

    def __init__(self, strata: Mapping[str, str], rule: RaceRule, seed: int, enough: int | None = None) -> None:
        self.rule, self.enough = rule, enough
        self.waiting: dict[str, list[str]] = {}
        for id in sorted(strata, key=lambda id: uniform(seed, "race", id)):
            self.waiting.setdefault(strata[id], []).append(id)
        self.scored: dict[str, list[str]] = {name: [] for name in self.waiting}
        self.stopped: dict[str, str] = {}
        """Id -> why it was never scored."""

    def __str__(self) -> str:
        """As it stands in the header of a file of scores: scores of another race are other scores."""
        rule = self.rule
        return (
            f"RaceRule(pilot={rule.race_pilot}, min_yield={rule.least_yield}, error={rule.error}, enough={self.enough})"
        )

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
        if self.enough is not None and total >= self.enough:
            for name in list(self.waiting):
                self._give_up(name, f"{total} examples had passed the filter, and {self.enough} are enough")
        stage = []
        for name in sorted(self.waiting):
            part, rest = self.waiting[name][: self.rule.race_pilot], self.waiting[name][self.rule.race_pilot :]
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
