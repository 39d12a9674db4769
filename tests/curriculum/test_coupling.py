"""Student-curriculum coupling: who is a candidate and why, and which of them a step trains on."""

from __future__ import annotations

import math

import pytest

from video_opd.curriculum import ANCHOR, FRONTIER, CandidateRule, Coupling, select_candidates
from video_opd.errors import ConfigurationError, DataError

TAU = {f"{kind}-{n}": 0.7 for kind in ("anchor", "middle", "frontier") for n in range(4)} | {"wrong": 0.69}
STUDENT = {"anchor": 0.7, "middle": 0.3, "frontier": 0.29}
SIGMA = {id: STUDENT[id.split("-")[0]] for id in TAU if id != "wrong"}


def chosen(*, teacher=TAU, student=SIGMA, seed=0, **rule):
    return select_candidates(teacher, student, CandidateRule(**({"num_anchors": 2, "num_frontier": 3} | rule)), seed)


def test_there_are_as_many_of_each_kind_as_asked_for_and_the_middle_is_left_out():
    selection = chosen()
    kinds = {verdict.id: verdict.kind for verdict in selection.verdicts if verdict.kept}
    assert sorted(kinds.values()) == [ANCHOR] * 2 + [FRONTIER] * 3
    assert all(id.startswith(kind) for id, kind in kinds.items())
    assert [verdict.order for verdict in selection.verdicts[:5]] == [1, 2, 3, 4, 5]
    assert set(selection.passing) == set(SIGMA)


def test_teacher_and_anchor_begin_at_their_threshold_and_the_frontier_ends_before_its_own():
    """At exactly 0.7 and 0.7 one is in; at exactly 0.3 one is not: that is what the tables above are made of."""
    assert len(chosen(num_anchors=4, num_frontier=4).ids) == 8
    with pytest.raises(ConfigurationError, match="5 frontier"):
        chosen(num_frontier=5)
    below = {id: math.nextafter(sigma, 0) for id, sigma in SIGMA.items()}
    assert len(chosen(student=below, num_anchors=0, num_frontier=8).ids) == 8, "0.2999… is frontier"
    with pytest.raises(ConfigurationError, match="1 anchor examples are asked for, and there are 0"):
        chosen(student=below, num_anchors=1)


def test_everybody_is_told_why():
    why = chosen().why
    assert why["wrong"] == "the teacher's IoU 0.690 is below 0.7"
    assert why["middle-0"] == "the student's IoU 0.300 is neither an anchor's nor a frontier example's"
    said = [why[f"anchor-{n}"] for n in range(4)]
    assert said.count("anchor: teacher 0.700, student 0.700") == 2
    assert said.count("more candidates of its kind than asked for") == 2
    assert sum(why[f"frontier-{n}"] == "frontier: teacher 0.700, student 0.290" for n in range(4)) == 3
    assert why.keys() == TAU.keys()


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_the_scores():
    turned = chosen(teacher=dict(reversed(TAU.items())), student=dict(reversed(SIGMA.items())))
    assert turned.ids == chosen().ids
    assert len({chosen(seed=seed).ids for seed in range(10)}) > 5
    assert {id for seed in range(20) for id in chosen(seed=seed).ids} == {
        id for id in SIGMA if not id.startswith("middle")
    }


def test_anchors_and_frontier_are_mixed_in_training_order():
    kinds = {"".join(id[0] for id in chosen(seed=seed).ids) for seed in range(20)}
    assert len(kinds) > 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"num_anchors": 5},
            ConfigurationError,
            "5 anchor examples are asked for, and there are 4 among 13: of 12 that the teacher is right about, "
            "4 are anchor, 4 are frontier. Ask for at most 4",
        ),
        ({"teacher_threshold": 0.8}, ConfigurationError, "2 anchor examples .* there are 0 among 13: of 0 that"),
        ({"student": {"anchor-0": 0.7}}, DataError, "the student's scores lack 11 of 12"),
        ({"student": SIGMA | {"middle-0": math.nan}}, DataError, "the student's scores: nan for 'middle-0'"),
        ({"teacher": TAU | {"wrong": 1.5}}, DataError, "the teacher's scores: 1.5 for 'wrong'"),
    ],
)
def test_what_cannot_be_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        chosen(**arguments)


def test_nobody_is_an_anchor_and_frontier_at_once():
    with pytest.raises(ValueError, match="frontier"):
        CandidateRule(anchor_threshold=0.3, frontier_threshold=0.7)


def test_an_answer_below_the_limit_is_trained_on_and_one_at_it_is_suspended():
    coupling = Coupling(update_below=0.7)
    assert coupling.is_admitted("a", math.nextafter(0.7, 0))
    assert not coupling.is_admitted("a", 0.7)
    assert not coupling.is_admitted("b", 1.0)
    assert coupling.suspended == {"a", "b"}


def test_an_example_that_falls_back_is_reactivated_once():
    coupling = Coupling(update_below=0.7)
    for iou in (0.9, 0.9, 0.1, 0.1):
        coupling.is_admitted("a", iou)
    assert coupling.metrics() == {"active": 2, "suspended": 2, "reactivated": 1}
    assert coupling.metrics() == {"active": 0, "suspended": 0, "reactivated": 0}, "since the last call"


def test_anchors_begin_suspended_so_the_first_fall_of_one_reactivates_it():
    coupling = Coupling(update_below=0.7)
    coupling.begin({"a": ANCHOR, "b": ANCHOR, "c": FRONTIER})
    assert coupling.suspended == {"a", "b"}
    for id, iou in (("a", 0.1), ("b", 0.8), ("c", 0.1), ("c", 0.9)):
        coupling.is_admitted(id, iou)
    assert coupling.metrics() == {
        "active": 2, "suspended": 2, "reactivated": 1,
        "active_anchor": 1, "suspended_anchor": 1, "reactivated_anchor": 1,
        "active_frontier": 1, "suspended_frontier": 1, "reactivated_frontier": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("limit", "admitted"), [(2.0, True), (0.0, False)])
def test_above_1_none_is_suspended_and_at_0_all_are(limit, admitted):
    coupling = Coupling(update_below=limit)
    assert [coupling.is_admitted("a", iou) for iou in (0.0, 0.5, 1.0)] == [admitted] * 3


def test_what_is_suspended_survives_an_interruption():
    coupling = Coupling(update_below=0.7)
    coupling.begin({"a": ANCHOR, "b": ANCHOR})
    coupling.is_admitted("b", 0.1)
    coupling.is_admitted("z", 0.9)
    later = Coupling(update_below=0.7)
    later.begin({"a": ANCHOR, "b": ANCHOR})
    later.load_state_dict(coupling.state_dict())
    assert later.suspended == coupling.suspended == {"a", "z"}
    assert later.state_dict() == coupling.state_dict() == {"suspended": ["a", "z"]}


def test_a_state_of_another_version_is_refused():
    with pytest.raises(ValueError, match="retired"):
        Coupling(update_below=0.7).load_state_dict({"suspended": [], "retired": []})
