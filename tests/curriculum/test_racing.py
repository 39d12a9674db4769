"""Scoring less: barren strata are given up, fertile ones never, and nothing is lost without a reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_opd.curriculum import Race, RaceRule, RoundPlan
from video_opd.curriculum.racing import binomial_cdf


def raced(pilot: int = 40, min_yield: float = 0.1) -> RaceRule:
    return RaceRule(race=True, race_pilot=pilot, race_min_yield=min_yield)


def strata(**sizes: int) -> dict[str, str]:
    return {f"{name}-{i:04}": name for name, size in sizes.items() for i in range(size)}


def run(race: Race, yields: dict[str, bool]) -> tuple[list[list[str]], dict[str, bool]]:
    stages, passes = [], {}
    while stage := race.next_stage(passes):
        stages.append(list(stage))
        passes |= {id: yields[id] for id in stage}
    return stages, passes


def drawn(pool: dict[str, str], seed: int, **rates: float) -> dict[str, bool]:
    rng = np.random.default_rng(seed)
    return {id: bool(rng.random() < rates[name]) for id, name in pool.items()}


@pytest.mark.parametrize("seed", range(20))
def test_a_barren_stratum_is_given_up_and_a_fertile_one_scored_to_its_end(seed):
    pool = strata(good=200, bad=200)
    race = Race(pool, raced(pilot=32, min_yield=0.2), seed)
    _, passes = run(race, drawn(pool, seed, good=0.5, bad=0.0))
    assert sum(id.startswith("bad") for id in passes) == 32  # the first look is enough for one that yields nothing
    assert sum(id.startswith("good") for id in passes) == 200
    assert set(passes) | set(race.stopped) == set(pool)
    assert not set(passes) & set(race.stopped)
    assert set(race.stopped.values()) == {"0 of the first 32 examples of 'bad' passed the filter"}


def test_the_same_yields_give_the_same_stages_so_that_it_can_go_on():
    pool = strata(a=100, b=70)
    yields = drawn(pool, 1, a=0.3, b=0.05)
    stages, passes = run(Race(pool, raced(pilot=16), 7), yields)
    again = Race(dict(reversed(pool.items())), raced(pilot=16), 7)
    known: dict[str, bool] = {}
    for stage in stages:  # all is known already, as after a kill
        assert list(again.next_stage(passes | known)) == stage
    assert not again.next_stage(passes)


def test_enough_is_enough():
    pool = strata(a=400)
    race = Race(pool, raced(pilot=20, min_yield=0.0), 0, enough=50)
    stages, passes = run(race, drawn(pool, 0, a=0.5))
    assert 50 <= sum(passes.values()) < 70
    assert len(stages) < 9
    assert "50 are enough" in next(iter(race.stopped.values()))


def test_a_pilot_is_a_random_part():
    pool = strata(a=300)
    first = Race(pool, raced(pilot=30), 0).next_stage({})
    assert sorted(first) != sorted(pool)[:30]
    assert first != Race(pool, raced(pilot=30), 1).next_stage({})


@pytest.mark.parametrize(("size", "pilot", "number"), [(400, 35, 500), (2000, 35, 60)])
def test_a_stratum_at_the_limit_is_rarely_given_up_however_often_it_is_looked_at(size, pilot, number):
    """Many strata in one race, each a draw of its own, a tenth of the examples passing."""
    rng = np.random.default_rng(size)
    rule = raced(pilot=pilot, min_yield=0.1)
    names = [f"s{number:04}" for number in range(number)]
    race = Race({f"{name}-{place}": name for name in names for place in range(size)}, rule, 0)
    yields: dict[str, bool] = {}
    for name in names:
        yields |= {f"{name}-{place}": bool(good) for place, good in enumerate(rng.random(size) < 0.1)}
    while race.next_stage(yields):
        pass
    given_up = {id.split("-")[0] for id in race.stopped}
    assert len(given_up) / number <= 0.05


def share_given_up(rule: RaceRule, size: int, share: float, rng: np.random.Generator, *, finite: bool) -> float:
    """Of 10,000 draws of one stratum.

    Args:
        finite: the stratum has exactly this share of passing examples; else each passes with this probability.
    """
    left, remaining = np.full(10_000, round(size * share)), size
    passed, given_up = np.zeros(10_000, int), np.zeros(10_000, bool)
    for seen in range(rule.race_pilot, size, rule.race_pilot):
        if finite:
            new = rng.hypergeometric(left, remaining - left, rule.race_pilot)
            left, remaining = left - new, remaining - rule.race_pilot
        else:
            new = rng.binomial(rule.race_pilot, share, 10_000)
        passed += new
        most = next((most for most in range(seen + 1) if not rule.is_given_up(most, seen)), seen + 1)
        given_up |= passed < most
    return float(given_up.mean())


@pytest.mark.parametrize("finite", [False, True])
@pytest.mark.parametrize("pilot", [35, 40, 100])
@pytest.mark.parametrize("size", [80, 400, 4000])
def test_at_most_one_in_twenty_is_given_up_that_yields_enough(size, pilot, finite):
    """At the limit and above it. Clearly below it, a large stratum is always given up."""
    rng = np.random.default_rng(size + pilot)
    rule = raced(pilot=pilot)
    for share in (0.1, 0.12, 0.2):
        assert share_given_up(rule, size, share, rng, finite=finite) <= 0.05
    if size == 4000:
        assert share_given_up(rule, size, 0.05, rng, finite=finite) > 0.999


@pytest.mark.parametrize("min_yield", [0.02, 0.1, 0.5, 0.9, 1.0])
def test_the_bound_holds_exactly_in_every_small_stratum(min_yield):
    """Without replacement: the chances of being given up at any look, summed, for each number of passing examples."""
    for size in (5, 12, 33, 60):
        for pilot in (1, 3, 8):
            rule = raced(pilot=pilot, min_yield=min_yield)
            for good in range(math.ceil(size * min_yield), size + 1):
                chance = sum(
                    math.comb(good, passed) * math.comb(size - good, seen - passed) / math.comb(size, seen)
                    for seen in range(pilot, size, pilot)
                    for passed in range(seen + 1)
                    if rule.is_given_up(passed, seen)
                )
                assert chance <= rule.error


def test_the_chance_of_so_few_is_the_binomial_one():
    for seen, share in ((1, 0.3), (40, 0.1), (40, 0.9), (300, 0.02), (1000, 0.5)):
        mean = seen * share
        for passed in {0, int(mean / 2), math.ceil(mean) - 1}:
            terms = (math.comb(seen, n) * share**n * (1 - share) ** (seen - n) for n in range(passed + 1))
            assert binomial_cdf(passed, seen, share) == pytest.approx(math.fsum(terms), rel=1e-9)
    assert binomial_cdf(0, 10**6, 0.5) == 0.0  # too small for a float, and no error
    assert binomial_cdf(5, 10, 0.0) == binomial_cdf(10, 10, 1.0) == binomial_cdf(9, 10, 0.1) == 1.0
    assert binomial_cdf(9, 10, 1.0) == 0.0


def test_the_first_look_is_enough_for_what_yields_nothing():
    rule = raced()
    assert rule.is_given_up(0, rule.race_pilot)
    assert not raced(pilot=35).is_given_up(0, 35)
    assert raced(pilot=36).is_given_up(0, 36)
    assert not raced(pilot=40, min_yield=0.0).is_given_up(0, 40)  # no limit, nothing below it


@given(st.integers(1, 9), st.integers(0, 60))
def test_rounds_share_the_steps_out_evenly_and_leave_none_out(num_rounds, extra):
    plan = RoundPlan(num_rounds=num_rounds, total_steps=num_rounds + extra)
    sizes = [plan.end(r) - plan.first_step(r) for r in range(1, num_rounds + 1)]
    assert sum(sizes) == plan.total_steps
    assert max(sizes) - min(sizes) <= 1
    assert (plan.first_step(1), plan.end(num_rounds)) == (0, plan.total_steps)
    for step in range(plan.total_steps):
        round = plan.round_at(step)
        assert plan.first_step(round) <= step < plan.end(round)
    assert plan.round_at(plan.total_steps) == num_rounds + 1


def test_more_rounds_than_steps_cannot_be():
    with pytest.raises(ValueError, match="2 steps in 3 rounds"):
        RoundPlan(num_rounds=3, total_steps=2)


def test_a_race_is_named_in_the_header_of_its_scores_as_it_always_was():
    """Scores of another race are other scores, and those of an earlier version go on."""
    assert str(Race({}, raced(), 0)) == "RaceRule(pilot=40, min_yield=0.1, error=0.05, enough=None)"
    only_enough = RaceRule(race_pilot=7, race_min_yield=0.3)
    assert str(Race({}, only_enough, 0, enough=50)) == "RaceRule(pilot=7, min_yield=0.0, error=0.05, enough=50)"
