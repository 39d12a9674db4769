"""TimeLens's scorer, lmms-eval's, Time-R1's and TimeChat's: one span per query, and where they part."""

from __future__ import annotations

from dataclasses import replace

import pytest

from video_opd.eval.scorers import ResultAnswer, score_as
from video_opd.types import Span


def scores(scorer, truth, answers):
    return score_as(scorer, truth, answers).scores


def event(start: float, end: float) -> str:
    return f"The event happens in {start} - {end} seconds."


def test_the_same_answers_under_four_rules(truth, answers):
    """Query a: IoU of [0.4, 5.4] with [0, 10] is 0.5 unrounded; rounded to [0, 5] it is 0.5 too. b: 0.3 of [0, 10]."""
    annotated = truth((0, 10), (0, 10), (20, 30), (0, 7))
    given = answers(event(0.4, 5.4), event(0, 3), event(0, 1), event(0.6, 7.4))
    # Rounded half to even: [0, 5], [0, 3], [0, 1], [1, 7].
    assert scores("timelens", annotated, given) == {
        "IOU 0.3": 75.0, "IOU 0.5": 50.0, "IOU 0.7": 25.0,
        "mIOU": pytest.approx(100 * (0.5 + 0.3 + 0 + 6 / 7) / 4, rel=1e-15),
    }  # fmt: skip
    assert scores("lmms-eval-timelens", annotated, given) == {
        "IOU@3": 75.0, "IOU@5": 50.0, "IOU@7": 25.0,
        "mIOU": pytest.approx(100 * (0.5 + 0.3 + 0 + 6.4 / 7.4) / 4, rel=1e-15),
    }  # fmt: skip
    assert scores("timechat", annotated, given) == {"IOU 0.3": 75.0, "IOU 0.5": 50.0, "IOU 0.7": 25.0}
    worded = answers(*(answer.text.replace("-", "to") for answer in given.by_id.values()))
    found = scores("time-r1", annotated, worded)
    assert (found["0.3"], found["0.5"], found["0.7"]) == (50.0, 25.0, 25.0), "strictly more: 0.3 and 0.5 miss"
    assert found["mIoU"] == pytest.approx(100 * (0.5 + 0.3 + 0 + 6.4 / 7.4) / 4)
    assert found["avg"] == pytest.approx((found["mIoU"] + 50 + 25 + 25) / 4)


@pytest.mark.parametrize(
    ("written", "scored"),
    [((2.5, 3.5), (2, 4)), ((0.5, 1.5), (0, 2)), ((0.6, 1.4), (1, 1)), ((4.4999, 9.5001), (4, 10))],
)
def test_timelens_rounds_half_to_even(truth, answers, written, scored):
    start, end = scored
    found = score_as("timelens", truth((0, 20)), answers(event(*written)))
    assert found.scores["mIOU"] == 100 * (end - start) / 20
    assert "half to even" in found.convention.rounding
    exact = score_as("lmms-eval-timelens", truth((0, 20)), answers(event(*written)))
    assert exact.scores["mIOU"] == pytest.approx(100 * (written[1] - written[0]) / 20)


def test_a_file_of_timelens_is_scored_as_it_stands(truth, answers):
    """The stored pair before the text, unrounded; a text alone unrounded; no pair at all IoU 0."""
    annotated = truth((0, 10), (0, 10), (0, 10))
    both = ResultAnswer(text=event(0, 9), spans=(Span(0.0, 2.5), Span(0.0, 10.0)))
    given = answers(both, event(0, 3.5), "no idea", format="timelens")
    found = score_as("timelens", annotated, given)
    assert found.scores["mIOU"] == pytest.approx(100 * (0.25 + 0.35) / 3)
    assert any("1 stored pairs are not whole seconds" in note for note in found.notes)
    assert any("2 rows store no pair" in note for note in found.notes)
    rounded = score_as("timelens", annotated, replace(given, format="lmms-eval"))
    assert rounded.scores["mIOU"] == pytest.approx(100 * (0.9 + 0.4) / 3), "the text, parsed, rounded"


@pytest.mark.parametrize(
    ("given", "prediction", "rounding"),
    [
        ([[(0, 2)], [(0, 3)]], "first stored pair", "rounded to whole seconds"),
        ([event(0, 2.5), event(0, 3.5)], "first pair of the text", "the file stores no pairs"),
        ([[(0, 2)], event(0, 3.5)], "where none is stored, first pair of the text", "only the former were rounded"),
    ],
)
def test_the_convention_says_what_was_done_with_a_file_of_timelens(truth, answers, given, prediction, rounding):
    found = score_as("timelens", truth((0, 10), (0, 10)), answers(*given, format="timelens"))
    assert found.convention.prediction.endswith(prediction)
    assert rounding in found.convention.rounding


def test_only_texts_that_are_scored_are_said_to_be_unread(truth, answers):
    stored = ResultAnswer(text="no idea", spans=(Span(0.0, 2.0),))
    annotated = truth((0, 10), (0, 10))
    found = score_as("timelens", annotated, answers(stored, "no idea", format="timelens"))
    assert "1 of 1 answers hold no span" in " ".join(found.notes)
    found = score_as("timelens", annotated, answers(stored, stored, format="timelens"))
    assert found.notes == ()


def test_an_answer_that_cannot_be_read_stands_after_the_video(truth, answers):
    """TimeLens stores [duration + 10, duration + 20]: an annotation past the end of the video can meet it."""
    annotated = truth((0, 10), (110, 120))
    found = score_as("timelens", annotated, answers("no idea", "no idea"))
    assert found.scores["mIOU"] == 50.0
    assert "2 of 2 answers hold no span" in " ".join(found.notes)
    assert scores("lmms-eval-timelens", annotated, answers("no idea", "no idea"))["mIOU"] == 0


def test_thinking_and_several_pairs(truth, answers):
    text = "<think>from 2 to 4</think><answer>12 to 17</answer>"
    assert scores("timelens", truth((2, 4)), answers(text))["mIOU"] == 100
    assert scores("time-r1", truth((2, 4)), answers(text))["mIoU"] == 0
    assert scores("time-r1", truth((12, 17)), answers(text))["mIoU"] == 100
    assert scores("timelens", truth((2, 4)), answers([(2, 4), (50, 60)]))["mIOU"] == 100
    assert scores("time-r1", truth((2, 4)), answers([(2, 4), (50, 60)]))["mIoU"] == 100, "ranked numbers, no text"
    assert scores("time-r1", truth((2, 4)), answers("2 to 4, 50 to 60"))["mIoU"] == 0


def test_several_annotated_spans_count_by_the_first(truth, answers):
    annotated = truth([(0, 10), (50, 60)])
    for scorer, name in (("timelens", "mIOU"), ("lmms-eval-timelens", "mIOU"), ("time-r1", "mIoU")):
        found = score_as(scorer, annotated, answers([(50, 60)]))
        assert found.scores[name] == 0
        assert "1 queries are annotated with several spans" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("scorer", "crashes"), [("timelens", True), ("lmms-eval-timelens", False), ("time-r1", True), ("timechat", True)]
)
def test_points(truth, answers, scorer, crashes):
    """A hull without length divides by zero in most of them; here it is IoU 0, and said so."""
    found = score_as(scorer, truth((5, 5), (5, 5), (5, 6)), answers([(5, 5)], [(4, 6)], [(5, 5)]))
    assert not any(found.scores.values())
    assert ("1 answers are the same point" in " ".join(found.notes)) == crashes


def test_a_reversed_answer_is_wrong_but_for_timechat(truth, answers):
    given, annotated = answers(event(18, 12)), truth((12, 18))
    assert scores("timelens", annotated, given)["mIOU"] == 0
    assert scores("lmms-eval-timelens", annotated, given)["mIOU"] == 0
    assert scores("time-r1", annotated, answers("18 to 12"))["mIoU"] == 0
    assert scores("timechat", annotated, given)["IOU 0.7"] == 100


def test_a_query_that_is_there_twice_counts_once_with_the_last_answer(truth, answers):
    annotated = truth((0, 10), (0, 10), (20, 30))
    first, second, third = annotated.examples
    twice = replace(annotated, examples=(first, replace(second, video="other/a.mp4", query=first.query), third))
    found = score_as("timelens", twice, answers("0 - 10", "40 - 50", "20 - 30"))
    assert found.scores["mIOU"] == 50.0
    assert "1 rows have the video, query and span of another" in " ".join(found.notes)
    assert score_as("lmms-eval-timelens", twice, answers("0 - 10", "40 - 50", "20 - 30")).scores["mIOU"] == (
        pytest.approx(200 / 3)
    ), "lmms-eval keeps the folder in the key"
    assert scores("timelens", twice, answers("0 - 10", None, "20 - 30"))["mIOU"] == 100, "no row overwrites nothing"
    reversed_file = answers("0 - 10", "40 - 50", "20 - 30")
    reversed_file = replace(reversed_file, by_id=dict(reversed(reversed_file.by_id.items())))
    assert scores("timelens", twice, reversed_file)["mIOU"] == 100


def test_missing_rows_count_as_misses(truth, answers):
    annotated = truth((0, 10), (0, 10))
    for scorer, name in (("timelens", "mIOU"), ("lmms-eval-timelens", "mIOU"), ("timechat", "IOU 0.7")):
        found = score_as(scorer, annotated, answers("0 - 10"))
        assert found.scores[name] == 50
        assert "1 queries have no row in the file" in " ".join(found.notes)
    assert scores("time-r1", annotated, answers("0 to 10"))["mIoU"] == 50


def test_timechat_keeps_an_empty_answer_in_the_denominator(truth, answers):
    found = score_as("timechat", truth((0, 10), (0, 10)), answers("0 - 10", []))
    assert found.scores["IOU 0.3"] == 50
    assert "stays in it" in found.convention.denominator


def test_an_answer_in_another_form_is_noted(truth, answers):
    found = score_as("time-r1", truth((0, 10)), answers(event(0, 10)))
    assert found.scores["mIoU"] == 0
    assert "1 of 1 answers hold no span that this scorer's parser reads; ours finds a span in 1" in found.notes[-1]


def test_lmms_evals_charades_task_puts_a_reversed_pair_in_order(truth, answers):
    reversed_answer = "The event happens in the 30.4 - 24.3 seconds."
    annotated = truth((24.3, 30.4))
    assert score_as("lmms-eval-timelens", annotated, answers(reversed_answer)).scores["mIOU"] == 0
    found = score_as("lmms-eval-charades", annotated, answers(reversed_answer))
    assert found.scores == {"IOU@3": 100, "IOU@5": 100, "IOU@7": 100, "mIOU": 100}
    assert "Charades-STA" in found.convention.parser
