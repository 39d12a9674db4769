"""A front-loaded schedule: how many examples each step gets, and which."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from video_opd.config import CouplingSettings
from video_opd.curriculum import ANCHOR, FRONTIER, FrontLoadingRule, spread_candidates

SCC = FrontLoadingRule(schedule="front-loaded", last_repeats=4)


def candidates(num_anchors: int, num_frontier: int) -> dict[str, str]:
    """Mixed as by a draw: every tenth is an anchor."""
    ids = [f"a{n}" for n in range(num_anchors)] + [f"f{n}" for n in range(num_frontier)]
    mixed = sorted(ids, key=lambda id: (int(id[1:]) * (9 if id[0] == "a" else 1), id))
    return {id: ANCHOR if id[0] == "a" else FRONTIER for id in mixed}


def rule(*points: tuple[float, float], repeats: int | None = None) -> FrontLoadingRule:
    return FrontLoadingRule(schedule="front-loaded", profile=points, last_repeats=repeats)


def test_the_parts_of_a_run_have_the_presentations_of_scc():
    sizes = SCC.size_steps(79, 1000)
    assert [sum(sizes[part]) for part in (slice(20), slice(20, 40), slice(40, 59), slice(59, 79))] == [
        534,
        307,
        116,
        47,
    ]
    assert sum(sizes) == 1004
    assert sizes[0] == max(sizes) == 32
    assert sizes[-6:] == [1, 1, 1, 1, 1, 5]
    assert min(sizes) == 1


def test_every_candidate_comes_once_and_four_frontier_examples_once_more_at_the_end():
    kinds = candidates(100, 900)
    steps = spread_candidates(kinds, SCC.size_steps(79, 1000), 4)
    shown = Counter(id for step in steps for id in step)
    assert shown.keys() == kinds.keys()
    again = {id for id, times in shown.items() if times == 2}
    assert len(again) == 4
    assert again == set(steps[-1][1:])
    assert {kinds[id] for id in again} == {FRONTIER}
    assert sum(shown.values()) == 1004
    assert [len(step) for step in steps] == SCC.size_steps(79, 1000)


def test_anchors_are_a_tenth_of_every_step_as_near_as_whole_numbers_allow():
    kinds = candidates(100, 900)
    steps = spread_candidates(kinds, SCC.size_steps(79, 1000), 4)
    unique = [*steps[:-1], steps[-1][:-4]]
    done = num_anchors = 0
    for step in unique:
        here = sum(kinds[id] == ANCHOR for id in step)
        assert abs(here - len(step) / 10) < 1
        done, num_anchors = done + len(step), num_anchors + here
        assert abs(num_anchors - done / 10) <= 0.5
    assert num_anchors == 100


def test_the_schedule_depends_on_the_order_of_the_draw_alone():
    kinds = candidates(10, 90)
    sizes = SCC.size_steps(20, 100)
    assert spread_candidates(kinds, sizes, 4) == spread_candidates(dict(kinds), sizes, 4)
    assert spread_candidates(dict(reversed(kinds.items())), sizes, 4) != spread_candidates(kinds, sizes, 4)


def test_by_hand():
    """The shares of four steps are .75, .5, .25 and .25, together 1.75. Of 7 presentations the first steps have 3, 5, 6
    and 7; of 8 they have 3.43, 5.71, 6.86 and 8, rounded up 4, 6, 7 and 8, and the repeat moves from step 2 to 4."""
    points = ((0, 1), (0.75, 0.25), (1, 0.25))
    assert rule(*points).size_steps(4, 7) == [3, 2, 1, 1]
    assert rule(*points, repeats=1).size_steps(4, 7) == [4, 1, 1, 2]
    steps = spread_candidates({"a": ANCHOR, **{f"f{n}": FRONTIER for n in range(6)}}, [4, 1, 1, 2], 1)
    assert steps == [["a", "f0", "f1", "f2"], ["f3"], ["f4"], ["f5", "f0"]]


def test_a_flat_profile_gives_equal_batches_without_rounding_errors():
    assert rule((0, 0.1), (1, 0.1)).size_steps(30, 90) == [3] * 30


@pytest.mark.parametrize("candidate_counts", [(0, 7), (7, 0)])
def test_one_kind_alone(candidate_counts):
    kinds = candidates(*candidate_counts)
    steps = spread_candidates(kinds, [3, 2, 2], 0)
    assert [id for step in steps for id in step] == list(kinds)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"last_repeats": 4}, "curriculum.last_repeats is for a front-loaded schedule"),
        ({"profile": [[0, 1], [1, 0.5]]}, "curriculum.profile is for a front-loaded schedule"),
        ({"schedule": "front-loaded", "profile": []}, "begin at 0"),
        ({"schedule": "front-loaded", "profile": [[0, 1], [0.5, 0.5]]}, "end at 1"),
        ({"schedule": "front-loaded", "profile": [[0, 1], [0.5, 1], [0.5, 0], [1, 0]]}, "later than the one before"),
        ({"schedule": "front-loaded", "profile": [[0, 0], [1, 0]]}, "0 everywhere"),
        ({"schedule": "front-loaded", "num_frontier": 3, "last_repeats": 4}, "repeat at most as many as there are"),
    ],
)
def test_what_does_not_fit_is_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        CouplingSettings(name="scc", **settings)


def test_a_step_that_would_be_empty_gets_an_example_of_the_last_step_with_several():
    """6 examples on shares .75, .5, .25, .125, .125, together 1.75: cumulative 2.57, 4.29, 5.14, 5.57 and 6, rounded up
    3, 5, 6, 6, 6. The two empty steps take one each of step 2 and step 1; a repeat takes one more of step 1."""
    points = ((0, 1), (0.2, 0.75), (0.4, 0.5), (0.6, 0.25), (0.8, 0.125), (1, 0.125))
    assert rule(*points).size_steps(5, 6) == [2, 1, 1, 1, 1]
    assert rule(*points, repeats=1).size_steps(5, 5) == [1, 1, 1, 1, 2]


def test_fewer_examples_than_steps_are_refused():
    with pytest.raises(ValueError, match="every step needs one of its own"):
        rule((0, 1), (1, 0.5)).size_steps(5, 4)


def test_a_recipe_that_says_uniform_has_no_schedule_whatever_its_base_says():
    settings = CouplingSettings(name="scc", schedule="uniform", last_repeats=4, last_full_batch=8)
    assert not settings.is_front_loaded
    assert settings.num_repeats == 0
