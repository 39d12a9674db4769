import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from video_opd.errors import DataError
from video_opd.grounding import (
    ParsedAnswer,
    Reason,
    best_constant,
    best_constant_answer,
    best_constant_share,
    best_iou,
    parse_answer,
    read_predictions,
    score,
    write_predictions,
)
from video_opd.grounding.metrics import bootstrap_intervals
from video_opd.sample_size import MIN_QUERIES
from video_opd.types import Example, Span


def ask(id_: str, *spans: tuple[float, float], duration: float = 30.0) -> Example:
    annotated = tuple(Span(*span) for span in spans)
    return Example(id=id_, video=f"{id_}.mp4", query="the red circle", spans=annotated, duration=duration)


def test_scores_by_hand() -> None:
    examples = [ask("exact", (0, 10)), ask("tie", (0, 10)), ask("second", (0, 2), (20, 30)), ask("mute", (0, 10))]
    predictions = {
        "exact": parse_answer("0 - 10"),
        "tie": parse_answer("0 - 5"),  # exactly 0.5: counts at 0.5
        "second": parse_answer("20 - 28, 0 - 2"),  # the first span, against the annotation it matches best: 0.8
        "mute": parse_answer("I cannot tell."),
    }
    scores = score(predictions, examples)
    assert scores.to_dict() == {
        "miou": pytest.approx((1 + 0.5 + 0.8 + 0) / 4),
        "r1@0.3": 0.75,
        "r1@0.5": 0.75,
        "r1@0.7": 0.5,
        "output_format_rate": 0.75,
        "num_queries": 4,
    }
    assert scores.iou_by_id == {"exact": 1.0, "tie": 0.5, "second": 0.8, "mute": 0.0}
    assert scores.per_query == {
        "miou": scores.iou_by_id,
        "r1@0.3": {"exact": 1.0, "tie": 1.0, "second": 1.0, "mute": 0.0},
        "r1@0.5": {"exact": 1.0, "tie": 1.0, "second": 1.0, "mute": 0.0},
        "r1@0.7": {"exact": 1.0, "tie": 0.0, "second": 1.0, "mute": 0.0},
        "output_format_rate": {"exact": 1.0, "tie": 1.0, "second": 1.0, "mute": 0.0},
    }


def test_nothing_is_rounded() -> None:
    scores = score({"a": parse_answer("0.4 - 10.4")}, [ask("a", (0, 10))])
    assert scores.miou == pytest.approx(9.6 / 10.4)


def test_a_missing_prediction_scores_zero_and_an_unknown_one_nothing() -> None:
    scores = score(
        {"a": parse_answer("0 - 10"), "stranger": parse_answer("0 - 10")}, [ask("a", (0, 10)), ask("b", (0, 1))]
    )
    assert (scores.miou, scores.output_format_rate, scores.num_queries) == (0.5, 0.5, 2)
    report = scores.to_report()
    assert report["missing"] == {"count": 1, "ids": ["b"]}
    assert report["unknown"] == {"count": 1, "ids": ["stranger"]}


def test_the_report_spells_out_its_convention_and_is_json() -> None:
    report = json.loads(json.dumps(score({}, [ask("a", (0, 1))]).to_report()))
    assert report["convention"]["comparator"] == ">="
    assert report["convention"]["rounding"] == "none"
    assert "every example" in report["convention"]["denominator"]
    assert report["convention"]["parser_version"] == 2
    many = score(*noisy(MIN_QUERIES)).to_report()
    assert many["intervals"].keys() == {"miou", "r1@0.3", "r1@0.5", "r1@0.7", "output_format_rate"}
    assert many["convention"]["intervals"] == "95 % percentile bootstrap, 1000 resamples of queries, seed 0"


def test_duplicates_and_nothing_are_refused() -> None:
    answer = parse_answer("0 - 1")
    with pytest.raises(DataError, match="'a' is given twice"):
        score([("a", answer), ("a", answer)], [ask("a", (0, 1))])
    with pytest.raises(DataError, match="'a' is given twice"):
        score({}, [ask("a", (0, 1)), ask("a", (0, 2))])
    with pytest.raises(DataError, match="no examples"):
        score({}, [])


@pytest.mark.parametrize("wrong", [{"thresholds": (0.0,)}, {"thresholds": (50,)}, {"num_resamples": 0}])
def test_arguments_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        score({}, [ask("a", (0, 1))], **wrong)


# --- Intervals


def noisy(num_queries: int, seed: int = 0) -> tuple[dict[str, ParsedAnswer], list[Example]]:
    ends = np.random.default_rng(seed).uniform(0, 10, num_queries)
    examples = [ask(str(n), (0, 10)) for n in range(num_queries)]
    return {str(n): ParsedAnswer((Span(0.0, float(end)),)) for n, end in enumerate(ends)}, examples


def test_intervals_hold_the_mean_and_have_the_textbook_width() -> None:
    predictions, examples = noisy(400)
    scores = score(predictions, examples, num_resamples=4000)
    for name, (low, high) in scores.intervals.items():
        assert low <= scores.to_dict()[name] <= high
    low, high = scores.intervals["miou"]
    standard_error = np.std(list(scores.iou_by_id.values())) / np.sqrt(400)
    assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.06)
    assert scores.intervals["output_format_rate"] == (1.0, 1.0)


def test_intervals_narrow_with_the_root_of_the_number_of_queries() -> None:
    few, many = (score(*noisy(n)).intervals["r1@0.5"] for n in (100, 1600))
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(4, rel=0.25)


def test_intervals_are_a_function_of_the_seed() -> None:
    predictions, examples = noisy(50)
    assert score(predictions, examples, seed=1) == score(predictions, examples, seed=1)
    assert score(predictions, examples, seed=1).intervals != score(predictions, examples, seed=2).intervals


def test_intervals_do_not_depend_on_how_many_resamples_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, examples = noisy(50)
    whole = score(predictions, examples, num_resamples=100)
    monkeypatch.setattr("video_opd.grounding.metrics._ELEMENTS_AT_ONCE", 350)  # 7 resamples at once
    assert score(predictions, examples, num_resamples=100) == whole


@pytest.mark.parametrize("num_queries", [1, 2, MIN_QUERIES - 1])
def test_of_few_queries_there_are_no_intervals_but_a_sentence(num_queries: int) -> None:
    """The bootstrap of one query has no width: it would say that everything is sure."""
    report = score(*noisy(num_queries)).to_report()
    assert report["intervals"] == {}
    counted = "1 query" if num_queries == 1 else f"{num_queries} queries"
    said = report["convention"]["intervals"]
    assert f"cannot be said from {counted}: a 95 % interval needs at least {MIN_QUERIES} queries." in said


@pytest.mark.parametrize(("num_queries", "least"), [(MIN_QUERIES, 0.9), (100, 0.92)])
def test_from_that_many_queries_on_an_interval_covers(num_queries: int, least: float) -> None:
    """And of a sixth as many it does not: the number was found by this simulation."""

    def coverage(size: int) -> float:
        rng, covered = np.random.default_rng(size), 0
        for _ in range(600):
            ious = np.where(rng.random(size) < 0.4, 0.0, rng.beta(2, 2, size))  # of mean 0.3
            ((low, high),) = bootstrap_intervals(ious[:, None], rng, 300)
            covered += low <= 0.3 <= high
        return covered / 600

    assert coverage(num_queries) >= least
    assert coverage(MIN_QUERIES // 6) < 0.88


# --- The floor


def test_of_equally_good_constant_answers_the_earliest_then_the_shortest() -> None:
    assert best_constant_answer([ask("a", (0, 2)), ask("b", (4, 6))]) == (Span(0, 2), 0.5)
    assert best_constant_answer([ask("a", (0, 1)), ask("b", (0, 2))]) == (Span(0, 1), 0.75)


def test_best_constant_answer_against_trying_them_all() -> None:
    rng = np.random.default_rng(3)
    examples = [ask(str(n), *(sorted(rng.uniform(0, 12, 2)) for _ in range(1 + n % 3))) for n in range(15)]
    candidates = [Span(start / 2, end / 2) for start in range(26) for end in range(start + 1, 26)]
    means = [np.mean([best_iou(candidate, example.spans) for example in examples]) for candidate in candidates]
    span, miou = best_constant_answer(examples, resolution_s=0.5)
    assert miou == pytest.approx(max(means))
    assert span == candidates[int(np.argmax(means))]


def test_best_constant_answer_is_what_scoring_it_gives() -> None:
    examples = [ask("a", (2, 6)), ask("b", (3, 8)), ask("c"), ask("d", (0, 5))]  # c has no annotation, and counts
    span, miou = best_constant_answer(examples)
    assert score({e.id: ParsedAnswer((span,)) for e in examples}, examples).miou == pytest.approx(miou)


def test_best_constant_answer_refuses_what_it_cannot_answer() -> None:
    with pytest.raises(DataError, match="no examples"):
        best_constant_answer([])
    with pytest.raises(DataError, match="constant answer"):
        best_constant_answer([ask("a", (0, 0))])
    with pytest.raises(ValueError, match="positive"):
        best_constant_answer([ask("a", (0, 1))], resolution_s=0)


def test_a_floor_is_searched_within_the_videos() -> None:
    examples = [ask(str(n), (4, 9.5)) for n in range(9)]
    wrong = [*examples, ask("wrong", (4, 30400))]
    found = best_constant(wrong)
    assert found is not None
    assert (found.span, found.step) == ((4, 9.5), 0.5)
    assert found.miou == pytest.approx(0.9 + 0.1 * 5.5 / 30396)
    assert best_constant([ask("a", (0, 0))]) is best_constant([ask("a")]) is best_constant_share([ask("a")]) is None


# --- Predictions on disk


def test_predictions_come_back_as_they_were_written(tmp_path: Path) -> None:
    answers = {
        "a": "It happens in 1.5 - 2.5 s.",
        "é/1": "不 1秒到2秒",
        "b": "no idea",
        "c": "",
        "broken": "\ud800 \n 3 - 4",
    }
    path = tmp_path / "predictions.jsonl"
    write_predictions(path, answers)
    assert read_predictions(path) == {id_: parse_answer(text) for id_, text in answers.items()}
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert rows[0] == {"id": "a", "answer": answers["a"], "spans": [[1.5, 2.5]]}
    with pytest.raises(DataError, match="twice"):
        write_predictions(path, [("a", ""), ("a", "")])


def read(tmp_path: Path, content: bytes) -> dict[str, ParsedAnswer]:
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(content)
    return read_predictions(path)


def test_the_answer_is_parsed_anew_and_spans_are_the_fallback(tmp_path: Path) -> None:
    rows = b"""\xef\xbb\xbf{"id": "a", "answer": "4 - 9", "spans": [[0, 1]]}\r
{"id": "b", "spans": [[4, 9], [12, 10]]}

{"id": "c", "answer": null, "spans": []}
{"id": "d", "spans": [[9, 4]]}
{"id": "e", "spans": [[-1, 4]]}"""
    assert read(tmp_path, rows) == {
        "a": ParsedAnswer((Span(4, 9),)),
        "b": ParsedAnswer((Span(4, 9),)),
        "c": ParsedAnswer(reason=Reason.EMPTY),
        "d": ParsedAnswer(reason=Reason.REVERSED),
        "e": ParsedAnswer(reason=Reason.NEGATIVE),
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "b", "answer"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"id": "b", "spans": [[0, ' + b"1" * 5000 + b"]]}", "not JSON"),
        ('{"id": "b", "answer": "\xe9"}'.encode("latin-1"), "0xe9 at column 24 is not UTF-8"),
        (b'["b", "4 - 9"]', "is a list"),
        (b"null", "is a NoneType"),
        (b'{"answer": "4 - 9"}', 'no "id"'),
        (b'{"id": 7, "answer": "4 - 9"}', 'no "id"'),
        (b'{"id": "", "answer": "4 - 9"}', 'no "id"'),
        (b'{"id": "b"}', 'neither "answer" nor "spans"'),
        (b'{"id": "b", "answer": ["4 - 9"]}', "is a list, not a text"),
        (b'{"id": "b", "spans": null}', "not a list"),
        (b'{"id": "b", "spans": [4, 9]}', "two numbers"),
        (b'{"id": "b", "spans": [["4", "9"]]}', "two numbers"),
        (b'{"id": "b", "spans": [[true, 9]]}', "two numbers"),
        (b'{"id": "b", "spans": [[4, 9, 10]]}', "two numbers"),
        (b'{"id": "b", "spans": [[NaN, 9]]}', "NaN is not a number"),
        (b'{"id": "b", "spans": [[4, Infinity]]}', "Infinity is not a number"),
        (b'{"id": "b", "spans": [[4, 1e400]]}', "the number 1e400 is too large"),
        (b'{"id": "b", "spans": [[4, 1' + b"0" * 400 + b"]]}", "is too large"),
        (b'{"id": "b", "answer": "4 - 9", "answer": "5 - 9"}', "the key `answer` is there twice"),
        (b'{"id": "b", "answer": "4 - 9", "logprob": NaN}', "NaN is not a number"),
        (b'{"id": "b", "answer": "4 - 9"} 7', "not JSON"),
        (b'{"id": "a", "answer": "4 - 9"}', "'a' was given on line 1 already"),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_number(tmp_path: Path, line: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, b'{"id": "a", "answer": "4 - 9"}\n' + line + b"\n")
    assert f"{tmp_path / 'predictions.jsonl'}, line 2" in caught.value.cause
    assert reason in caught.value.reason
    assert caught.value.remedy


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_of_predictions_is_read(tmp_path: Path, indent: int | None) -> None:
    rows = [{"id": "a", "answer": "4 - 9"}, {"id": "b", "spans": [[1, 2]]}]
    found = read(tmp_path, json.dumps(rows, indent=indent).encode())
    assert {id_: answer.spans for id_, answer in found.items()} == {"a": ((4, 9),), "b": ((1, 2),)}
    with pytest.raises(DataError, match="entry 2 is not a prediction: id 'a' was given on entry 1 already"):
        read(tmp_path, json.dumps(rows[:1] * 2).encode())


def test_an_entry_of_a_list_is_held_to_json_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"predictions.jsonl, line 3: the key `answer` is there twice"):
        read(tmp_path, b'[{"id": "a", "answer": "4 - 9"},\n\n{"id": "b", "answer": "1 - 2", "answer": "3 - 4"}]')


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(DataError, match=str(path)):
            read_predictions(path)


def test_the_package_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, video_opd.grounding; sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
