"""Intervals that cover what they should."""

from __future__ import annotations

import numpy as np
import pytest

from video_opd.comparison.statistics import mean_and_sd, over_seeds_and_queries


def test_mean_and_sd():
    assert mean_and_sd([1.0, 3.0]) == {"mean": 2.0, "sd": pytest.approx(2**0.5)}
    assert mean_and_sd([1.0]) == {"mean": 1.0, "sd": 0.0}


def test_the_interval_holds_the_mean_and_shrinks_with_queries():
    rng = np.random.default_rng(0)
    few, many = (over_seeds_and_queries(rng.normal(0.3, 0.5, size=(3, count))) for count in (40, 4000))
    for found in (few, many):
        low, high = found["interval"]
        assert low < found["mean"] < high
    assert np.ptp(few["interval"]) > 4 * np.ptp(many["interval"])


def test_seeds_that_disagree_widen_the_interval():
    queries = np.random.default_rng(1).normal(0, 0.1, size=(1, 1000))
    agreed = over_seeds_and_queries(np.repeat(queries, 3, axis=0))
    apart = over_seeds_and_queries(queries + np.array([[-0.3], [0.0], [0.3]]))
    assert apart["sd_over_seeds"] == pytest.approx(0.3, rel=0.05)
    assert np.ptp(apart["interval"]) > 5 * np.ptp(agreed["interval"])


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(60):
        low, high = over_seeds_and_queries(rng.normal(0.0, 1.0, size=(5, 50)))["interval"]
        covered += low <= 0.0 <= high
    assert covered >= 51


def test_it_is_the_same_every_time():
    scores = np.random.default_rng(3).normal(size=(2, 30))
    assert over_seeds_and_queries(scores) == over_seeds_and_queries(scores)
