"""The strategies: from the signals of a pool to the ids that are chosen, in training order.

Video-OPD, appendix B (arXiv 2602.02994), and plainer ones. A strategy is a function of the signals, the ids and a seed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from video_opd.curriculum.selection_rule import SelectionRule, Strategy
from video_opd.seeds import uniform

NUM_BUCKETS = 5
"""Of BBDS (the paper's B)."""
GWDS_CENTRE, GWDS_STD = 0.9, 0.2
"""Of GWDS (the paper's c and s)."""
NUM_DENSITY_BINS = 20
"""Of TimeLens's histogram of IoUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What a strategy chooses from."""

    ids: Sequence[str]
    """In a seeded order, so that examples that are worth the same come in no particular one."""
    delta: Mapping[str, float]
    sigma: Mapping[str, float]
    rule: SelectionRule
    seed: int

    @property
    def count(self) -> int:
        """How many are chosen."""
        return self.rule.count

    def rank_by_delta(self) -> list[str]:
        """The ids by their gap, largest first."""
        return sorted(self.ids, key=lambda id: -self.delta[id])


def _top_k(pool: Pool) -> list[str]:
    """The largest gaps (the paper's choice)."""
    return pool.rank_by_delta()[: pool.count]


def _dsus(pool: Pool) -> list[str]:
    """Evenly spaced ranks (eq. 14)."""
    ranked = pool.rank_by_delta()
    return [ranked[rank - 1] for rank in evenly_spaced_ranks(len(ranked), pool.count)]


def evenly_spaced_ranks(n: int, k: int) -> list[int]:
    """`j_t = round(1 + (n - 1) * t / (k - 1))`, t = 0 … k - 1: eq. 14, halves to the even rank; rank 1 for k = 1."""
    if k == 1:
        return [1]
    ranks = []
    for t in range(k):
        whole, rest = divmod((n - 1) * t, k - 1)
        up = 2 * rest > k - 1 or (2 * rest == k - 1 and whole % 2 == 0)  # 1 + whole is odd then
        ranks.append(1 + whole + up)
    return ranks


def _bbds(pool: Pool) -> list[str]:
    """As many from every fifth of the range of gaps (eq. 19), evenly spaced inside each.

    A bucket that holds fewer than its share hands the rest to the others in turn, from the lowest, for exactly `count`
    are wanted; the paper leaves this case open.
    """
    ranked = pool.rank_by_delta()
    lowest, highest = pool.delta[ranked[-1]], pool.delta[ranked[0]]
    width = (highest - lowest) / NUM_BUCKETS
    buckets: list[list[str]] = [[] for _ in range(NUM_BUCKETS)]
    for id in ranked:
        place = int((pool.delta[id] - lowest) / width) if width > 0 else NUM_BUCKETS - 1
        buckets[min(place, NUM_BUCKETS - 1)].append(id)
    share, extra = divmod(pool.count, NUM_BUCKETS)
    quotas = [min(share + (number <= extra), len(bucket)) for number, bucket in enumerate(buckets, start=1)]
    while sum(quotas) < pool.count:
        for place, bucket in enumerate(buckets):
            if quotas[place] < len(bucket) and sum(quotas) < pool.count:
                quotas[place] += 1
    return [
        bucket[rank - 1]
        for bucket, quota in zip(reversed(buckets), reversed(quotas), strict=True)
        if quota
        for rank in evenly_spaced_ranks(len(bucket), quota)
    ]


def _gwds(pool: Pool) -> list[str]:
    """Drawn without replacement with weight `exp(-(delta - c)^2 / (2 s^2))`."""
    return _draw(pool, "gwds", lambda id: _log_gaussian(pool.delta[id], GWDS_CENTRE, GWDS_STD))


def _difficulty(pool: Pool) -> list[str]:
    """Drawn without replacement with a Gaussian weight over the student's IoU (eqs. 30-31)."""
    rule = pool.rule
    place = {id: min(int(pool.sigma[id] * NUM_DENSITY_BINS), NUM_DENSITY_BINS - 1) for id in pool.ids}
    crowd = Counter(place.values())

    def log_weight(id: str) -> float:
        density = math.log(crowd[place[id]]) if rule.density_corrected else 0.0
        return _log_gaussian(pool.sigma[id], rule.difficulty_mean, rule.difficulty_std) - density

    return _draw(pool, "difficulty", log_weight)


def _half_and_half(pool: Pool) -> list[str]:
    """Half with the largest gaps, half at random from the others."""
    half = pool.count - pool.count // 2
    top, rest = pool.rank_by_delta()[:half], pool.rank_by_delta()[half:]
    return top + sorted(rest, key=lambda id: uniform(pool.seed, "random", id))[: pool.count // 2]


def _random(pool: Pool) -> list[str]:
    """Any."""
    return sorted(pool.ids, key=lambda id: uniform(pool.seed, "random", id))[: pool.count]


CHOOSE: Mapping[Strategy, Callable[[Pool], list[str]]] = {
    "top-k": _top_k,
    "dsus": _dsus,
    "bbds": _bbds,
    "gwds": _gwds,
    "difficulty": _difficulty,
    "half-and-half": _half_and_half,
    "random": _random,
}


def _draw(pool: Pool, purpose: str, log_weight: Callable[[str], float]) -> list[str]:
    """`count` draws without replacement, one after another, each in proportion to the weights of what is left.

    The k smallest of exponential waiting times with these rates come in that very order (Efraimidis and Spirakis 2006).
    In logarithms, so that no weight is too small to be drawn; one number per id, so that a draw does not depend on the
    others.
    """
    waiting = {id: math.log(-math.log(uniform(pool.seed, purpose, id))) - log_weight(id) for id in pool.ids}
    return sorted(pool.ids, key=waiting.__getitem__)[: pool.count]


def _log_gaussian(value: float, mean: float, std: float) -> float:
    return -((value - mean) ** 2) / (2 * std**2)
