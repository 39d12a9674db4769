"""Scoring less: barren strata are given up, fertile ones never, and nothing is lost without a reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_opd.curriculum import Race, RaceRule, RoundPlan
from video_opd.curriculum.racing import upper_bound


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
    race = Race(pool, RaceRule(pilot=32, min_yield=0.2), seed)
    _, passes = run(race, drawn(pool, seed, good=0.5, bad=0.0))
    assert sum(id.startswith("bad") for id in passes) == 32  # the first look is enough for one that yields nothing
    assert sum(id.startswith("good") for id in passes) == 200
    assert set(passes) | set(race.stopped) == set(pool)
    assert not set(passes) & set(race.stopped)
    assert set(race.stopped.values()) == {"0 of the first 32 examples of 'bad' passed the filter"}


def test_the_same_yields_give_the_same_stages_so_that_it_can_go_on():
    pool = strata(a=100, b=70)
    yields = drawn(pool, 1, a=0.3, b=0.05)
    stages, passes = run(Race(pool, RaceRule(pilot=16), 7), yields)
    again = Race(dict(reversed(pool.items())), RaceRule(pilot=16), 7)
    known: dict[str, bool] = {}
    for stage in stages:  # all is known already, as after a kill
        assert list(again.next_stage(passes | known)) == stage
    assert not again.next_stage(passes)


def test_enough_is_enough():
    pool = strata(a=400)
    race = Race(pool, RaceRule(pilot=20, min_yield=0.0, enough=50), 0)
    stages, passes = run(race, drawn(pool, 0, a=0.5))
    assert 50 <= sum(passes.values()) < 70
    assert len(stages) < 9
    assert "50 are enough" in next(iter(race.stopped.values()))


def test_a_pilot_is_a_random_part():
    pool = strata(a=300)
    first = Race(pool, RaceRule(pilot=30), 0).next_stage({})
    assert sorted(first) != sorted(pool)[:30]
    assert first != Race(pool, RaceRule(pilot=30), 1).next_stage({})


def test_the_upper_bound_covers_the_truth():
    rng = np.random.default_rng(0)
    below = [upper_bound(int(rng.binomial(40, 0.2)), 40) < 0.2 for _ in range(4000)]
    assert np.mean(below) < 0.045  # one side of 95 %
    assert upper_bound(0, 32) == pytest.approx(0.107, abs=0.001)
    assert upper_bound(0, RaceRule().pilot) < RaceRule().min_yield  # the first look at what yields nothing is enough


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
