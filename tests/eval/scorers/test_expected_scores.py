"""The expected-score files of the official scorers, number by number."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest

from video_opd.eval.scorers import SCORERS, read_ground_truth, read_matched, score_as

CG_DETR = {
    "brief MR-full-R1@0.3": 67.48, "full MR-R1 0.3": 67.48, "full MR-R1 0.35": 64.19, "full MR-R1 0.4": 60.97,
    "full MR-R1 0.45": 56.26, "brief MR-full-mIoU": 49.21, "full MR-mIoU": 49.21, "long MR-mIoU": 52.72,
    "middle MR-mIoU": 44.17, "short MR-mIoU": 12.46,
}  # fmt: skip


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
    scores, published = dict(flat(found.scores)), dict(flat(expected))
    assert {name: scores[name] for name in published} == published
    assert len(published) == 104
    # The rest is CG-DETR's, from its own `standalone_eval` on the same file.
    more = {" ".join(name): value for name, value in scores.items() if name not in published}
    assert more.keys() == {
        "brief MR-full-R1@0.3", "brief MR-full-mIoU",
        *(f"{name} MR-R1 {t}" for name in ("short", "middle", "long", "full") for t in ("0.3", "0.35", "0.4", "0.45")),
        *(f"{name} MR-mIoU" for name in ("short", "middle", "long", "full")),
    }  # fmt: skip
    assert {name: more[name] for name in CG_DETR} == CG_DETR
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


def test_didemo(shared_data, tmp_path):
    """The moment frequency prior, whose scores on val stand in the official `eval.py`: the same ranking everywhere.

    It is sorted by the frequencies in train, which is not here; by those in val, with two places changed,
    it gives the three numbers.
    """
    truth = read_ground_truth(shared_data / "annotations" / "didemo_val_data.json")
    named = Counter(segment for votes in truth.votes.values() for segment in votes)
    ranking = sorted(named, key=lambda segment: named[segment], reverse=True)
    assert ranking[:6] == [(chunk, chunk) for chunk in range(6)]
    ranking[4:6] = [(5, 5), (4, 4)]
    ranking.append((0, 5))  # nobody names it in val
    assert len(set(ranking)) == 21
    spans = [[5 * first, 5 * (last + 1)] for first, last in ranking]
    path = tmp_path / "prior.jsonl"
    path.write_text("".join(json.dumps({"id": example.id, "spans": spans}) + "\n" for example in truth.examples))
    found = score_as("didemo", truth, read_matched(path, truth))
    assert {name: f"{value:f}" for name, value in found.scores.items()} == {
        "rank@1": "0.186842", "rank@5": "0.686842", "mIoU": "0.252216",
    }  # fmt: skip
    assert found.notes == ()


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_scorer_takes_every_file(scorer, qvhighlights, vue_tr):
    """And what is a mean over queries is the mean of what it gives per query."""
    for truth, answers in (qvhighlights, vue_tr):
        found = score_as(scorer, truth, answers)
        scores = found.flat()
        assert found.per_query.keys() <= scores.keys()
        rounded = 0.0501 if scorer == "nextgqa" else 0.00501  # to one decimal, to two, or less
        for name, values in found.per_query.items():
            assert sum(values.values()) / len(values) == pytest.approx(scores[name], abs=rounded), name


def test_our_r1_is_the_official_one(qvhighlights):
    """QVHighlights and we agree on what finds a query: the best-matching window, at least the threshold."""
    from video_opd.grounding import score

    truth, answers = qvhighlights
    ours = score({id_: answer.parse() for id_, answer in answers.by_id.items()}, truth.examples)
    official = score_as("qvhighlights", truth, answers).scores["full"]["MR-R1"]
    assert [round(100 * ours.r1[t], 2) for t in (0.5, 0.7)] == [official["0.5"], official["0.7"]]
