"""What several answers say, and how far to trust it: by hand, and against simulations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from video_opd.curriculum import (
    ScoredAnswer,
    ScoredExample,
    error_variance,
    profile,
    reliability_of_gap,
    split_half_reliability,
)
from video_opd.types import Span

FIRST, MIDDLE = Span(0, 1), Span(2, 4)


def answer(iou: float, *, sampled: bool = True, span: Span | None = FIRST, **more) -> ScoredAnswer:
    return ScoredAnswer(**{"text": "", "span": span, "iou": iou, "logprob": -1.0, "num_tokens": 4, "sampled": sampled}
                        | more)  # fmt: skip


def row(id: str, *answers: ScoredAnswer, span: Span = MIDDLE, duration: float = 10.0, source: str = "s"):
    return ScoredExample(id=id, spans=(span,), duration=duration, source=source, answers=answers)


def test_the_mean_counts_every_answer():
    assert row("a", answer(1.0, sampled=False), answer(0.5), answer(0.0)).mean_iou == 0.5


def test_agreement_is_among_the_answers_and_reads_no_annotation():
    spans = [Span(0, 2), Span(0, 4), Span(4, 6)]  # IoU 0.5, 0, 0
    assert row("a", *(answer(0.0, span=span) for span in spans)).agreement == pytest.approx(0.5 / 3)
    assert row("a", answer(0, span=Span(1, 2)), answer(0, span=None)).agreement == 0.0
    assert row("a", answer(0, span=Span(1, 2))).agreement == 1.0
    assert row("a", answer(0, span=None)).agreement == 0.0


def test_reverse_kl_is_summed_along_the_answer_or_per_token():
    example = row("a", answer(0, sampled=False), answer(0, reverse_kl=8.0), answer(0, reverse_kl=2.0, num_tokens=2))
    assert example.reverse_kl() == 5.0
    assert example.reverse_kl(per_token=True) == pytest.approx((2.0 + 1.0) / 2)
    assert row("a", answer(0)).reverse_kl() is None


@pytest.mark.parametrize("draws", [2, 3, 4, 7])
def test_split_half_reliability_is_that_of_the_mean(draws):
    """True scores of variance 1, errors of variance 4: the mean of n draws has reliability 1 / (1 + 4 / n)."""
    rng = np.random.default_rng(draws)
    true = rng.normal(0, 1, 6000)
    rows = [
        row(f"e{i}", answer(9.0, sampled=False), *(answer(float(x)) for x in value + rng.normal(0, 2, draws)))
        for i, value in enumerate(true)
    ]
    assert split_half_reliability(rows) == pytest.approx(1 / (1 + 4 / draws), abs=0.04)


def test_reliability_is_unknown_where_nothing_can_tell():
    for few in range(5):  # of two rows a correlation is 1 or -1, whatever they are
        assert split_half_reliability([row(str(i), answer(i / 9), answer(i / 8)) for i in range(few)]) is None
    assert split_half_reliability([row(str(i), answer(i / 9), answer(i / 8)) for i in range(5)]) == pytest.approx(1)
    assert split_half_reliability([]) is None
    assert split_half_reliability([row("a", answer(0.3)), row("b", answer(0.9))]) is None  # one draw each
    assert split_half_reliability([row(str(i), answer(0.5), answer(0.5)) for i in range(9)]) is None  # all alike
    noise = [row(str(i), answer(float(i % 2)), answer(float(i // 2 % 2))) for i in range(8)]
    assert split_half_reliability(noise) == 0.0


def test_reliability_of_a_gap_counts_both_errors():
    """tau and sigma of variance 1 each, independent; errors of variance 0.5 and 2: gap 2 of 4.5."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1, (2, 20000))
    errors = np.array([[0.5], [2.0]]) ** 0.5 * rng.normal(0, 1, true.shape)
    seen = true + errors
    gaps = (seen[0] - seen[1]).tolist()
    assert reliability_of_gap(gaps, 0.5, 2.0) == pytest.approx(2 / 4.5, abs=0.02)
    assert reliability_of_gap(gaps, None, 2.0) == pytest.approx(2.5 / 4.5, abs=0.02)  # tau taken as exact
    assert reliability_of_gap(gaps, 5.0, 5.0) == 0.0
    assert reliability_of_gap([1.0], None, 1.0) is None
    assert reliability_of_gap([1.0, 1.0], None, 1.0) is None


def test_an_answer_without_a_span_agrees_with_none():
    """Of three pairs one agrees; two answers that both name nothing do not agree either."""
    assert row("a", answer(1), answer(1), answer(0, span=None)).agreement == pytest.approx(1 / 3)
    assert row("a", answer(0, span=None), answer(0, span=None)).agreement == 0.0
    half = Span(0, 2)  # IoU with 0 - 1: a half
    assert row("a", answer(1), answer(1, span=half), answer(0, span=None)).agreement == pytest.approx(0.5 / 3)


def test_a_profile_is_of_the_first_annotated_span():
    several = ScoredExample(id="a", spans=(Span(1, 2), Span(6, 9)), duration=10.0, source="s", answers=(answer(1),))
    found = profile([several])
    assert (found.start_s, found.start_share, found.length_s) == (1.0, 0.1, 1.0)


def test_the_reliability_of_few_gaps_by_hand():
    """Two gaps of pure error e differ by 2 e in the mean square, so the square is shared out over n - 1 = 1: the
    variance of 0 and 1 is a half, and an error of a half leaves nothing."""
    assert reliability_of_gap([0.0, 1.0], 0.25, 0.25) == 0.0
    assert reliability_of_gap([0.0, 1.0], 0.125, 0.125) == pytest.approx(0.5)
    assert reliability_of_gap([0.0, 1.0, 2.0], 0.125, 0.125) == pytest.approx(0.75)


@pytest.mark.parametrize("draws", [2, 3, 7])
def test_the_greedy_answer_is_no_draw_and_halves_no_error(draws):
    """One greedy answer and n draws with errors of variance 4: the mean has an error of 4 n / (n + 1)^2. The greedy
    answers spread as they like, and those with no draws at all have no such error."""
    rng = np.random.default_rng(draws)
    rows = [
        row(f"e{i}", answer(float(greedy), sampled=False), *(answer(float(x)) for x in value + rng.normal(0, 2, draws)))
        for i, (greedy, value) in enumerate(rng.normal(0, [5, 1], (6000, 2)))
    ]
    expected = 4 * draws / (draws + 1) ** 2
    assert error_variance(rows) == pytest.approx(expected, rel=0.05)
    skipped = [row(f"s{i}", answer(float(i % 9), sampled=False)) for i in range(6000)]
    assert error_variance(rows + skipped) == pytest.approx(expected / 2, rel=0.05)


def test_the_error_variance_is_that_of_the_mean():
    rng = np.random.default_rng(1)
    rows = [
        row(f"e{i}", *(answer(float(x)) for x in value + rng.normal(0, 2, 4)))
        for i, value in enumerate(rng.normal(0, 1, 6000))
    ]
    assert error_variance(rows) == pytest.approx(4 / 4, rel=0.1)
    assert error_variance([row("a", answer(0.3)), row("b", answer(0.9))]) is None


def test_a_profile_says_where_how_long_and_whence():
    rows = [row("a", answer(1)), row("b", answer(1), span=Span(6, 7), duration=20.0, source="t")]
    found = profile(rows)
    assert (found.num_examples, found.start_s, found.length_s, found.duration_s) == (2, 4.0, 1.5, 15.0)
    assert found.start_share == pytest.approx((0.2 + 0.3) / 2)
    assert found.sources == {"s": 0.5, "t": 0.5}
