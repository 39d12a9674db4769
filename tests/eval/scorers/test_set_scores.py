"""Scorers of sets of spans: TimeLens2, VUE-TR, MUSEG, and Ego4D-NLQ's ranked ones."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_opd.cli import main
from video_opd.eval.scorers import read_ground_truth, read_matched, score_as
from video_opd.eval.scorers._span_sets import merge_spans, overlap, set_iou, total_length
from video_opd.eval.scorers.timelens2 import wasserstein_1, wasserstein_reward


def test_unions():
    assert merge_spans([(5, 6), (0, 2), (1, 3), (3, 4)]) == [(0, 4), (5, 6)]
    assert total_length([(0, 2), (1, 3)]) == 4
    assert overlap([(0, 4), (5, 9)], [(2, 6)]) == 3


# TimeLens2


@pytest.mark.parametrize(
    ("some", "others", "distance"),
    [
        ([(0, 2)], [(3, 5)], 3.0),  # moved as a whole
        ([(0, 4)], [(1, 3)], 0.5),  # [0, 2] onto [1, 2]: half the mass moves 1/2 on average, on both sides
        ([(0, 1), (9, 10)], [(0, 10)], 2.0),
        ([(0, 1)], [(0, 1)], 0.0),
        ([(0, 1), (2, 3)], [(0, 3)], 0.25),
    ],
)
def test_wasserstein_by_hand(some, others, distance):
    assert wasserstein_1(some, others) == pytest.approx(distance)
    assert wasserstein_1(others, some) == pytest.approx(distance)


spans = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)).map(lambda x: (x[0] / 2, (x[0] + x[1]) / 2)), min_size=1, max_size=5)  # fmt: skip  # noqa: E501


@settings(max_examples=200, deadline=None, database=None)
@given(spans, spans)
def test_wasserstein_is_the_distance_of_sorted_samples(some, others):
    """The definition for equal numbers of points: the mean distance of the n-th of the one to the n-th of the other."""

    def quantiles(intervals, shares):
        lengths = np.array([end - start for start, end in intervals])
        reached = np.concatenate([[0], lengths.cumsum() / lengths.sum()])
        which = np.clip(np.searchsorted(reached, shares, side="right") - 1, 0, len(intervals) - 1)
        starts = np.array([start for start, _ in intervals])
        return starts[which] + (shares - reached[which]) * lengths.sum()

    shares = (np.arange(20_000) + 0.5) / 20_000
    expected = np.abs(quantiles(merge_spans(some), shares) - quantiles(merge_spans(others), shares)).mean()
    assert wasserstein_1(merge_spans(some), merge_spans(others)) == pytest.approx(expected, abs=2e-3)


def test_set_iou_merges_the_prediction_alone():
    assert set_iou([(0, 6), (4, 10)], [(0, 20)]) == 0.5
    # The annotation's overlap counts twice: 10 + 2 seconds, all met by the 10 predicted; union 10 + 12 - 12.
    assert set_iou([(0, 10)], [(0, 6), (4, 10)]) == 1, "held to 1"
    assert set_iou([(0, 5)], [(0, 10), (20, 30)]) == 0.25
    assert set_iou([(5, 5)], [(5, 5)]) == 0
    assert wasserstein_reward([(0, 2)], [(3, 5)]) == pytest.approx(math.exp(-1.5))
    assert wasserstein_reward([(-1e308, 1e308)], [(3, 5)]) == 0


def test_timelens2(truth, answers):
    """The rewards: a right, in two parts; b half; c nothing readable. The port: a's first pair is not the first
    annotated span, b's is reversed, c is right. d has no row."""
    annotated = truth([(0, 4), (10, 14)], (0, 10), (0, 10), (0, 10))
    found = score_as("timelens2", annotated, answers("[[10, 14], [0, 4]]", "```json\n[[5, 0]]\n```", "0 - 10"))
    assert found.scores == {
        "mIoU": 0.3333,
        "R1@0.3": 25.0,
        "R1@0.5": 25.0,
        "R1@0.7": 25.0,
        "twass1": pytest.approx((1 + math.exp(-0.25) + 0) / 3),
        "tiou": pytest.approx(0.5),
        "parse_penalty": pytest.approx(-1 / 3),
        "reward": pytest.approx((1 + math.exp(-0.25)) / 3 + 0.5 - 1 / 3),
    }
    assert "1 queries have no row in the file: left out of mIoU, and misses in R1" in " ".join(found.notes)
    assert "1 answers hold no JSON list of pairs, such as `[[12.5, 18.3]]`" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("text", "iou"),
    [
        ("The event happens in 0 - 5 seconds.", 0.5),
        ("From 00:00 to 00:04.", 0.4),
        ("0.4 - 9.6 seconds, or 0 - 10", 0.92),  # the first pair, neither floored nor ceiled
        ("[[0, 4], [4, 10]]", 0.4),  # of a list of pairs, too
        ("[[2.5, 0]]", 0.0),  # ends are not put in order
        ("no idea", 0.0),
    ],
)
def test_timelens2_reads_as_its_port_does(truth, answers, text, iou):
    found = score_as("timelens2", truth((0, 10)), answers(text))
    assert found.scores["mIoU"] == iou
    assert found.scores["R1@0.5"] == 100.0 * (iou >= 0.5)


@pytest.mark.parametrize("name", ["answers_as_the_port_asks_the", "any_text", "json_several_pairs", "json_single_pair"])
def test_timelens2_beside_its_port(shared_data, tmp_path, name):
    """What the port itself says of the same answers."""
    cases = shared_data / "cases" / "scores" / "side_by_side" / f"timelens2_port_timelens_miou_r1_{name}.json"
    for case in json.loads(cases.read_text())["cases"]:
        (tmp_path / "truth.jsonl").write_text(case["ground_truth"])
        (tmp_path / "answers.jsonl").write_text(case["predictions"])
        annotated = read_ground_truth(tmp_path / "truth.jsonl")
        found = score_as(case["scorer"], annotated, read_matched(tmp_path / "answers.jsonl", annotated)).scores
        assert {name: found[name] for name in case["expected"]} == case["expected"]


def test_timelens2_on_charades_sta(shared_data, tmp_path):
    annotations = shared_data / "annotations"
    assert main(
        ["data", "import", "charades-sta", str(annotations / "charades_sta_test.txt"), "--durations",
         str(annotations / "Charades_v1_test.csv"), "--out", str(tmp_path / "test.jsonl")]
    ) == 0  # fmt: skip
    port = shared_data / "cases" / "scores" / "timelens2_port"
    annotated = read_ground_truth(tmp_path / "test.jsonl")
    found = score_as("timelens2", annotated, read_matched(port / "answers.jsonl", annotated)).scores
    expected = json.loads((port / "expected.json").read_text())
    assert {name: found[name] for name in expected} == expected


def test_timelens2_rounds_as_numpy_does(truth, answers):
    """The mean is a half in the fifth decimal, which numpy takes to the even digit and Python as the float stands."""
    found = score_as("timelens2", truth((0, 10), (0, 10)), answers("0 - 5", "0 - 0.003"))
    assert round((0.5 + 0.0003) / 2, 4) == 0.2501
    assert found.scores["mIoU"] == 0.2502


def test_timelens2_rounds_its_miou_to_four_decimals(truth, answers):
    found = score_as("timelens2", truth((0, 3)), answers("[[0, 1]]"))
    assert (found.scores["mIoU"], found.scores["tiou"]) == (0.3333, 1 / 3)


def test_timelens2_has_no_density_on_a_point(truth, answers):
    found = score_as("timelens2", truth((5, 5), (0, 10)), answers("[[4, 6]]", "[[0, 10]]"))
    assert found.scores["twass1"] == 0.5
    assert "1 annotations have no length" in " ".join(found.notes)


def test_timelens2_rewards_nothing_where_one_span_has_no_length(truth, answers):
    """The rewards throw out the whole answer, the port looks at the first pair alone."""
    annotated = truth((0, 10), (0, 10), (0, 10))
    found = score_as("timelens2", annotated, answers("[[0, 10], [20, 20]]", [(0, 10), (9, 8)], "[[10, 0]]"))
    assert (found.scores["mIoU"], found.scores["R1@0.7"]) == (0.6667, 100 * 2 / 3)
    assert (found.scores["tiou"], found.scores["twass1"]) == (1 / 3, 1 / 3), "text: the ends are put in order"
    assert found.scores["parse_penalty"] == pytest.approx(-2 / 3)
    assert "2 answers have a span that does not start before its end" in " ".join(found.notes)
    assert "merged annotation" in found.convention.annotation


# VUE-TR


def test_vue_tr_rounds_outwards_and_takes_areas(truth, answers):
    """[2.4, 4.6] becomes [2, 5]: IoU 3/10 with [0, 10] is not more than 0.3, recall 0.3 is at least 0.3."""
    found = score_as("vue-tr", truth((0, 10)), answers([(2.4, 4.6)]))
    assert found.scores == {"overall": {"precision": 100.0, "recall": 30.5, "iou": 29.5}}
    assert "manifest has none" in " ".join(found.notes)


def test_vue_tr_merges_for_the_iou_alone(truth, answers):
    """Overlapping: precision and recall add up 6 + 6 of 12 and of 10 seconds, the IoU sees [0, 10]."""
    found = score_as("vue-tr", truth((0, 20)), answers([(0, 6), (4, 10)]))
    # Recall 12 / 20 reaches 0, 0.01 … 0.6: area 0.605. IoU 10 / 20 is more than 0, 0.01 … 0.49: area 0.495.
    assert found.scores["overall"] == {"precision": 100.0, "recall": 60.5, "iou": 49.5}


def test_vue_tr_by_category(truth, answers):
    annotated = replace(
        truth((0, 10), (0, 10), (0, 10)), categories={"a": ("long", "vision"), "b": ("short",), "c": ("long",)}
    )
    found = score_as("vue-tr", annotated, answers([(0, 10)], [(0, 10)], [(50, 60)]))
    assert list(found.scores) == ["short", "long", "vision", "overall"], "the order of the official table"
    assert found.scores["vision"]["iou"] == found.scores["short"]["iou"] == 99.5, "1 is not more than 1"
    assert found.scores["long"]["iou"] == 49.75
    assert found.scores["long"]["precision"] == 50.25, "0 reaches the threshold 0"


def test_vue_tr_leaves_a_prediction_without_length_out_of_precision(truth, answers):
    """b says nothing, c names a point: recall 0, which reaches 0, and IoU 0. Precision is that of a alone."""
    found = score_as("vue-tr", truth((0, 10), (0, 10), (0, 10)), answers([(0, 20)], [], [(5, 5)]))
    assert found.scores["overall"] == {"precision": 50.5, "recall": round((100 + 0.5 + 0.5) / 3, 2), "iou": 16.5}
    assert "1 answers hold no span" in " ".join(found.notes)
    assert set(found.per_query["overall precision"]) == {"a"}


def test_vue_tr_where_no_answer_has_a_length(truth, answers):
    found = score_as("vue-tr", truth((0, 10)), answers([]))
    assert found.scores["overall"] == {"precision": 0.0, "recall": 0.5, "iou": 0.0}
    assert "the official precision is then not a number" in " ".join(found.notes)


def test_vue_tr_takes_two_points_for_precise(truth, answers):
    """Neither has a length: precision 1, no recall, IoU 0."""
    found = score_as("vue-tr", truth((5, 5), (0, 10)), answers([(7, 7)], [(50, 60)]))
    assert found.scores["overall"] == {"precision": 50.25, "recall": 0.5, "iou": 0.0}


def test_vue_tr_counts_the_rows_of_the_file(truth, answers):
    annotated = replace(truth((0, 10), (0, 10)), categories={"a": ("long",), "b": ("short",)})
    found = score_as("vue-tr", annotated, answers([(0, 10)]))
    assert found.scores["overall"] == {"precision": 100.0, "recall": 100.0, "iou": 99.5}
    assert list(found.scores) == ["long", "overall"]
    assert "1 queries have no row in the file: left out of every number" in " ".join(found.notes)


def test_vue_tr_sweeps_in_the_order_given(truth, answers):
    """The later span first: when it is done with, the sweep is past the first annotated span and never goes back."""
    annotated = truth([(0, 10), (20, 30)])
    in_order = score_as("vue-tr", annotated, answers([(0, 10), (20, 30)])).scores["overall"]
    assert in_order == {"precision": 100.0, "recall": 100.0, "iou": 99.5}
    found = score_as("vue-tr", annotated, answers([(20, 30), (0, 10)])).scores["overall"]
    assert found == {"precision": 50.5, "recall": 50.5, "iou": 99.5}


def test_vue_tr_sweeps_past_the_predicted_one_of_two_that_end_together(truth, answers):
    """[0, 10] and [0, 10] end together: the second [0, 10] of the prediction still meets the annotated one."""
    found = score_as("vue-tr", truth([(0, 10), (8, 20)]), answers([(0, 10), (0, 10)])).scores["overall"]
    # Shared: 10 + 10; the annotated [8, 20] is never reached. Precision 20/20, recall 20/22.
    assert (found["precision"], found["recall"]) == (100.0, 90.5)


def test_a_reversed_span_neither_adds_to_a_set_nor_takes_away():
    assert set_iou([(0, 10), (40, 30)], [(0, 20)]) == set_iou([(0, 10)], [(0, 20)]) == 0.5


def test_vue_tr_drops_a_reversed_span_from_the_iou_alone(truth, answers):
    """[9.5, 0.5] is [9, 1] after rounding: no span to the IoU, [1, 9] to the others."""
    found = score_as("vue-tr", truth((0, 10)), answers([(9.5, 0.5)])).scores["overall"]
    assert found == {"precision": 100.0, "recall": 80.5, "iou": 0.0}


# Ego4D


def test_ego4d_nlq(truth, answers):
    """a: IoUs 0.5, 0.3, 0, 1. b: 0.02. c: no row. Strictly more than the threshold; mIoU of the first."""
    annotated = truth((0, 10), (0, 100), (0, 10))
    found = score_as("ego4d-nlq", annotated, answers([(0, 5), (0, 3), (50, 60), (0, 10)], [(0, 2)]))
    assert found.scores == {
        "Rank@1 mIoU@0.3": 50.0, "Rank@1 mIoU@0.5": 0.0, "Rank@1 mIoU@0.01": 100.0,
        "Rank@3 mIoU@0.3": 50.0, "Rank@3 mIoU@0.5": 0.0, "Rank@3 mIoU@0.01": 100.0,
        "Rank@5 mIoU@0.3": 50.0, "Rank@5 mIoU@0.5": 50.0, "Rank@5 mIoU@0.01": 100.0,
        "mIoU": round(100 * (0.5 + 0.02) / 2, 2),
    }  # fmt: skip
    assert "1 queries have no row in the file: left out of every mean" in " ".join(found.notes)
    assert "in effect the first's" in found.convention.prediction


def test_ego4d_nlq_keeps_the_rank_of_a_bad_span(truth, answers):
    """Numbers are taken as they stand: a reversed span takes the first place, and finds nothing."""
    found = score_as("ego4d-nlq", truth((0, 10)), answers([(10, 0), (0, 10)]))
    assert (found.scores["Rank@1 mIoU@0.3"], found.scores["Rank@3 mIoU@0.3"]) == (0.0, 100.0)


def test_ego4d_nlq_where_the_official_scorer_stops(truth, answers):
    found = score_as("ego4d-nlq", truth((0, 10), (5, 5)), answers("no idea", [(5, 5)]))
    assert found.scores["mIoU"] == 0
    assert "1 answers hold no span: the official scorer crashes here" in " ".join(found.notes)
    assert "1 answers are the same point" in " ".join(found.notes)


# MUSEG


def test_museg(truth, answers):
    """a: two of three segments right, the first of them half. b: no tags."""
    annotated = truth([(0, 10), (20, 30)], (0, 10))
    found = score_as("museg", annotated, answers("<answer>0-5 20-30 50-60</answer>", "0-10"))
    assert found.scores["tot"] == 2
    assert found.scores["m_iou"] == 0.25
    assert [found.scores[f"f1_single_{t}"] for t in (0.1, 0.3, 0.5, 0.7)] == [0.5, 0.5, 0.5, 0.0]
    assert found.scores["mean_f1_single"] == 0.375
    # At 0.5: precision 2/3, recall 1, F1 0.8; at 0.7: 1/3 and 1/2, F1 0.4. Halved over the two queries.
    assert [found.scores[f"f1_multi_{t}"] for t in (0.1, 0.3, 0.5, 0.7)] == pytest.approx([0.4, 0.4, 0.4, 0.2])
    assert found.scores["mean_f1_multi"] == pytest.approx(0.35)


def test_museg_in_single_precision(truth, answers):
    """IoU 7/10: as a float32 it is below the double 0.7 of f1_single, and equal to the float32 0.7 of f1_multi."""
    found = score_as("museg", truth((0, 10)), answers("<answer>0-7</answer>"))
    assert (found.scores["f1_single_0.7"], found.scores["f1_multi_0.7"]) == (0.0, 1.0)
    assert found.scores["m_iou"] == float(np.float32(0.7)) != 0.7
    three = score_as("museg", truth((0, 10)), answers("<answer>0-3</answer>"))
    assert three.scores["f1_single_0.3"] == 1.0, "and 3/10 above 0.3"


@pytest.mark.parametrize("tenths", range(1, 10))
def test_museg_compares_as_torch_does(truth, answers, tenths):
    """The official scorer compares `.item()` in one place and a tensor in the other."""
    import torch

    iou = torch.tensor([float(tenths)]) / torch.tensor([10.0])
    found = score_as("museg", truth((0, 10)), answers(f"<answer>0-{tenths}</answer>")).scores
    for threshold in (0.1, 0.3, 0.5, 0.7):
        assert found[f"f1_single_{threshold}"] == float(iou.item() >= threshold)
        assert found[f"f1_multi_{threshold}"] == float((iou >= threshold).item())


def test_museg_drops_a_whole_answer_for_one_bad_segment(truth, answers):
    annotated = truth((0, 10), (0, 10), (0, 10))
    found = score_as("museg", annotated, answers("<answer>0-10 5-5</answer>", [(0, 10), (5, 5)], [(0, 1e300)]))
    assert found.scores["m_iou"] == found.scores["f1_multi_0.1"] == 0
