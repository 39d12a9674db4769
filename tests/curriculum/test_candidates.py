"""Anchors and frontier: who is a candidate, how many, and what is refused."""

from __future__ import annotations

import pytest

from video_opd.curriculum import ANCHOR, FRONTIER, CandidateRule, select_candidates
from video_opd.errors import ConfigurationError, DataError

TAU = {"wrong": 0.69, "right": 0.7, "a1": 0.9, "a2": 0.9, "f1": 0.8, "f2": 1.0, "middle": 0.9}
SIGMA = {"right": 0.7, "a1": 0.95, "a2": 1.0, "f1": 0.29, "f2": 0.0, "middle": 0.3}


def test_thresholds_are_passed_by_equality_and_the_middle_is_left_out():
    choice = select_candidates(TAU, SIGMA, CandidateRule(num_anchors=3, num_frontier=2), seed=0)
    kinds = {verdict.id: verdict.kind for verdict in choice.verdicts if verdict.kept}
    assert kinds == {"right": ANCHOR, "a1": ANCHOR, "a2": ANCHOR, "f1": FRONTIER, "f2": FRONTIER}
    assert choice.why["wrong"] == "the teacher's IoU 0.690 is below 0.7"
    assert "neither an anchor's nor a frontier" in choice.why["middle"]
    assert choice.why["f1"] == "frontier: teacher 0.800, student 0.290"


def test_more_than_asked_for_are_drawn_by_the_seed():
    rule = CandidateRule(num_anchors=1, num_frontier=1)
    drawn = {select_candidates(TAU, SIGMA, rule, seed=seed).ids for seed in range(30)}
    assert len(drawn) > 6
    assert all(len(ids) == 2 for ids in drawn)
    mixed = select_candidates(dict(reversed(TAU.items())), SIGMA, rule, seed=3)
    assert mixed.ids == select_candidates(TAU, SIGMA, rule, seed=3).ids
    assert "more candidates of its kind" in " ".join(mixed.why.values())


@pytest.mark.parametrize("seed", range(4))
def test_anchors_and_frontier_come_mixed_also_where_one_kind_is_drawn_from_many(seed):
    """20 of 2000 and 20 of 20: were they ordered by the numbers they are drawn with, the 20 would come first. The mean
    place of 20 in 40 has a standard deviation of 1.8."""
    ids = {ANCHOR: [f"a{i}" for i in range(2000)], FRONTIER: [f"f{i}" for i in range(20)]}
    for many, few in ((ANCHOR, FRONTIER), (FRONTIER, ANCHOR)):
        sigma = {id: float(kind == ANCHOR) for kind, of in ((many, ids[ANCHOR]), (few, ids[FRONTIER])) for id in of}
        order = select_candidates(
            dict.fromkeys(sigma, 1.0), sigma, CandidateRule(num_anchors=20, num_frontier=20), seed
        ).ids
        places = [place for place, id in enumerate(order, start=1) if id.startswith("a")]
        assert len(places) == 20
        assert 13 < sum(places) / 20 < 28


def test_too_few_are_refused_with_how_many_there_are():
    with pytest.raises(ConfigurationError, match="100 anchor examples are asked for, and there are 3 among 7"):
        select_candidates(TAU, SIGMA, CandidateRule(), seed=0)
    with pytest.raises(ConfigurationError, match="3 frontier examples are asked for, and there are 2"):
        select_candidates(TAU, SIGMA, CandidateRule(num_anchors=0, num_frontier=3), seed=0)


def test_a_trusted_example_without_the_students_score_is_refused():
    with pytest.raises(DataError, match="lack 1 of 6"):
        select_candidates(TAU, {id: value for id, value in SIGMA.items() if id != "f2"}, CandidateRule(), seed=0)
