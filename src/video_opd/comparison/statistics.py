"""Means and differences, with what seeds and queries leave open."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

NUM_RESAMPLES = 2000


def mean_and_sd(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation of the sample; 0 for one value."""
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else 0.0}


def over_seeds_and_queries(scores: np.ndarray) -> dict[str, Any]:
    """The mean of (seeds, queries) scores, or of paired differences of scores, with its 95 % interval.

    The bootstrap resamples seeds and queries together. With few seeds it says little about those that were not run, and
    is still wider than one that takes the seeds for all there are.
    """
    num_seeds, num_queries = scores.shape
    rng = np.random.default_rng(0)
    means = [
        scores[np.ix_(rng.integers(num_seeds, size=num_seeds), rng.integers(num_queries, size=num_queries))].mean()
        for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.percentile(means, (2.5, 97.5))
    return {
        "mean": float(scores.mean()),
        "sd_over_seeds": mean_and_sd(scores.mean(axis=1).tolist())["sd"],
        "interval": [float(low), float(high)],
    }
