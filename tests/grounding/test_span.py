import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_opd.grounding import best_iou, temporal_iou
from video_opd.types import Span

# Tenths of a second: what annotations look like, and fine enough that no two different spans round to IoU 1.
tenths = st.integers(0, 3000).map(lambda n: n / 10)
spans = st.tuples(tenths, tenths).map(lambda pair: Span(*sorted(pair)))
any_float = st.floats(allow_nan=True, allow_infinity=True)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 10), (0, 10), 1.0),
        ((0, 10), (5, 10), 0.5),
        ((0, 10), (5, 15), 1 / 3),
        ((0, 10), (2, 4), 0.2),
        ((0, 10), (10, 20), 0.0),  # touching is not overlapping
        ((0, 10), (11, 20), 0.0),
        ((3, 3), (0, 10), 0.0),  # a point inside
        ((3, 3), (3, 3), 0.0),  # a union of no length
        ((0, 0), (5, 5), 0.0),
        ((10, 0), (0, 10), 0.0),  # reversed
        ((0, 10), (10, 0), 0.0),
        ((10, 0), (10, 0), 0.0),
        ((math.nan, 10), (0, 10), 0.0),
        ((0, math.nan), (0, 10), 0.0),
        ((0, math.inf), (0, math.inf), 0.0),
        ((-math.inf, 10), (0, 10), 0.0),
        ((-1e308, 1e308), (-1e308, 1e308), 0.0),  # its length is no float
    ],
)
def test_convention(a: tuple[float, float], b: tuple[float, float], expected: float) -> None:
    assert temporal_iou(a, b) == pytest.approx(expected, abs=1e-15)
    assert temporal_iou(b, a) == temporal_iou(a, b)


def test_takes_spans_tuples_and_lists() -> None:
    assert temporal_iou(Span(0, 4), [0, 8]) == temporal_iou((0, 4), Span(0, 8)) == 0.5
    with pytest.raises(ValueError, match="unpack"):
        temporal_iou((1, 2, 3), (1, 2))


def test_a_degenerate_pair_remembers_nothing() -> None:
    assert temporal_iou((0, 10), (0, 10)) == 1.0
    assert temporal_iou((5, 5), (5, 5)) == 0.0


@given(spans, spans)
def test_symmetric_bounded_and_one_only_for_equals(a: Span, b: Span) -> None:
    iou = temporal_iou(a, b)
    assert iou == temporal_iou(b, a)
    assert 0.0 <= iou <= 1.0
    assert (iou == 1.0) == (a == b and a.end_s > a.start_s)


@given(any_float, any_float, any_float, any_float)
def test_total_and_finite_on_any_floats(a: float, b: float, c: float, d: float) -> None:
    assert 0.0 <= temporal_iou((a, b), (c, d)) <= 1.0


def test_against_counting_cells_of_a_discretised_line() -> None:
    """Every pair of spans on 0..7, judged by counting unit cells instead of by arithmetic on ends."""
    grid = [(start, end) for start in range(8) for end in range(start, 8)]
    for a in grid:
        for b in grid:
            cells_a, cells_b = set(range(*a)), set(range(*b))
            union = cells_a | cells_b
            expected = len(cells_a & cells_b) / len(union) if union else 0.0
            assert temporal_iou(a, b) == expected, (a, b)


def test_best_iou_takes_the_best_matching_annotation() -> None:
    assert best_iou((0, 4), [(10, 12), (0, 8), (0, 5)]) == 0.8
    assert best_iou((0, 4), []) == 0.0
