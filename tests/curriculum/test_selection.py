"""The filter, the reasons, and what is refused."""

from __future__ import annotations

import math

import pytest
from selecting import select_by

from video_opd.errors import ConfigurationError, DataError

TAU = {"a": 0.9, "b": 0.7, "c": 0.69, "d": 1.0}
SIGMA = {"a": 0.1, "b": 0.2, "c": 0.0, "d": 0.9}


def chosen(teacher=TAU, student=SIGMA, **changes):
    asked = {"strategy": "top-k", "count": 2, "threshold": 0.7, "seed": 0}
    return select_by(teacher, student, **(asked | changes))


def test_the_threshold_is_passed_by_equality_and_every_id_has_a_reason():
    choice = chosen()
    assert choice.ids == ("a", "b")
    assert choice.passing == ("a", "b", "d")
    assert choice.why["a"] == "1 of 2 chosen by top-k of 3"
    assert choice.why["c"] == "the teacher's reliability 0.690 is below 0.7"
    assert choice.why["d"] == "not among the 2 chosen by top-k of 3"
    by_id = {verdict.id: verdict for verdict in choice.verdicts}
    assert (by_id["b"].tau, by_id["b"].sigma, by_id["b"].delta) == (0.7, 0.2, pytest.approx(0.5))
    assert (by_id["b"].order, by_id["b"].kept, by_id["c"].kept) == (2, True, False)


def test_the_student_need_not_be_scored_where_the_teacher_fails():
    assert chosen(student={id: SIGMA[id] for id in "abd"}).ids == ("a", "b")
    with pytest.raises(DataError, match=r"the student's scores lack 1 of 3 examples, such as 'b'"):
        chosen(student={"a": 0.1, "d": 0.9})


def test_no_threshold_keeps_all():
    assert chosen(threshold=0, count=4).ids == ("a", "c", "b", "d")


def test_another_reliability_and_another_disagreement():
    assert set(chosen(reliability={"a": 0.0, "b": 1.0, "c": 1.0, "d": 1.0}, count=3).ids) == {"b", "c", "d"}
    assert chosen(student=None, disagreement={"a": 3.0, "b": 1.0, "c": 9.0, "d": 7.5}).ids == ("d", "a")


@pytest.mark.parametrize("strategy", ["random", "difficulty"])
def test_some_strategies_need_less(strategy):
    if strategy == "random":
        assert len(chosen(student=None, strategy="random").ids) == 2
    else:
        assert len(chosen(teacher=None, strategy="difficulty", threshold=0).ids) == 2


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"count": 4}, ConfigurationError, r"count = 4, and 3 of 4 examples are left at threshold 0.7.*at most 3"),
        (
            {"threshold": 1.0, "teacher": TAU | {"d": 0.9}},
            ConfigurationError,
            r"0 of 4 .*Lower the threshold",
        ),
        ({"threshold": 1.1}, ConfigurationError, r"threshold = 1\.1: input should be less than or equal to 1"),
        ({"count": 0}, ConfigurationError, "count = 0"),
        ({"threshold": math.nan}, ConfigurationError, "threshold = nan"),
        ({"strategy": "best"}, ConfigurationError, "strategy = 'best'.*'top-k', 'dsus'"),
        ({"teacher": None, "strategy": "difficulty"}, ConfigurationError, "without scores of a teacher"),
        ({"teacher": {}}, DataError, "no scores"),
        ({"teacher": TAU | {"a": math.nan}}, DataError, "the teacher's scores: nan for 'a'"),
        ({"student": SIGMA | {"a": math.nan}}, DataError, "the student's scores: nan for 'a'"),
        ({"teacher": TAU | {"a": 1.2}}, DataError, "1.2 for 'a'"),
        ({"student": SIGMA | {"a": -0.1}}, DataError, "-0.1 for 'a'"),
        ({"student": SIGMA | {"z": 0.5}}, DataError, "'z'.*different manifests"),
        ({"student": None}, DataError, "the student's scores lack 3 of 3"),
        ({"reliability": {"a": 1.0}}, DataError, "lack 3 of 4"),
        ({"student": None, "disagreement": {"a": 1.0}}, DataError, "2 of 3 examples have no disagreement"),
        ({"student": None, "disagreement": dict.fromkeys("abcd", math.inf)}, DataError, "no disagreement"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused_with_the_reason(changes, kind, message):
    with pytest.raises(kind, match=message):
        chosen(**changes)
