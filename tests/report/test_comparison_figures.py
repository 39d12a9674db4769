import re

import pytest

from video_opd.report.comparison.comparison_figures import Strip
from video_opd.report.curves import Series, draw_curves, draw_key, spread
from video_opd.report.figures import ReferenceLine, choose_unit


def test_zero_is_on_the_scale_of_differences_whatever_they_are() -> None:
    for ends in ([0.2, 0.3], [-0.3, -0.2], [0.0, 0.0]):
        strip = Strip.enclose(ends)
        assert strip.low < min(ends) <= max(ends) < strip.high
        assert strip.low < 0 < strip.high
    assert Strip.enclose([-0.1, 0.3]).draw_scale().count("<text") >= 3
    assert "−0.1" in Strip.enclose([-0.1, 0.3]).draw_scale()


def test_lines_bands_and_rules_lie_where_the_numbers_say() -> None:
    series = [Series(name="opd", number=0, points=[(0.0, 0.0), (10.0, 1.0)], band=[(0.0, 0.0, 0.5), (10.0, 0.5, 1.0)])]
    image = draw_curves("t", series, x_unit="min")
    # 480 x 310 less the margins: 48 left, 20 right, 14 above, 26 below
    assert 'class="line s0" d="M48.0 284.0L460.0 14.0"' in image
    assert 'class="span s0" d="M48.0 284.0L460.0 149.0L460.0 14.0L48.0 149.0Z"' in image
    assert ">min</text>" in image
    assert "<title>opd, 10 min: 1.000</title>" in image


def test_the_label_of_a_rule_stands_where_no_line_is() -> None:
    def label_of(points: list[tuple[float, float]]) -> str:
        image = draw_curves(
            "t", [Series(name="opd", number=0, points=points, band=[])], rules=[ReferenceLine(0.5, "target", "target")]
        )
        found = re.search(r'<text class="(\w+)" x="[\d.]+" y="([\d.]+)">target', image)
        assert found is not None
        return f"{found[1]}, {'above' if float(found[2]) < 149 else 'below'}"  # the rule is half way from 14 to 284

    assert label_of([(0.0, 0.0), (10.0, 1.0)]) == "start, above"
    assert label_of([(0.0, 1.0), (0.1, 0.51), (2.0, 0.51), (10.0, 0.0)]) == "start, below"
    assert label_of([(0.0, 0.0), (0.1, 1.0), (0.2, 0.0), (10.0, 0.0)]) == "end, above"
    assert label_of([(0.0, 1.0), (0.1, 0.0), (9.0, 0.51), (10.0, 0.51)]) == "end, below"


def test_methods_are_told_apart_by_more_than_colour() -> None:
    shape = re.compile(r'class="mark s\d" d="(.*?)"')
    shapes = {shape.search(draw_key(number))[1] for number in range(7)}  # type: ignore[index]
    assert len(shapes) == 7
    assert len({str(draw_key(number)) for number in range(56)}) == 56


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], []),
        ([20.0, 60.0], [20.0, 60.0]),
        ([50.0, 50.0, 50.0], [40.0, 50.0, 60.0]),
        ([50.0, 52.0, 90.0], [46.0, 56.0, 90.0]),
        ([0.0, 1.0], [0.0, 10.0]),
        ([99.0, 100.0, 100.0], [80.0, 90.0, 100.0]),
    ],
)
def test_labels_are_moved_apart_as_little_as_can_be(wanted: list[float], expected: list[float]) -> None:
    assert spread(wanted, 10.0, 0.0, 100.0) == pytest.approx(expected)


def test_times_have_a_unit_that_fits() -> None:
    assert [choose_unit(seconds)[0] for seconds in (0.5, 180, 181, 10_800, 1e6)] == ["s", "s", "min", "min", "h"]
