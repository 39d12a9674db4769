"""`video-opd metrics --as … --format … --compare …` from the outside."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import numpy as np
import pytest

from video_opd.cli import main
from video_opd.data.manifest import write_manifest
from video_opd.eval.scorers import RESULT_FORMATS, SCORERS, Convention, compare, explain_too_few

SENTENCE = re.compile(r"video-opd: \S.*: \S.*\. [A-Z`(].*[^.]\.")


@pytest.fixture
def refused(capsys):
    """Run a command that must be refused; returns the sentence."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert SENTENCE.fullmatch(captured.err.rstrip("\n")), captured.err
        return captured.err

    return run


@pytest.fixture
def manifest(truth, tmp_path):
    write_manifest(tmp_path / "manifest.jsonl", truth(*[(0, 10)] * 8).examples)
    return str(tmp_path / "manifest.jsonl")


@pytest.fixture
def predictions(tmp_path):
    def write(name: str, ends: list[float]) -> str:
        rows = [
            {"id": id_, "answer": f"The event happens in 0 - {end} seconds."}
            for id_, end in zip("abcdefgh", ends, strict=False)
        ]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return write


@pytest.fixture
def metrics(manifest, capsys):
    """The JSON object, and what went to stderr."""

    def run(*arguments: str) -> tuple[dict, str]:
        capsys.readouterr()
        assert main(["metrics", *arguments, "--ground-truth", manifest, "--json"]) == 0
        captured = capsys.readouterr()
        return json.loads(captured.out), captured.err

    return run


def test_what_is_offered_is_what_there_is(capsys):
    for option, names in (("--as", ("ours", *SCORERS)), ("--format", (*RESULT_FORMATS,))):
        assert main(["metrics", "p.jsonl", option, "none"]) == 2
        offered = capsys.readouterr().err.partition("choose from ")[2].partition(")")[0]
        assert [name.strip("'") for name in offered.split(", ")] == [*names]
    assert all(callable(score) for score in SCORERS.values())


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_number_never_travels_without_its_rule(scorer, metrics, predictions):
    report, err = metrics(predictions("p.jsonl", [5, 10, 3]), "--as", scorer)
    assert {"convention", "scores", "notes", "missing", "unknown"} == set(report)
    rule = report["convention"]
    assert {"comparator", "rounding", "denominator", "prediction", "annotation", "parser", "units"} < set(rule)
    assert set(rule) == {field.name for field in fields(Convention)}
    assert all(rule.values())
    assert re.search(r"version \d|video-opd \d", rule["parser"])
    assert rule["comparator"][0] == ">"
    assert report["missing"] == {"count": 5, "ids": ["d", "e", "f", "g", "h"]}
    assert err == "5 without a prediction, such as d, e, f\n"
    assert report["scores"]


def test_ours_is_as_before(metrics, predictions):
    report, err = metrics(predictions("p.jsonl", [5, 10, 3, 4.4, 0, 0, 0, 0]))
    assert err == ""
    assert report["scores"]["miou"] == pytest.approx((0.5 + 1 + 0.3 + 0.44) / 8)
    assert set(report) == {"scores", "intervals", "convention", "missing", "unknown", "notes"}
    assert report["convention"]["comparator"] == ">="
    again, _ = metrics(predictions("p.jsonl", [5, 10, 3, 4.4, 0, 0, 0, 0]), "--as", "ours", "--format", "ours")
    assert again == report


def test_ours_on_a_file_of_another_format(metrics, tmp_path):
    rows = {f"{id_}.mp4>>>query {id_}>>>[0, 10]": {"timestamps": [[0, 5]]} for id_ in "abcdefgh"}
    rows["x.mp4>>>nobody asked>>>[0, 10]"] = {"timestamps": [[0, 5]]}
    (tmp_path / "r.json").write_text(json.dumps(rows))
    report, err = metrics(str(tmp_path / "r.json"))
    assert report["scores"]["miou"] == report["scores"]["r1@0.5"] / 2 == 0.5
    assert report["unknown"] == {"count": 1, "ids": ["x.mp4>>>nobody asked>>>[0, 10]"]}
    assert "1 predicted but not asked" in err


def test_in_words(manifest, predictions, capsys):
    path = predictions("p.jsonl", [2.5] * 8)
    assert main(["metrics", path, "--ground-truth", manifest, "--as", "timelens"]) == 0
    captured = capsys.readouterr()
    assert "IOU 0.3" in captured.out
    assert "20" in captured.out, "2.5 is rounded to 2"
    assert "comparator: >=" in captured.out
    assert captured.err == ""
    assert main(["metrics", path, "--ground-truth", manifest, "--as", "time-r1"]) == 0
    assert "8 of 8 answers hold no span that this scorer's parser reads" in capsys.readouterr().err


@pytest.mark.parametrize("order", ["A --compare B", "--compare A B"])
def test_a_comparison_is_the_first_less_the_second(order, manifest, metrics, predictions):
    names = {"A": predictions("a.jsonl", [10, 10, 10, 5, 5, 5, 5, 5]), "B": predictions("b.jsonl", [5] * 8)}
    report, _ = metrics(*(names.get(word, word) for word in order.split()), "--as", "timelens")
    comparison = report["comparison"]
    assert (comparison["a"], comparison["b"]) == (names["A"], names["B"])
    miou = comparison["scores"]["mIOU"]
    assert (miou["a"], miou["b"], miou["num_queries"]) == (68.75, 50.0, 8)
    assert miou["difference"] == 18.75
    assert comparison["scores"]["IOU 0.5"] == {
        "a": 100.0, "b": 100.0, "difference": 0.0, "interval": None, "num_queries": 8,
    }  # fmt: skip
    assert report["scores"]["mIOU"] == 68.75
    assert comparison["report_of_b"]["scores"]["mIOU"] == 50


def test_a_comparison_of_files_that_are_not_scored_alike_says_so(manifest, metrics, tmp_path, capsys):
    def write(name: str, content: dict) -> str:
        rows = {f"{id_}.mp4>>>query {id_}>>>[0, 10]": content for id_ in "abcdefgh"}
        (tmp_path / name).write_text(json.dumps(rows))
        return str(tmp_path / name)

    stored, text = write("s.json", {"timestamps": [[0, 5]]}), write("t.json", {"answers": "0 - 5.4"})
    report, _ = metrics(stored, "--compare", text, "--as", "timelens")
    notes = report["comparison"]["notes"]
    assert any(note.startswith("The two files were not scored alike: rounding of a: none: pairs") for note in notes)
    assert metrics(stored, "--compare", stored, "--as", "timelens")[0]["comparison"]["notes"] == []
    assert main(["metrics", stored, "--compare", text, "--as", "timelens", "--ground-truth", manifest]) == 0
    assert "The two files were not scored alike" in capsys.readouterr().err


def test_what_is_no_mean_over_queries_is_not_compared(metrics, predictions):
    a, b = predictions("a.jsonl", [10] * 8), predictions("b.jsonl", [5] * 8)
    report, _ = metrics(a, "--compare", b, "--as", "qvhighlights")
    assert set(report["comparison"]["not_compared"]) >= {"short MR-mAP average", "brief MR-full-mAP"}
    assert report["comparison"]["scores"]["full MR-R1 0.7"]["difference"] == 100
    ours, _ = metrics(a, "--compare", b)
    assert ours["comparison"]["not_compared"] == ["num_queries"]
    assert ours["comparison"]["scores"]["miou"]["difference"] == 0.5


def test_a_comparison_in_words(manifest, predictions, capsys):
    a, b = predictions("a.jsonl", [10] * 8), predictions("b.jsonl", [5] * 7)
    assert main(["metrics", a, "--compare", b, "--ground-truth", manifest]) == 0
    captured = capsys.readouterr()
    assert "A - B" in captured.out
    assert "not compared" in captured.out
    assert "more than chance cannot be said from 8 queries: a 95 % interval needs at least 30" in captured.out
    assert "on one side of 0" not in captured.out
    assert captured.err == f"{b}: 1 without a prediction, such as h\n"


def test_the_paired_bootstrap():
    """Pairing: the two move together, so that their difference is far better known than either."""
    rng = np.random.default_rng(1)
    difficulty = rng.random(400)
    a = {"x": {str(number): value + 0.1 for number, value in enumerate(difficulty)}}
    b = {"x": {str(number): value for number, value in enumerate(difficulty)}}
    found = compare(a, b)["x"]
    assert found["difference"] == pytest.approx(0.1)
    assert found["interval"] == pytest.approx([0.1, 0.1])
    noisy = {"x": {id_: value + rng.normal(0, 0.5) for id_, value in b["x"].items()}}
    low, high = compare(a, noisy)["x"]["interval"]
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.15)
    assert compare(a, noisy) == compare(a, noisy), "same seed"


@pytest.mark.parametrize("num_queries", [1, 2, 29, 30, 31])
@pytest.mark.parametrize("constant", [True, False], ids=["always +0.1", "of any size"])
def test_a_difference_has_an_interval_only_of_enough_queries(num_queries, constant):
    """Also where all differences are equal, whose bootstrap has no width."""
    b = {"x": {str(n): n / 100 for n in range(num_queries)}}
    a = {"x": {id_: value + (0.1 if constant else value) for id_, value in b["x"].items()}}
    found = compare(a, b)
    assert (found["x"]["interval"] is not None) == (num_queries >= 30)
    assert ("cannot be said" in explain_too_few(found)) == (num_queries < 30)


def test_a_comparison_of_many_queries_is_judged(tmp_path, metrics, capsys):
    for name, end in (("a", 10), ("b", 5)):
        rows = [json.dumps({"id": str(n), "answer": f"0 - {end if n % 2 else 5}"}) for n in range(40)]
        (tmp_path / name).write_text("\n".join(rows) + "\n")
    examples = [
        {"id": str(n), "video": "v.mp4", "query": f"q {n}", "spans": [[0, 10]], "duration": 30.0} for n in range(40)
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in examples))
    words = ["metrics", *(str(tmp_path / name) for name in "a"), "--compare", str(tmp_path / "b"),
             "--ground-truth", str(tmp_path / "m.jsonl")]  # fmt: skip
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "on one side of 0 is" in " ".join(told.split())
    assert "cannot be said" not in told


def test_only_common_queries_and_scores_are_compared():
    found = compare({"x": {"1": 1.0, "2": 0.0}, "y": {"1": 1.0}, "z": {"3": 1.0}}, {"x": {"2": 1.0, "3": 5.0}, "z": {}})
    assert {name: (score["difference"], score["num_queries"]) for name, score in found.items()} == {"x": (-1.0, 1)}


def test_our_rule_in_words(manifest, predictions, capsys):
    assert main(["metrics", predictions("p.jsonl", [2.5] * 8), "--ground-truth", manifest]) == 0
    told = capsys.readouterr().out
    for part in ("first predicted span against the best-matching annotated", "every query counts", "fractions 0..1"):
        assert part in told


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("charades_sta_test.txt", "3MSZA 24.3 30.4##person turn a light on.\n", "charades-sta"),
        (
            "val_1.json",
            '{"v_uqiMw7tQ1Cc": {"duration": 55.15, "timestamps": [[0, 4.14]], "sentences": [" One man"]}}',
            "activitynet-captions",
        ),
    ],
)
def test_annotations_that_no_manifest_was_made_of(refused, predictions, tmp_path, name, text, format):
    (tmp_path / name).write_text(text)
    told = refused("metrics", predictions("p.jsonl", [1]), "--ground-truth", tmp_path / name)
    assert f"it looks like annotations in the format {format}" in told
    assert f"`video-opd data import {format} " in told


def test_a_manifest_with_a_bad_row_is_not_taken_for_something_else(refused, predictions, tmp_path):
    (tmp_path / "m.jsonl").write_text('{"id": "a", "video": "a.mp4", "query": "q", "spans": [[4, 0]], "duration": 9}\n')
    told = refused("metrics", predictions("p.jsonl", [1]), "--ground-truth", tmp_path / "m.jsonl")
    assert "data import" not in told


def test_spans_that_no_answer_reaches_are_noted(truth, predictions, metrics, tmp_path, capsys):
    write_manifest(tmp_path / "points.jsonl", truth((0, 10), (5, 5), [(3, 3), (0, 10)]).examples)
    words = ["metrics", predictions("p.jsonl", [10, 10, 10]), "--ground-truth", str(tmp_path / "points.jsonl")]
    assert main(words) == 0
    assert "2 annotated spans have no length: no answer reaches them" in capsys.readouterr().err
    assert metrics(predictions("p.jsonl", [10] * 8))[0]["notes"] == []


def test_refusals(refused, manifest, predictions, tmp_path):
    path = predictions("p.jsonl", [5])
    truth = ("--ground-truth", manifest)
    assert "with 0 files" in refused("metrics", *truth)
    assert "with 3 files" in refused("metrics", path, "--compare", path, tmp_path / "q.jsonl", *truth)
    assert "invalid choice: 'timelense'" in refused("metrics", path, *truth, "--as", "timelense")
    assert "it looks like the format ours" in refused("metrics", path, *truth, "--format", "vue-tr")
    assert "No such file" in refused("metrics", path, "--ground-truth", tmp_path / "nowhere.jsonl", "--as", "timelens")
    assert "No such file" in refused("metrics", tmp_path / "nowhere.json", *truth, "--as", "timelens")
    (tmp_path / "x.jsonl").write_text('{"id": "stranger", "answer": "1 - 2"}\n')
    assert "none of them belongs to an annotated query" in refused(
        "metrics", tmp_path / "x.jsonl", *truth, "--as", "timelens"
    )
    assert "none of them belongs to an annotated query" in refused("metrics", tmp_path / "x.jsonl", *truth)
    assert "line 1 is not a prediction: it is a row of a manifest" in refused("metrics", manifest, *truth)
    (tmp_path / "x.json").write_text('{"a.mp4>>>query a>>>[0, 10]": {"timestamps": [[0, 5]]}')
    assert "ends" in refused("metrics", tmp_path / "x.json", *truth, "--as", "timelens")
