from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from video_opd.eval.scorers import Answers, GroundTruth, ResultAnswer, read_matched, score_as
from video_opd.eval.scorers._average_precision import clip_average_precision, window_average_precisions
from video_opd.types import Example, Span


def windows(*spans, scores=None, saliency=None):
    return ResultAnswer(
        spans=tuple(Span(*map(float, span)) for span in spans), confidences=scores, saliency=saliency
    )  # fmt: skip


def test_average_precision_of_windows():
    annotated = [(0, 10), (20, 30)]
    # Ranked: a miss, a hit, a hit. Precision 0, 1/2, 2/3; raised to 2/3 at both steps of recall.
    hits = window_average_precisions([(0, 10), (50, 60), (20, 30)], [0.5, 0.9, 0.1], annotated, [0.5, 0.95])
    assert hits == pytest.approx([2 / 3, 2 / 3])
    # Only one annotated window is found: half of the recall, at precision 1.
    assert window_average_precisions([(0, 10)], [1], annotated, [0.5]) == pytest.approx([0.5])
    assert window_average_precisions([], [], annotated, [0.5]).tolist() == [0]


def test_a_window_is_found_once():
    twice = window_average_precisions([(0, 10), (0, 9)], [2, 1], [(0, 10), (40, 50)], [0.5])
    assert twice == pytest.approx([0.5])
    # The second claims what the first left: its best match is taken, its second best reaches the threshold.
    left = window_average_precisions([(0, 10), (0, 10)], [2, 1], [(0, 10), (0, 6)], [0.5, 0.7])
    assert left == pytest.approx([1.0, 0.5])


def test_equal_scores_keep_the_order_given():
    annotated = [(0, 10)]
    assert window_average_precisions([(0, 10), (50, 60)], [1, 1], annotated, [0.5]) == pytest.approx([1])
    assert window_average_precisions([(50, 60), (0, 10)], [1, 1], annotated, [0.5]) == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("positive", "scores", "value"),
    [
        ([0, 0, 0], [1, 2, 3], 0),
        ([1, 1], [1, 2], 1),
        ([1, 0, 1, 0], [4, 3, 2, 1], (1 + 2 / 3) / 2),
        ([0, 1], [2, 1], 0.5),
        # All equal: one threshold, at which half of them are right.
        ([1, 0, 1, 0], [1, 1, 1, 1], 0.5),
        # Two positives come at one score: one step of recall, at precision 2/3 (raised to 3/4 by the next).
        ([1, 1, 0, 1], [2, 2, 2, 1], 3 / 4),
    ],
)
def test_average_precision_of_clips(positive, scores, value):
    found = clip_average_precision(np.array(positive, dtype=bool), np.array(scores, dtype=float))
    assert found == pytest.approx(value)


def test_moment_retrieval(truth, answers):
    """R1 by the first window given, mAP by the scores; a has a short and a long window, b a middle one of 30 s."""
    annotated = truth([(0, 10), (20, 60)], (0, 30))
    given = answers(windows((20, 60), (0, 10), scores=(0.1, 0.9)), windows((60, 70), (0, 15), scores=(0.2, 0.1)))
    found = score_as("qvhighlights", annotated, given)
    assert found.scores["full"]["MR-R1"]["0.5"] == 50.0
    # a: both found, precision 1 throughout. b: at 0.5 the second of two, IoU 15/30; higher up nothing.
    assert found.scores["full"]["MR-mAP"]["0.5"] == 75.0
    assert found.scores["full"]["MR-mAP"]["0.55"] == 50.0
    assert found.scores["full"]["MR-mAP"]["average"] == 52.5
    # Short sees only a's (0, 10): ranked first; R1's first window is not it.
    assert (found.scores["short"]["MR-mAP"]["0.5"], found.scores["short"]["MR-R1"]["0.5"]) == (100.0, 0.0)
    assert found.scores["middle"]["MR-mAP"]["0.5"] == 50.0, "30 s are middle"
    # Long sees a's (20, 60), ranked second behind a window that matches nothing there.
    assert (found.scores["long"]["MR-mAP"]["0.5"], found.scores["long"]["MR-R1"]["0.5"]) == (50.0, 100.0)
    assert found.scores["brief"] == {
        "MR-full-mAP": 52.5, "MR-full-mAP@0.5": 75.0, "MR-full-mAP@0.75": 50.0, "MR-short-mAP": 100.0,
        "MR-middle-mAP": 5.0, "MR-long-mAP": 50.0, "MR-full-R1@0.5": 50.0, "MR-full-R1@0.7": 50.0,
        "MR-full-R1@0.3": 50.0, "MR-full-mIoU": 50.0,
    }  # fmt: skip
    assert "keeps no saliency" in " ".join(found.notes)


def test_only_ten_windows_count(truth, answers):
    misses = [(60, 70)] * 10
    given = answers(windows(*misses, (0, 10), scores=(0.0,) * 10 + (1.0,)))
    assert score_as("qvhighlights", truth((0, 10)), given).scores["full"]["MR-mAP"]["0.5"] == 0
    given = answers(windows(*misses[1:], (0, 10), scores=(0.0,) * 9 + (1.0,)))
    assert score_as("qvhighlights", truth((0, 10)), given).scores["full"]["MR-mAP"]["0.5"] == 100


def test_a_text_has_windows_without_scores(truth, answers):
    found = score_as("qvhighlights", truth([(0, 10), (20, 30)]), answers("0 - 10 and 20 - 30 seconds"))
    assert found.scores["full"]["MR-mAP"]["average"] == 100
    assert "1 answers have windows without scores: all their windows score 1" in " ".join(found.notes)


def test_where_the_official_scorer_refuses(truth, answers):
    annotated = truth((0, 10), (0, 10), (0, 10), (0, 10))
    given = replace(answers([(0, 10)], [], [(0, 10)]), unknown=("77",))
    found = score_as("qvhighlights", annotated, given)
    assert found.scores["full"]["MR-R1"]["0.95"] == found.scores["full"]["MR-mAP"]["0.95"] == 50.0
    notes = " ".join(found.notes)
    assert "1 queries have no row in the file: counted as 0; the official scorer refuses" in notes
    assert "1 rows are for queries that are not annotated" in notes
    assert "1 answers hold no window: the official scorer crashes here" in notes


def test_a_length_that_no_window_has_is_noted(truth, answers):
    found = score_as("qvhighlights", truth([(0, 10), (20, 40)]), answers([(0, 10), (20, 40)]))
    assert [found.scores["brief"][f"MR-{name}-mAP"] for name in ("full", "short", "long")] == [100.0, 100.0, 0.0]
    notes = [note for note in found.notes if "of that length" in note]
    assert [note.partition(": ")[2] for note in notes] == [
        "long (30 - 150 s) scores are 0 whatever is answered; the official scorer crashes here."
    ]


@pytest.mark.parametrize(
    ("annotated", "predicted", "precision"),
    [
        ((5, 5), (5, 5), 100.0),  # two points: 0/0
        ((5, 5), (7, 7), 100.0),  # wherever they are
        ((0, 10), (10, 0), 100.0),  # -10 + 10 - 0 s in all: 0/0
        ((0, 10), (70, 60), 100.0),
        ((0, 10), (8, 0), 0.0),  # 0/2
        ((0, 10), (30, 0), 0.0),  # 0/-20
    ],
)
def test_an_iou_that_is_no_number_counts_as_found(truth, answers, annotated, predicted, precision):
    """In mAP, since it is below no threshold; R1 and mIoU have another IoU. Values of `standalone_eval` itself."""
    found = score_as("qvhighlights", truth(annotated), answers([predicted]))
    assert {found.scores["full"]["MR-mAP"][t] for t in ("0.5", "0.95", "average")} == {precision}
    assert found.scores["full"]["MR-R1"]["0.3"] == found.scores["full"]["MR-mIoU"] == 0
    notes = " ".join(found.notes)
    assert ("is 0/0" in notes) == (precision > 0)
    assert ("1 predicted windows end before they start" in notes) == (predicted[0] > predicted[1])


def test_several_rows_for_a_query(truth, tmp_path):
    """mAP pools them: hit, miss, hit, by score. The rest takes the last row, whose first window is the miss."""
    annotated = GroundTruth(
        examples=(
            replace(truth([(0, 10), (20, 30)]).examples[0], id="a/7"),
            replace(truth((0, 10)).examples[0], id="a/8"),
        )
    )
    rows = [
        {"qid": 7, "pred_relevant_windows": [[0, 10, 0.9]]},
        {"qid": 8, "pred_relevant_windows": [[0, 10, 0.9]]},
        {"qid": 7, "pred_relevant_windows": [[50, 60, 0.8], [20, 30, 0.1]]},
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = read_matched(tmp_path / "p.jsonl", annotated)
    found = score_as("qvhighlights", annotated, given)
    assert found.scores["full"]["MR-mAP"]["0.5"] == round(100 * ((0.5 * 1 + 0.5 * 2 / 3) + 1) / 2, 2)
    assert found.scores["full"]["MR-R1"]["0.5"] == found.scores["full"]["MR-mIoU"] == 50.0
    assert "1 queries have several rows: as officially, mAP pools their windows" in " ".join(found.notes)
    assert "the last one counts, unless the scorer says otherwise" in " ".join(given.notes)
    # Ten of each row, not ten in all.
    (tmp_path / "p.jsonl").write_text(
        json.dumps({"qid": 7, "pred_relevant_windows": [[50, 60, 0.5]] * 10 + [[0, 10, 1.0]]}) + "\n"
        + json.dumps({"qid": 7, "pred_relevant_windows": [[20, 30, 0.9]]}) + "\n"
        + json.dumps({"qid": 8, "pred_relevant_windows": [[40, 50, 1.0]]}) + "\n"
    )  # fmt: skip
    found = score_as("qvhighlights", annotated, read_matched(tmp_path / "p.jsonl", annotated))
    assert found.scores["full"]["MR-mAP"]["0.5"] == 25.0


def test_means_are_added_up_in_the_official_order():
    """16 queries found at so many of the ten thresholds. The mean of their means is 45.625 and a little; the official
    mean of the thresholds' means is 45.625 exactly, and two decimals of it are 45.62."""
    reached = [9, 1, 7, 4, 0, 0, 2, 10, 9, 7, 5, 5, 0, 4, 7, 3]
    examples = [
        Example(id=str(number), video=f"{number}.mp4", query="q", duration=100.0, spans=(Span(0.0, 100.0),))
        for number in range(len(reached))
    ]
    by_id = {str(number): windows((0, 47 + 5 * times)) for number, times in enumerate(reached)}
    given = Answers(file="", format="qvhighlights", num_rows=len(by_id), by_id=by_id)
    found = score_as("qvhighlights", GroundTruth(examples=tuple(examples)), given)
    assert found.scores["full"]["MR-mAP"]["average"] == found.scores["brief"]["MR-full-mAP"] == 45.62


def test_cg_detrs_lower_thresholds(truth, answers):
    found = score_as("qvhighlights", truth((0, 100), (0, 100)), answers([(0, 30)], [(0, 45)])).scores
    assert [found["long"]["MR-R1"][t] for t in ("0.3", "0.35", "0.4", "0.45", "0.5")] == [100.0, 50.0, 50.0, 50.0, 0.0]
    assert found["long"]["MR-mIoU"] == found["brief"]["MR-full-mIoU"] == 37.5
    assert "0.3" not in found["full"]["MR-mAP"]


def test_highlights(truth, answers):
    """Three clips of 2 s, three annotators: only the first calls clip 0 good, all call clip 1 fair."""
    annotated = replace(truth((0, 10), (0, 10)), saliency=dict.fromkeys(("a", "b"), ((3, 0, 0), (2, 2, 2), (0, 0, 0))))
    top, second = (9.0, 1.0, 0.0), (1.0, 2.0)  # the second is filled up with a zero
    found = score_as(
        "qvhighlights", annotated, answers(windows((0, 10), saliency=top), windows((0, 10), saliency=second))
    )
    assert found.scores["HL-min-Fair"] == {"HL-mAP": round(100 * ((1 + 0.5 + 0.5) / 3 + 1) / 2, 2), "HL-Hit1": 100.0}
    assert found.scores["HL-min-Good"] == {"HL-mAP": 25.0, "HL-Hit1": 50.0}
    assert found.scores["HL-min-VeryGood"] == {"HL-mAP": 0.0, "HL-Hit1": 0.0}
    assert found.scores["brief"]["HL-min-Good-Hit1"] == 50.0

    longer = windows((0, 10), saliency=(0.0, 0.0, 0.0, 5.0))
    found = score_as("qvhighlights", annotated, answers(longer, longer))
    assert found.scores["HL-min-Fair"]["HL-Hit1"] == 0, "the top clip is not in the video"

    partly = score_as("qvhighlights", annotated, answers(windows((0, 10), saliency=top), windows((0, 10))))
    assert "HL-min-Fair" not in partly.scores
    assert "1 of 2 have them" in " ".join(partly.notes)
