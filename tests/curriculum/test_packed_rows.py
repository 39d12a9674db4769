"""Packed rows are the rows that were added, and a line that is not valid leaves nothing behind."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from video_opd.curriculum import ScoredAnswer, ScoredExample
from video_opd.curriculum.packed_rows import PackedRows, ScoredRows
from video_opd.curriculum.score_rows import make_row
from video_opd.curriculum.signals import (
    error_variance,
    measure_error_variance,
    measure_reliability,
    split_half_reliability,
)
from video_opd.types import Span


def answer(iou: float, **changes) -> ScoredAnswer:
    first = ScoredAnswer(text=f"at {iou} s, \ud800 ä", span=Span(1.5, 2.5), iou=iou, logprob=-0.5, num_tokens=3,
                         sampled=True, reverse_kl=0.25)  # fmt: skip
    return replace(first, **changes)


def example(id: str, *answers: ScoredAnswer, **changes) -> ScoredExample:
    spans = (Span(1.0, 2.0), Span(4.0, 4.0))
    return replace(ScoredExample(id=id, spans=spans, duration=8.0, source="a", answers=answers), **changes)


ROWS = [
    example("a", answer(0.9), answer(0.25, sampled=False, reverse_kl=None, span=None)),
    example("b", unscored="no such file", duration=None, source="b"),
    example("c", *(answer(iou) for iou in (0.1, 0.3, 0.8)), source="b"),
    example("d", answer(0.4, text="")),
]


def pack(rows=ROWS, **options) -> PackedRows:
    packed = PackedRows(**options)
    for row in rows:
        packed.add(row)
    return packed


def test_what_is_added_is_there():
    packed = pack()
    assert list(packed.items()) == [(row.id, row) for row in ROWS]
    assert len(packed) == len(ROWS)
    assert packed == {row.id: row for row in ROWS}
    assert PackedRows.of(packed) is packed
    with pytest.raises(KeyError):
        packed["x"]


def test_without_texts_the_rest_is_there():
    whole, short = pack(), pack(keep_texts=False)
    for id, row in whole.items():
        assert short[id] == replace(row, answers=tuple(replace(each, text="") for each in row.answers))


def test_the_scored_ones():
    scored = ScoredRows(pack())
    assert list(scored) == ["a", "c", "d"]
    assert len(scored) == 3
    assert "b" not in scored
    with pytest.raises(KeyError):
        scored["b"]


def test_answers_that_are_dropped_leave_a_reason():
    rows = pack().drop_answers({"c": "by the student: no frames"})
    assert rows["c"] == replace(ROWS[2], answers=(), unscored="by the student: no frames")
    assert [rows[id] for id in "abd"] == [ROWS[0], ROWS[1], ROWS[3]]


def test_the_fast_ways_are_those_of_the_examples():
    rows = [
        example(str(number), *(answer(((number * step) % 7) / 7, sampled=step > 1) for step in (1, 2, 3, 5, 6)))
        for number in range(9)
    ]
    packed = pack(rows)
    draws = list(packed.iterate_draws(packed))
    assert packed.compute_mean_ious() == {row.id: row.mean_iou for row in rows}
    assert measure_reliability(each.ious for each in draws) == split_half_reliability(rows)
    assert measure_error_variance(draws) == error_variance(rows)
    assert list(pack().iterate_annotations(["c", "b"])) == [replace(ROWS[2], answers=()), ROWS[1]]


@pytest.mark.parametrize(
    "change",
    [
        {"answers": [{}]},
        {"answers": ["x"]},
        {"answers": 3},
        {"answers": [answer]},
        {"spans": [[1, 2], [1]]},
        {"spans": [["a", "b"]]},
        {"duration": "long"},
        {"source": 3},
        {"id": 3},
        *({"number": number} for number in ({"iou": None}, {"iou": "x"}, {"logprob": float("nan")}, {"num_tokens": 0},
                                            {"num_tokens": 1.5}, {"span": [1]}, {"span": 5}, {"text": 7},
                                            {"reverse_kl": "x"}, {"more": 1}, {"iou": 1e400}, {"num_tokens": 2**70})),
    ],
)  # fmt: skip
def test_a_line_that_is_not_valid_leaves_nothing(change):
    row = json.loads(json.dumps(make_row(ROWS[2])))
    if "number" in change:
        row["answers"][1] |= change["number"]
    else:
        row |= change
    packed = pack(ROWS[:2])
    with pytest.raises((AttributeError, KeyError, OverflowError, TypeError, ValueError)):
        packed.add_row(row)
    assert list(packed.values()) == ROWS[:2]
    packed.add(ROWS[2])  # nothing is out of place
    assert list(packed.values()) == ROWS[:3]
