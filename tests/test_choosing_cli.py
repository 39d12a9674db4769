"""`score`, `merge-scores`, `select` and training on what they write, as a user types them; and what goes wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from video_opd.cli import main

SENTENCE = re.compile(r"video-opd: \S.*: \S.*\. [A-Z`(].*[^.]\.")


@pytest.fixture(scope="module")
def scored(world, tmp_path_factory) -> Path:
    """Scores of the tiny models on the twelve training queries of the tests' world."""
    out = tmp_path_factory.mktemp("scored")
    for model in ("teacher", "student"):
        more = ["--teacher", "tiny-teacher"] if model == "student" else []
        assert score(world, f"tiny-{model}", out / f"{model}.jsonl", *more) == 0
    return out


def score(world, model, out, *more: str) -> int:
    return main(
        ["score", model, str(world / "train.jsonl"), "--answers", "3", "--out", str(out), "--batch-size", "6",
         "--device", "cpu", *more]
    )  # fmt: skip


def refused(capsys, *words: object) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    last = [line for line in captured.err.splitlines() if line][-1]
    assert SENTENCE.fullmatch(last), last
    assert "Traceback" not in captured.err
    return last


def select(scored, *more: object, count=2, out="selection.jsonl") -> list[object]:
    return ["select", "--teacher", scored / "teacher.jsonl", "--student", scored / "student.jsonl", "--count", count,
            "--out", scored / out, *more]  # fmt: skip


def test_from_scores_to_a_run(scored, world, recipe_file, tmp_path, capsys):
    assert main([*map(str, select(scored, "--strategy", "top-k", "--threshold", "0.3", "--json"))]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["num_kept"] == 2
    rows = [json.loads(line) for line in (scored / "selection.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert [row["kept"] for row in rows] == [True] * 2 + [False] * 10
    assert all({"id", "tau", "sigma", "delta", "kept", "why"} <= row.keys() for row in rows)
    run = tmp_path / "run"
    words = ["train", str(recipe_file), "--out", str(run), "--curriculum.name", "selection",
             "--curriculum.file", str(scored / "selection.jsonl"), "--curriculum.order", "selected",
             "--training.batch-size", "2", "--training.micro-batch-size", "2"]  # fmt: skip
    assert main(words) == 0
    trained = [json.loads(line) for line in (run / "answers.jsonl").read_text().splitlines()]
    assert [(row["step"], row["id"]) for row in trained] == [
        (step, row["id"]) for step in (1, 2) for row in rows if row["kept"]
    ]
    # The file is part of what the run was begun with.
    (scored / "selection.jsonl").write_text((scored / "selection.jsonl").read_text().replace("1 of 2", "1 of two"))
    assert "have changed since" in refused(capsys, *words)


def test_shards_merge_into_what_one_scoring_gives(scored, world, tmp_path, capsys):
    for shard in ("1/2", "0/2"):
        assert score(world, "tiny-teacher", tmp_path / shard[0], "--shard", shard) == 0
    message = refused(capsys, "select", "--teacher", tmp_path / "0", "--count", 2, "--out", tmp_path / "s")
    assert "shards 0 of 2" in message
    assert main(["merge-scores", str(tmp_path / "1"), str(tmp_path / "0"), "--out", str(tmp_path / "merged")]) == 0
    whole, merged = (
        [json.loads(line) for line in path.read_text().splitlines() if '"id"' in line]
        for path in (scored / "teacher.jsonl", tmp_path / "merged")
    )
    assert [row["id"] for row in whole] == [row["id"] for row in merged]
    for one, other in zip(whole, merged, strict=True):
        assert [a["text"] for a in one["answers"]] == [a["text"] for a in other["answers"]]


def test_the_same_command_again_does_nothing_and_another_is_refused(scored, world, capsys):
    path = scored / "teacher.jsonl"
    before = path.read_bytes()
    assert score(world, "tiny-teacher", path) == 0
    assert path.read_bytes() == before
    words = ["score", "tiny-teacher", world / "train.jsonl", "--out", path, "--device", "cpu"]
    assert "settings (num_answers: 3 and 4)" in refused(capsys, *words)
    assert "their model and settings differ" in refused(capsys, *words[:1], "tiny-student", *words[2:])
    assert path.read_bytes() == before


def draws_of(path) -> list[list[str]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [[answer["text"] for answer in row["answers"] if answer["sampled"]] for row in rows if "id" in row]


def test_two_models_do_not_draw_alike_and_files_from_before_are_read_and_not_gone_on_with(
    scored, world, tmp_path, capsys
):
    """Before, both drew with the numbers of --seed."""
    words = ["--strategy", "top-k", "--threshold", "0.3"]
    capsys.readouterr()
    assert main([*map(str, select(scored, *words))]) == 0
    assert "random numbers" not in capsys.readouterr().err
    for name in ("teacher", "student"):
        rows = (scored / f"{name}.jsonl").read_text()
        assert rows.count(', "draws": "the model\'s own"') == 1
        (tmp_path / f"{name}.jsonl").write_text(rows.replace(', "draws": "the model\'s own"', ""))
    assert main([*map(str, select(tmp_path, *words))]) == 0
    assert "were drawn with the same random numbers" in " ".join(capsys.readouterr().err.split())
    command = ["score", "tiny-teacher", world / "train.jsonl", "--answers", 3, "--out", tmp_path / "teacher.jsonl",
               "--batch-size", 6, "--device", "cpu"]  # fmt: skip
    assert "settings (draws: None and the model's own) differ" in refused(capsys, *command)


def test_a_scoring_killed_in_its_first_line_goes_on(scored, world, tmp_path):
    header = (scored / "teacher.jsonl").read_bytes().splitlines(keepends=True)[0]
    (tmp_path / "again").write_bytes(header[:-40])
    assert score(world, "tiny-teacher", tmp_path / "again") == 0
    assert (tmp_path / "again").read_bytes().startswith(header)


def test_scores_of_another_manifest_are_refused(scored, world, tmp_path, capsys, recipe_file):
    """By select, and by a run that is given them."""
    assert main(["score", "tiny-student", str(world / "test.jsonl"), "--videos", str(world / "videos"), "--answers",
                 "2", "--out", str(tmp_path / "other"), "--device", "cpu"]) == 0  # fmt: skip
    words = ["select", "--teacher", scored / "teacher.jsonl", "--student", tmp_path / "other", "--count", 2,
             "--strategy", "top-k", "--out", tmp_path / "s"]  # fmt: skip
    assert "scores of different manifests" in refused(capsys, *words)
    rounds = ["train", recipe_file, "--out", tmp_path / "run", "--curriculum.name", "rounds", "--curriculum.count", 2,
              "--curriculum.num-rounds", 1, "--curriculum.cache", tmp_path / "cache"]  # fmt: skip
    message = refused(capsys, *rounds, "--curriculum.teacher-scores", tmp_path / "other")
    assert "holds scores of another manifest" in message
    message = refused(capsys, *rounds, "--curriculum.teacher-scores", scored / "student.jsonl")
    assert "holds scores of another model" in message


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--threshold", "1", "--count", "12"], "examples are left at threshold 1"),
        (["--count", "13"], "count = 13, and "),
        (["--count", "0"], "--count: '0' is not a whole number of at least 1"),
        (["--threshold", "1.5"], "not a number from 0 to 1"),
        (["--strategy", "best"], "invalid choice"),
        (["--disagreement", "kl"], "invalid choice"),
        (["--out", "/proc/nowhere/s"], "cannot be written"),
    ],
)
def test_a_selection_that_cannot_be(scored, capsys, more, message):
    assert message in refused(capsys, *select(scored, *more, out="unwritten"))
    assert not (scored / "unwritten").exists()


def test_a_file_that_is_no_file_of_scores(scored, tmp_path, capsys):
    (tmp_path / "empty").write_text("")
    (tmp_path / "text").write_text("hello\nworld\n")
    for name, message in (("empty", "not a file of scores"), ("text", "is broken"), ("gone", "no such file")):
        assert message in refused(capsys, "select", "--teacher", tmp_path / name, "--count", 1, "--out", tmp_path / "s")
        assert message in refused(capsys, "merge-scores", tmp_path / name, "--out", tmp_path / "s")
    lines = (scored / "teacher.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "half").write_text("".join(lines[:6]))
    message = refused(capsys, "select", "--teacher", tmp_path / "half", "--count", 1, "--out", tmp_path / "s")
    assert "has 5 of 12 examples" in message
    lines[3] = re.sub(r'"iou": [0-9.]+', '"iou": NaN', lines[3])
    (tmp_path / "nan").write_text("".join(lines))
    message = refused(capsys, "select", "--teacher", tmp_path / "nan", "--count", 1, "--out", tmp_path / "s")
    assert "not a number" in message


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shard", "2/2"], "is not a shard"),
        (["--shard", "half"], "is not a shard"),
        (["--shard", "12/13"], "fewer examples"),
        (["--answers", "0"], "at least 1"),
        (["--teacher", "tiny-teacher", "--answers", "1"], "--teacher without draws"),
        (["--teacher", "tiny-teacher", "--top-k", "beam"], "--teacher without draws"),
        (["--videos", "/nowhere"], "no such folder"),
        (["--teacher", "/nowhere"], "was not found"),
    ],
)
def test_a_scoring_that_cannot_be(world, tmp_path, capsys, more, message):
    words = ["score", "tiny-student", world / "train.jsonl", "--out", tmp_path / "s", "--device", "cpu", *more]
    assert message in refused(capsys, *words)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "best"}, "no curriculum has that name. Choose one of rounds, scc, selection, tvdf, whole-pool"),
        ({"name": "tvdf"}, "has no curriculum.count"),
        ({"name": "tvdf", "count": "13", "num_rounds": "1"}, "the training manifest has 12 examples"),
        ({"name": "tvdf", "count": "2"}, "training.steps = 2 for curriculum.num_rounds = 3"),
        ({"name": "tvdf", "count": "2", "num_anchors": "3"}, "this curriculum has no such setting"),
        ({"name": "rounds", "count": "2", "threshold": "0"}, "random without a threshold"),
        ({"name": "rounds", "count": "2", "num_rounds": "1", "disagreement": "reverse-kl", "num_answers": "1"},
         "measured along sampled answers"),
        ({"name": "rounds", "count": "2", "num_rounds": "1", "reliability": "agreement", "num_answers": "1"},
         "needs curriculum.num_answers"),
        ({"name": "rounds", "count": "2", "num_rounds": "1", "skip_below": "0.8"},
         "where the greedy answer's IoU is lower, it is the only score, and it must not be enough to pass"),
        ({"name": "scc", "num_anchors": "0", "num_frontier": "0"}, "nothing would be trained on"),
        ({"name": "scc"}, "num_anchors and num_frontier = 1000"),
        ({"name": "selection"}, "has no curriculum.file"),
        ({"name": "selection", "file": "gone.jsonl"}, "no such file"),
        ({"suspend_at": "-1"}, "greater than or equal to 0"),
    ],
)  # fmt: skip
def test_a_curriculum_that_cannot_be(recipe_file, tmp_path, capsys, changes, message):
    words = [word for key, value in changes.items() for word in (f"--curriculum.{key}", value)]
    assert message in refused(capsys, "train", recipe_file, "--out", tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


def test_the_gate_needs_answers_of_the_students_own(recipe_file, tmp_path, capsys):
    words = ["--method.name", "sft", "--curriculum.suspend-at", "0.7"]
    message = refused(capsys, "train", recipe_file, "--out", tmp_path / "run", *words)
    assert "uses the student's own answers" in message


def test_nothing_that_passes_the_filter_is_told_with_how_many_there_were(recipe_file, tmp_path, capsys):
    """A teacher with random weights is never right."""
    words = ["--curriculum.name", "rounds", "--curriculum.count", 2, "--curriculum.num-rounds", 1,
             "--curriculum.cache", tmp_path / "cache"]  # fmt: skip
    message = refused(capsys, "train", recipe_file, "--out", tmp_path / "run", *words)
    assert "count = 2, and 0 of 12 examples are left at threshold 0.7" in message
