"""Intervals that cover what they say they cover."""

from __future__ import annotations

import numpy as np
import pytest

from video_opd.compare.estimates import SeedNoise, estimate, mean_and_sd, t_quantile


def test_mean_and_sd():
    assert mean_and_sd([1.0, 3.0]) == {"mean": 2.0, "sd": pytest.approx(2**0.5)}
    assert mean_and_sd([1.0]) == {"mean": 1.0, "sd": 0.0}


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (2, 4.303), (5, 2.571), (7, 2.365), (14, 2.145), (30, 2.042), (10**6, 1.960)]
)
def test_student_t(freedom, quantile):
    assert t_quantile(freedom) == pytest.approx(quantile, abs=0.005)


def draw(rng, num_seeds, *, seed_sd=0.04, queries=None) -> np.ndarray:
    """Scores of one method: queries differ, seeds differ, and each answer has luck of its own."""
    queries = rng.normal(0.6, 0.3, size=400) if queries is None else queries
    luck = rng.normal(0, 0.2, size=(num_seeds, 400))
    return queries + rng.normal(0, seed_sd, size=(num_seeds, 1)) + luck


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_two_methods_that_are_alike_are_seldom_told_apart(num_seeds):
    """Seven methods, all alike; the seeds of a run move its mean as much as they do in the tiny world. A bootstrap over
    seeds and queries said one in four such pairs apart with three seeds."""
    rng = np.random.default_rng(num_seeds)
    apart = 0
    for _ in range(300):
        queries = rng.normal(0.6, 0.3, size=400)
        scores = {str(name): draw(rng, num_seeds, queries=queries) for name in range(7)}
        low, high = estimate(scores["0"] - scores["1"], SeedNoise.from_scores(scores), num_methods=2)["interval"]
        apart += low > 0 or high < 0
    assert 0.005 <= apart / 300 <= 0.09


def test_the_interval_of_one_method_covers_its_truth():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        scores = {str(name): draw(rng, 3) for name in range(7)}
        low, high = estimate(scores["0"], SeedNoise.from_scores(scores))["interval"]
        covered += low <= 0.6 <= high
    assert covered / 300 >= 0.92


def test_a_real_difference_is_found():
    rng = np.random.default_rng(2)
    queries = rng.normal(0.6, 0.3, size=400)
    scores = {str(name): draw(rng, 3, queries=queries) + 0.15 * (name == 0) for name in range(7)}
    low, _ = estimate(scores["0"] - scores["1"], SeedNoise.from_scores(scores), num_methods=2)["interval"]
    assert low > 0


def test_one_seed_has_no_interval_unless_others_tell_of_seeds():
    rng = np.random.default_rng(3)
    alone = {"a": draw(rng, 1), "b": draw(rng, 1)}
    assert estimate(alone["a"], SeedNoise.from_scores(alone))["interval"] is None
    others = alone | {"c": draw(rng, 3)}
    assert estimate(alone["a"], SeedNoise.from_scores(others))["interval"] is not None


@pytest.mark.parametrize("num_queries", [1, 2, 29, 30])
@pytest.mark.parametrize("num_seeds", [1, 2, 3])
@pytest.mark.parametrize("alike", [True, False], ids=["all answers the same", "answers that differ"])
def test_few_queries_have_no_interval_however_many_seeds(num_queries, num_seeds, alike):
    rng = np.random.default_rng(5)
    table = np.full((num_seeds, num_queries), 0.5) if alike else rng.random((num_seeds, num_queries))
    found = estimate(table, SeedNoise.from_scores({"a": table, "b": table}))
    assert (found["interval"] is not None) == (num_queries >= 30 and num_seeds > 1)
    assert (found["num_queries"], found["num_seeds"]) == (num_queries, num_seeds)


def test_two_seeds_of_two_methods_cover():
    """The least that a comparison may have. A difference of the size that seeds make is not told apart more often than
    one time in twenty."""
    rng, apart = np.random.default_rng(6), 0
    for _ in range(400):
        queries = rng.normal(0.6, 0.3, size=400)
        scores = {name: draw(rng, 2, queries=queries) for name in "ab"}
        low, high = estimate(scores["a"] - scores["b"], SeedNoise.from_scores(scores), num_methods=2)["interval"]
        apart += low > 0 or high < 0
    assert apart / 400 <= 0.075


def test_seeds_that_disagree_widen_the_interval():
    rng = np.random.default_rng(4)
    calm, wild = ({"a": draw(rng, 3, seed_sd=sd)} for sd in (0.001, 0.3))
    widths = [np.ptp(estimate(scores["a"], SeedNoise.from_scores(scores))["interval"]) for scores in (calm, wild)]
    assert widths[1] > 3 * widths[0]
