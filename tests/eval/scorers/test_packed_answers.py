"""Packed answers are judged by our rules, and looked at for their unit as they stand."""

from video_opd.eval.scorers._packed_answers import PackedAnswers
from video_opd.grounding import GivenAnswer
from video_opd.grounding.packed_examples import PackedExamples
from video_opd.types import Example, Span


def test_spans_as_they_stand_do_not_change_the_judged_ones() -> None:
    rows = [Example(id=id, video="a.mp4", query="it opens", spans=(Span(1.0, 2.0),), duration=9.0) for id in "abcd"]
    answers = PackedAnswers(PackedExamples.of(rows))
    answers.add(0, 1, GivenAnswer(text="From 20% to 40%."))
    answers.add(1, 2, GivenAnswer(spans=(Span(9.0, 2.0), Span(1.0, 3.0))))
    answers.add(3, 3, GivenAnswer(text="4 - 9 s"))
    as_they_stand = answers.find_first_bare_spans()
    assert as_they_stand.spans_s.tolist() == [[20.0, 40.0], [9.0, 2.0], [0.0, 0.0], [4.0, 9.0]]
    assert as_they_stand.is_named.tolist() == [True, True, False, True]
    judged = answers.first_spans
    assert judged.spans_s.tolist() == [[0.0, 0.0], [1.0, 3.0], [0.0, 0.0], [4.0, 9.0]]
    assert judged.is_named.tolist() == [False, True, False, True]
    assert judged.is_given.tolist() == [True, True, False, True]
