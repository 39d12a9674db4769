"""Rewards are the one IoU of the one parser; Time-R1's formula by hand."""

from __future__ import annotations

import pytest

from video_opd.data.prompt_templates import TEMPLATES
from video_opd.grounding import REWARDS, best_span, form_reward, parse_answer
from video_opd.types import Example, Span


def example(*spans, duration=20.0) -> Example:
    return Example(id="a", video="a.mp4", query="q", spans=tuple(Span(*s) for s in spans), duration=duration)


def reward(name: str, text: str, *spans, duration=20.0) -> float:
    return REWARDS[name](parse_answer(text), example(*spans, duration=duration))


def test_the_timestamp_aware_iou_by_hand():
    """IoU 3/6; the start is 2 s off and the end 1 s, of 20."""
    assert reward("iou", "4.0 - 9.0 seconds", (6.0, 10.0)) == pytest.approx(3 / 6)
    assert reward("timestamp-iou", "4.0 - 9.0 seconds", (6.0, 10.0)) == pytest.approx(0.5 * (1 - 0.1) * (1 - 0.05))


def test_a_perfect_answer_earns_one_and_no_answer_nothing():
    for name in REWARDS:
        assert reward(name, "6.0 - 10.0 seconds", (6.0, 10.0)) == 1.0
        assert reward(name, "I cannot tell.", (6.0, 10.0)) == 0.0
        assert reward(name, "11.0 - 12.0 seconds", (6.0, 10.0)) == 0.0


def test_an_end_far_beyond_the_video_may_cost():
    """Time-R1 does not clip, and neither do we."""
    assert reward("timestamp-iou", "6.0 - 40.0 seconds", (6.0, 10.0)) < 0


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_an_empty_hull_is_worth_nothing_whatever_came_before(name):
    """Time-R1's published reward keeps the value of the sample before."""
    assert reward(name, "6.0 - 10.0 seconds", (6.0, 10.0)) == 1.0
    assert reward(name, "5.0 - 5.0 seconds", (5.0, 5.0)) == 0.0


def test_of_several_annotated_spans_the_best_counts():
    assert reward("iou", "6.0 - 10.0 seconds", (0.0, 1.0), (6.0, 10.0)) == 1.0
    assert reward("timestamp-iou", "6.0 - 10.0 seconds", (0.0, 1.0), (6.0, 10.0)) == 1.0
    assert best_span((6.0, 9.0), (Span(0, 1), Span(6, 10), Span(8, 9))) == Span(6, 10)
    assert best_span((2.0, 4.0), (Span(5, 6), Span(1, 2), Span(8, 9))) == Span(5, 6)  # of equals the first


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("<think>It opens.</think><answer>The event happens in 1.0 - 2.0 seconds</answer>", 1.0),
        (" <think>\nline\n</think>\n<answer>1 to 2</answer>\n", 1.0),
        ("The event happens in 1.0 - 2.0 seconds", 0.0),
        ("<think>…<answer>1 to 2</answer>", 0.0),
        ("<think>a</think><answer>1 to 2</answer> and more", 0.0),
    ],
)
def test_the_form_of_a_thinking_answer(text, worth):
    assert form_reward(text, TEMPLATES["timelens-think"].form) == worth


def test_the_form_of_the_tiny_long_answer():
    form = TEMPLATES["tiny-long"].form
    assert form_reward(TEMPLATES["tiny-long"].answer_text(Span(1.0, 2.5), (0.0, 1.0, 2.0, 3.0)), form) == 1.0
    assert form_reward("The event happens in 1.0 - 2.5 seconds.", form) == 0.0
