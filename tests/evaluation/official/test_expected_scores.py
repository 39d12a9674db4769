"""The expected-score files of the official scorers, number by number."""

from __future__ import annotations

import csv
import json

import pytest

from video_opd.evaluation.official import SCORERS, read_ground_truth, read_matched, score_as


def flat(scores, prefix=()):
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from flat(value, (*prefix, name))
        else:
            yield (*prefix, name), value


@pytest.fixture(scope="module")
def qvhighlights(shared_data):
    truth = read_ground_truth(shared_data / "annotations" / "highlight_val_release.jsonl")
    return truth, read_matched(shared_data / "evaluators" / "moment_detr_sample_val_preds.jsonl", truth)


@pytest.fixture(scope="module")
def vue_tr(shared_data):
    truth = read_ground_truth(shared_data / "annotations" / "vue_tr_v2_ground_truth.json")
    return truth, read_matched(shared_data / "evaluators" / "vue_tr_v2_results_Vidi2.json", truth)


def test_qvhighlights(shared_data, qvhighlights):
    expected = json.loads((shared_data / "evaluators" / "moment_detr_sample_val_preds_metrics_raw.json").read_text())
    found = score_as("qvhighlights", *qvhighlights)
    assert dict(flat(found.scores)) == dict(flat(expected))
    assert len(found.flat()) == 104
    assert found.notes == ()


def test_vue_tr(shared_data, vue_tr):
    with (shared_data / "evaluators" / "vue_tr_v2_results_table.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "Vidi2"]
    found = score_as("vue-tr", *vue_tr)
    assert {row["attribute"]: {name: row[name] for name in ("precision", "recall", "iou")} for row in rows} == {
        category: {name: f"{value:.2f}%" for name, value in scores.items()} for category, scores in found.scores.items()
    }
    assert len(rows) == 12
    assert found.notes == ()


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_scorer_takes_every_file(scorer, qvhighlights, vue_tr):
    """And what is a mean over queries is the mean of what it gives per query."""
    for truth, answers in (qvhighlights, vue_tr):
        found = score_as(scorer, truth, answers)
        scores = found.flat()
        assert found.per_query.keys() <= scores.keys()
        rounded = 0.0501 if scorer == "next-gqa" else 0.00501  # to one decimal, to two, or less
        for name, values in found.per_query.items():
            assert sum(values.values()) / len(values) == pytest.approx(scores[name], abs=rounded), name


def test_our_r1_is_the_official_one(qvhighlights):
    """QVHighlights and we agree on what finds a query: the best-matching window, at least the threshold."""
    from video_opd.grounding import score

    truth, answers = qvhighlights
    ours = score({id_: answer.parsed() for id_, answer in answers.by_id.items()}, truth.examples)
    official = score_as("qvhighlights", truth, answers).scores["full"]["MR-R1"]
    assert [round(100 * ours.r1[t], 2) for t in (0.5, 0.7)] == [official["0.5"], official["0.7"]]
