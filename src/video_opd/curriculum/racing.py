"""Score only a part of the pool: first a random part of every stratum, then only the strata with enough passes.

To score a pool with the teacher costs more than the training on the selection (96,586 readings against 2,500). A
stratum, such as one source, need not be scored completely if nearly all of its first examples fail the filter. A
strategy that chooses at random needs only enough passes.

A stratum is tested several times, and each test may give it up by chance. So the tests share one probability of error:
test k has 1 / (k (k + 1)) of it, and all tests together have at most the whole (alpha spending: Lan and DeMets,
Biometrika 70, 1983; the sum is Bonferroni's bound). The probability of so few passes is the exact binomial one (Clopper
and Pearson, Biometrika 26, 1934). Drawing without replacement has less variance, so the bound holds for small strata.
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
    """Largest probability, over all tests, that a stratum is given up although the smallest yield or more of it pass.
    It holds for each stratum, so of twenty strata at the limit one may be lost."""

    race: Flag = False
    """Score a random part of every source first, and give up a source if too few of its examples pass the threshold
    with high certainty."""
    race_pilot: Annotated[Positive, Flagged("pilot")] = 40
    """Race: number of examples of a source that are scored between two tests. With fewer than 36, the first test cannot
    show a share below a tenth, even if none passes."""
    race_min_yield: Annotated[Share, Flagged("min-yield")] = 0.1
    """Race: a source is given up if a smaller share of its examples passes the threshold with high certainty. Over all
    tests, at most one in twenty sources with this share or more is given up by chance."""

    @property
    def least_yield(self) -> float:
        """The share below which a stratum is given up; 0 without a race."""
        return self.race_min_yield if self.race else 0.0

    def is_given_up(self, passed: int, seen: int) -> bool:
        """Whether a stratum is given up if `passed` of its first `seen` examples pass.

        Args:
            passed: how many passed the filter.
            seen: a multiple of `race_pilot`: there are no tests in between.
        """
        look = seen // self.race_pilot
        return binomial_cdf(passed, seen, self.least_yield) <= self.error / (look * (look + 1))


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
            if seen and self.rule.is_given_up(passed, seen):
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


def binomial_cdf(passed: int, seen: int, share: float) -> float:
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
