"""Predictions in other units than seconds are found; predictions in seconds, good or bad, never are."""

from __future__ import annotations

import math
import random

import pytest

from video_opd.data.importers._account import Policies
from video_opd.data.importers._annotation import ReadOptions
from video_opd.data.importers._collector import Collector
from video_opd.data.importers._read_annotations import read_annotations
from video_opd.grounding import parse_answer
from video_opd.grounding.time_units import UNITS, find_bare_spans, likely_unit, remove_unit, seconds_per_unit
from video_opd.types import Example, Span


def examples(num: int, duration: tuple[float, float], seed: int = 0) -> list[Example]:
    """Queries about videos of those lengths, each with one span of a tenth to a half of it."""
    draw = random.Random(seed)
    made = []
    for number in range(num):
        length = draw.uniform(*duration)
        span = draw.uniform(0.1, 0.5) * length
        start = draw.uniform(0, length - span)
        made.append(
            Example(
                id=str(number), video=f"{number}.mp4", query="q", spans=(Span(start, start + span),), duration=length
            )
        )
    return made


def told(predicted: dict[str, tuple[float, float]], asked: list[Example]) -> tuple[str, float | None] | None:
    found = likely_unit(predicted, asked)
    return None if found is None else (found.unit, found.fps)


def noisy(example: Example, draw: random.Random, noise: float) -> tuple[float, float]:
    ends = (min(max(0.0, end + draw.gauss(0, noise) * example.duration), example.duration) for end in example.spans[0])
    start, end = sorted(ends)
    return start, end


IN_OTHER_UNITS = [
    ("fraction", None), ("percent", None), ("milliseconds", None), ("minutes", None), ("frames", 2.0), ("frames", 4.0),
    ("frames", 25.0),
]  # fmt: skip


@pytest.mark.parametrize(("unit", "fps"), IN_OTHER_UNITS)
@pytest.mark.parametrize("duration", [(25, 35), (60, 200), (150, 150), (5, 900)])
@pytest.mark.parametrize(("num", "noise"), [(20, 0.0), (400, 0.0), (400, 0.1)])
def test_other_units_are_found(unit, fps, duration, num, noise):
    asked, draw = examples(num, duration), random.Random(1)
    predicted = {}
    for example in asked:
        by = seconds_per_unit(unit, example.duration, fps)
        start, end = noisy(example, draw, noise)
        predicted[example.id] = (start / by, end / by)
    found = likely_unit(predicted, asked)
    assert found is not None
    assert found.unit == unit
    assert fps is None or abs(found.fps / fps - 1) < 0.05
    assert (found.miou > 0.999) == (noise == 0)
    assert found.miou_as_seconds < 0.7 * found.miou
    assert f"--unit {unit}" in found.options
    assert "would be" in found.sentence


@pytest.mark.parametrize("duration", [(1, 1), (0.5, 1.5), (25, 35), (60, 200), (150, 150), (90, 110), (5, 900)])
@pytest.mark.parametrize("num", [5, 20, 400])
@pytest.mark.parametrize(
    "model",
    [
        lambda example, draw: example.spans[0],
        lambda example, draw: noisy(example, draw, 0.1),
        lambda example, draw: noisy(example, draw, 0.4),
        lambda example, draw: (0.0, 1.0),
        lambda example, draw: (0.0, draw.choice([0.5, 0.8, 1.0])),
        lambda example, draw: tuple(sorted((draw.random(), draw.random()))),
        lambda example, draw: (0.0, example.duration),
        lambda example, draw: (0.0, example.duration / 2),
        lambda example, draw: tuple(sorted((draw.uniform(0, 10), draw.uniform(0, 10)))),
        lambda example, draw: tuple(sorted((draw.uniform(0, 100), draw.uniform(0, 100)))),
        lambda example, draw: tuple(sorted((draw.uniform(0, 5000), draw.uniform(0, 5000)))),
        lambda example, draw: tuple(end * 1.3 for end in example.spans[0]),
        lambda example, draw: tuple(end * 1.7 for end in example.spans[0]),
        lambda example, draw: tuple(end * 0.5 for end in example.spans[0]),
        lambda example, draw: (5.0, 3.0),
        lambda example, draw: (math.inf, math.nan),
    ],
    ids=["right", "good", "poor", "0-1", "up to 1", "below 1", "all", "half", "early", "to 100", "to 5000", "a third "
         "late", "far late", "half as late", "reversed", "not finite"],
)  # fmt: skip
def test_a_model_that_answers_in_seconds_is_left_alone(duration, num, model):
    asked, draw = examples(num, duration, seed=num), random.Random(2)
    assert told({example.id: model(example, draw) for example in asked}, asked) is None


def test_little_is_no_evidence():
    asked = examples(3, (30, 30))
    fractions = {example.id: tuple(end / 30 for end in example.spans[0]) for example in asked}
    assert told(fractions, asked) is None
    assert told({}, asked) is None
    assert told({}, []) is None


def test_without_durations():
    """What is of the video's length cannot be told, nor from frames; milliseconds can, by what is annotated."""
    asked = examples(100, (30, 40))
    nobody = [
        Example(id=one.id, video=one.video, query="q", spans=one.spans, duration=math.nan) for one in asked
    ]  # fmt: skip
    for unit, fps, found in (
        ("seconds", None, None), ("fraction", None, None), ("percent", None, None),
        ("milliseconds", None, ("milliseconds", None)), ("frames", 25.0, None),
    ):  # fmt: skip
        by = {one.id: seconds_per_unit(unit, one.duration, fps) for one in asked}
        predicted = {one.id: tuple(end / by[one.id] for end in one.spans[0]) for one in asked}
        assert told(predicted, nobody) == found, unit


def test_factors():
    assert {unit: seconds_per_unit(unit, 50.0, 4.0) for unit in UNITS} == {
        "seconds": 1.0, "fraction": 50.0, "percent": 0.5, "milliseconds": 0.001, "minutes": 60.0, "frames": 0.25,
    }  # fmt: skip
    assert seconds_per_unit("percent", None) is seconds_per_unit("fraction", math.nan) is None
    assert seconds_per_unit("frames", 50.0) is None


@pytest.mark.parametrize(
    ("text", "unit", "bare"),
    [
        ("12% to 30%", "percent", "12 to 30"),
        ("from 17 to 34 percent", "percent", "from 17 to 34 "),
        ("1234ms - 4567 milliseconds", "milliseconds", "1234 - 4567 "),
        ("1.5 to 2 minutes", "minutes", "1.5 to 2 "),
        ("frames 12 to 40", "frames", " 12 to 40"),
        ("items 1 - 2 seconds", "milliseconds", "items 1 - 2 seconds"),
        ("0.1 - 0.2 seconds", "fraction", "0.1 - 0.2 seconds"),
    ],
)
def test_the_words_of_a_unit(text, unit, bare):
    assert remove_unit(text, unit) == bare


def test_answers_that_name_percent_or_frames_have_numbers_too():
    assert find_bare_spans("12% to 30%") == find_bare_spans("frames 12 to 30") == ((12.0, 30.0),)
    assert parse_answer("12% to 30%").spans == ()
    assert find_bare_spans("4 - 9 seconds") == ((4.0, 9.0),)
    assert find_bare_spans("200 ms to 400 ms") == ((0.2, 0.4),)


REAL = [
    ("charades-sta", "charades_sta_test.txt", "Charades_v1_test.csv"),
    ("activitynet-captions", "activitynet_captions_val_1.json", None),
    ("qvhighlights", "highlight_val_release.jsonl", None),
    ("tvgbench", "timer1_tvgbench.json", None),
    ("time-r1", "timer1_train_2k5.json", None),
    ("tacos", "tacos_test_2dtan.json", None),
    ("vue-tr", "vue_tr_v2_ground_truth.json", None),
    ("didemo", "didemo_val_data.json", None),
]


@pytest.mark.parametrize(("format", "file", "durations"), REAL, ids=[file for _, file, _ in REAL])
def test_right_answers_to_real_annotations(shared_data, format, file, durations):
    """In every unit, with ends after their videos as data sets have them: 562 of Charades-STA's 3,720."""
    from video_opd.data.importers._durations import read_durations

    folder = shared_data / "annotations"
    known = None if durations is None else read_durations(folder / durations)
    collector = Collector(Policies(source=format), known)
    asked = collector.collect(read_annotations(format, [folder / file], ReadOptions()))
    asked = random.Random(0).sample(asked, min(1500, len(asked)))
    for unit, fps in [("seconds", None), *IN_OTHER_UNITS]:
        by = {one.id: seconds_per_unit(unit, one.duration, fps) for one in asked}
        predicted = {one.id: tuple(end / by[one.id] for end in one.spans[0]) for one in asked}
        assert told(predicted, asked) == (None if unit == "seconds" else (unit, fps)), unit


@pytest.mark.parametrize("offset_s", [15, 20, 40, -10])
def test_a_model_that_is_late_by_the_same_seconds_everywhere_is_in_seconds(offset_s):
    """Its ends lie after the ends of the videos, and some rate makes frames of them that fit a little better."""
    drawn = random.Random(0)
    asked, predicted = [], {}
    for n in range(120):
        start, length = drawn.uniform(0, 20), drawn.uniform(4, 12)
        asked.append(Example(id=str(n), video="v", query="q", spans=(Span(start, start + length),), duration=32.0))
        predicted[str(n)] = Span(start + offset_s, start + length + offset_s)
    assert likely_unit(predicted, asked) is None
    for_two = {id_: Span(2 * (start - offset_s), 2 * (end - offset_s)) for id_, (start, end) in predicted.items()}
    found = likely_unit(for_two, asked)
    assert found is not None
    assert (found.unit, found.fps) == ("frames", 2)
