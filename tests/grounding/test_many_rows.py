"""What is computed over many rows at once is what is computed row by row."""

import random

import numpy as np
import pytest

from video_opd.grounding import best_constant, best_constant_share, temporal_iou
from video_opd.grounding.metrics import bootstrap_intervals
from video_opd.grounding.packed_examples import PackedExamples
from video_opd.grounding.span import temporal_ious
from video_opd.types import Example, Span


def draw_examples(count: int, seed: int = 0) -> list[Example]:
    """Rows with one to three spans, some with a clip, a frame rate or no duration."""
    draw = random.Random(seed)
    examples = []
    for number in range(count):
        duration = draw.choice((10.0, 31.5, 60.0))
        starts = sorted(draw.uniform(0, duration / 2) for _ in range(draw.choice((1, 1, 2, 3))))
        examples.append(
            Example(
                id=f"q{number}",
                video=f"v{number // 3}.mp4",
                query=draw.choice(("it opens", "die Tür", "half \ud800", "")),
                spans=tuple(Span(start, start + draw.uniform(0, duration / 3)) for start in starts),
                duration=draw.choice((duration, duration, None)),
                source=draw.choice(("a", "b")),
                clip=draw.choice((None, None, Span(1.0, 5.0))),
                frame_rate=draw.choice((None, None, 25.0)),
            )
        )
    return examples


def test_packed_examples_come_back() -> None:
    examples = draw_examples(50)
    packed = PackedExamples.of(examples)
    assert list(packed) == examples
    assert (packed[-1], packed[3:5]) == (examples[-1], examples[3:5])
    assert packed == examples
    assert packed != examples[:-1]
    assert packed != PackedExamples.of(examples[::-1])
    with pytest.raises(IndexError):
        _ = packed[50]


def test_ious_of_many_pairs_are_those_of_each() -> None:
    draw = random.Random(0)
    odd = (0.0, 1.0, 2.5, -1.0, float("nan"), float("inf"), 1e308, -1e308)
    pairs = [[draw.choice((*odd, draw.uniform(0, 9))) for _ in range(4)] for _ in range(3000)]
    table = np.array(pairs)
    found = temporal_ious(table[:, :2], table[:, 2:])
    assert found.tolist() == [temporal_iou(pair[:2], pair[2:]) for pair in pairs]
    with_first = temporal_ious(table[:1, :2], table[:, 2:].reshape(-1, 3, 2))
    assert with_first.ravel().tolist() == [temporal_iou(pairs[0][:2], pair[2:]) for pair in pairs]


def test_of_many_rows_the_same_constant_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [example for example in draw_examples(900) if example.duration is not None]
    expected = best_constant(examples), best_constant_share(examples)
    sizes = []
    add_up = best_constant.__globals__["_add_up"]
    monkeypatch.setattr("video_opd.grounding.constant_answer._FIRST_PART", 50)
    monkeypatch.setattr(
        "video_opd.grounding.constant_answer._BOUND", 2.0
    )  # of so few rows the true bound leaves out none
    monkeypatch.setattr(
        "video_opd.grounding.constant_answer._add_up",
        lambda rows, starts, ends: sizes.append((len(rows.first) - 1, len(starts))) or add_up(rows, starts, ends),
    )
    assert (best_constant(examples), best_constant_share(examples)) == expected
    assert [rows for rows, _ in sizes] == [50, 500, len(examples)] * 2
    assert sizes[2][1] < sizes[0][1]


def test_draws_that_are_counted_have_the_means_of_draws_that_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random((300, 2))
    values[:, 1] = values[:, 1] > 0.5
    looked_up = bootstrap_intervals(values, np.random.default_rng(0), 50)
    monkeypatch.setattr("video_opd.grounding.metrics._MOST_GATHERED", 10)
    counted = bootstrap_intervals(values, np.random.default_rng(0), 50)
    assert counted[0] == pytest.approx(looked_up[0], rel=1e-14)
    assert counted[1] == looked_up[1]
