"""What a job has no use for any more leaves the memory of every process: runs that are over, models, readings."""

from __future__ import annotations

import weakref
from typing import Any

from video_opd.policy.ranked_policy import RankedPolicy, free_readings, load_here
from video_opd.ranks import Ranks
from video_opd.train.ranked_learner import forget_part


class RefersToItself:
    """As a model does whose blocks have other forward functions, or whose weights are split."""

    def __init__(self) -> None:
        self.own = self


def test_the_learner_of_a_run_that_is_over_is_let_go():
    kept: dict[str, Any] = {"learner": RefersToItself(), "policy 1": "still used"}
    there = weakref.ref(kept["learner"])
    for _ in range(2):  # before the first run there is none
        forget_part(kept, None)
        assert there() is None
        assert kept == {"policy 1": "still used"}


def test_a_model_that_is_not_used_any_more_is_gone_before_the_next_is_loaded():
    kept: dict[str, Any] = {"policy 1": RefersToItself()}
    there = weakref.ref(kept["policy 1"])

    def load() -> Any:
        assert there() is None
        return "model"

    load_here(kept, ("policy 2", load, (), ["policy 1"]))
    assert kept == {"policy 2": "model"}


def test_readings_of_an_evaluation_are_gone_before_a_step(make_policy, prompts):
    ranks = Ranks(rank=0, size=1)
    ranks.kept["policy"] = make_policy(0)
    policy = RankedPolicy.over(ranks.kept["policy"], "policy", ranks)
    used, unused = policy.read(prompts[:1]), policy.read(prompts[1:2])
    assert set(ranks.kept["readings"]) == {used.number, unused.number}
    del unused
    free_readings(ranks)
    assert set(ranks.kept["readings"]) == {used.number}
