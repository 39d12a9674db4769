"""Means and differences, with their uncertainty over seeds and queries."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from video_opd.sample_size import MIN_QUERIES

_NORMAL = 1.959964
"""Two-sided 95 % quantile of the normal distribution."""


def mean_and_sd(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation of the sample; 0 for one value."""
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else 0.0}


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """How much the mean of a run's scores changes with its seed, pooled over methods that ran with several.

    Three seeds of one method say next to nothing about their spread, and an interval from them alone covers the truth
    far less often than it claims. Seven methods of three seeds have fourteen degrees of freedom between them.
    """

    variance: float
    """Of the mean score of one run."""
    degrees_of_freedom: int

    @classmethod
    def from_scores(cls, scores: Mapping[str, np.ndarray]) -> SeedNoise:
        """From (seeds, queries) scores by method."""
        several = [table.mean(axis=1) for table in scores.values() if len(table) > 1]
        freedom = sum(len(means) - 1 for means in several)
        squares = sum(float(((means - means.mean()) ** 2).sum()) for means in several)
        return cls(variance=squares / freedom if freedom else math.nan, degrees_of_freedom=freedom)

    def reach(self, num_runs: int) -> float:
        """Half of the 95 % interval of a sum of run means, each over `num_runs` runs; infinite without any spread to
        judge by."""
        if not self.degrees_of_freedom:
            return math.inf
        return t_quantile(self.degrees_of_freedom) * math.sqrt(self.variance / num_runs)


def estimate(scores: np.ndarray, noise: SeedNoise, *, num_methods: int = 1) -> dict[str, Any]:
    """The mean of (seeds, queries) scores, or of paired differences of scores, with its 95 % interval.

    The interval adds two independent parts in squares: which queries were asked (normal, over queries) and which seeds
    were run (Student's t, pooled).

    Args:
        num_methods: how many methods' seeds are in a score: 1 for a method, 2 for a difference of two.

    Returns:
        `mean`, `sd_over_seeds`, `interval`, `num_queries`, `num_seeds`. The interval is None with fewer than
        `MIN_QUERIES` queries, and where there is one seed and nothing to judge it by. Two seeds of two methods give
        one: with two degrees of freedom it is wide, and it covers.
    """
    num_seeds, num_queries = scores.shape
    mean = float(scores.mean())
    per_query = scores.mean(axis=0)
    enough = num_queries >= MIN_QUERIES
    queries = _NORMAL * float(per_query.std(ddof=1)) / math.sqrt(num_queries) if enough else math.inf
    half = math.hypot(queries, noise.reach(num_seeds) * math.sqrt(num_methods))
    return {
        "mean": mean,
        "sd_over_seeds": mean_and_sd(scores.mean(axis=1).tolist())["sd"],
        "interval": [mean - half, mean + half] if math.isfinite(half) else None,
        "num_queries": num_queries,
        "num_seeds": num_seeds,
    }


def t_quantile(degrees_of_freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t: the Cornish-Fisher expansion (Abramowitz and Stegun, 26.7.5), and exact
    values where it does not hold yet."""
    exact = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764}
    if degrees_of_freedom in exact:
        return exact[degrees_of_freedom]
    z, v = _NORMAL, degrees_of_freedom
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / v + second / v**2 + third / v**3
