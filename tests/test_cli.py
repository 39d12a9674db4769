"""The command line from the outside: what goes to stdout, what to stderr, and with which status."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from video_opd.cli import main, take_overrides
from video_opd.cli.application import COMMANDS, understand
from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.errors import ConfigurationError, UserError
from video_opd.eval.how_asked import resolve_template


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([*command.split(), "--help"])
    assert exit.value.code == 0
    assert f"example:\n  video-opd {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_in_the_help_is_understood(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    example = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"  video-opd {command}"))
    words, overrides = take_overrides(shlex.split(example)[1:])
    assert understand(words).recipe_keys or not overrides


def test_the_help_of_train_says_how_recipe_keys_are_given(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "--help-keys" in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(SystemExit):
        main(["train", "--help-keys"])
    assert "--training.learning_rate " in capsys.readouterr().out


def test_the_keys_of_a_recipe_are_listed_by_table_and_in_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("train", "doctor", "compare"):
        with pytest.raises(SystemExit):
            main([command, "r.toml", "--help-keys"])
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        headings = [line for line in lines if line.startswith("[")]
        assert "[training]" in headings
        assert len(headings) == len(set(headings))
        below = lines[lines.index("[training]") + 1 :]
        assert below[0].startswith("  --training.")


def test_a_help_of_what_there_is_not_is_refused(refused):
    assert "invalid choice: 'dance'" in refused("dance", "--help")
    assert "invalid choice: 'chek'" in refused("data", "chek", "--help")


@pytest.mark.parametrize(
    ("words", "rest", "overrides"),
    [
        ("train r.toml --training.steps 5", "train r.toml", {"training.steps": "5"}),
        ("train --training.steps 5 r.toml", "train r.toml", {"training.steps": "5"}),
        ("train --training.steps=5 r.toml --out x", "train r.toml --out x", {"training.steps": "5"}),
        ("train --training.learning-rate -1 r.toml", "train r.toml", {"training.learning_rate": "-1"}),
        ("train --data.train-file=a=b.jsonl r.toml", "train r.toml", {"data.train_file": "a=b.jsonl"}),
        ("train r.toml --out=runs/1.5", "train r.toml --out=runs/1.5", {}),
        ("ground m ./a.mp4 -- --odd.query", "ground m ./a.mp4 -- --odd.query", {}),
    ],
)
def test_recipe_keys_are_taken_out_wherever_they_stand(words, rest, overrides):
    assert take_overrides(words.split()) == (rest.split(), overrides)


def test_the_value_of_a_recipe_key_may_hold_blanks():
    assert take_overrides(["--prompt.user", "{video} When is {query}?"])[1] == {
        "prompt.user": "{video} When is {query}?"
    }


def test_both_spellings_reach_the_recipe(recipe_file, tmp_path, capsys):
    flags = ["--training.learning-rate", "-3", "--out", str(tmp_path / "run")]
    for spelling in (flags, ["--training.learning_rate=-3", *flags[2:]]):
        assert main(["train", *spelling, str(recipe_file)]) == 2
        assert "training.learning_rate = -3" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_error_is_one_sentence_of_three_parts():
    error = UserError("cause.", reason="reason\n  over two lines.", remedy="remedy...")
    assert str(error) == "cause: reason over two lines. Remedy."
    assert (error.cause, error.reason, error.remedy) == ("cause", "reason over two lines", "Remedy")
    assert str(UserError("c", reason="r", remedy="`video-opd` knows")) == "c: r. `video-opd` knows."


@pytest.fixture
def clip(world) -> Path:
    return world / "videos" / read_manifest(world / "test.jsonl")[0].video


def test_ground_answers_in_json(models, clip, capsys):
    assert main(["ground", models["student"], str(clip), "the red circle", "--json"]) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert set(answer) == {"spans", "answer", "duration", "num_video_tokens"}
    assert answer["duration"] in (8.0, 10.0, 12.0)
    assert answer["num_video_tokens"] == answer["duration"], "one token for two frames, at two frames a second"
    assert captured.err == ""


def test_a_prompt_the_model_was_not_trained_with_is_warned_about(models, clip, capsys):
    words = ["ground", models["student"], str(clip), "the red circle"]
    assert main(words) == 0
    assert "warning" not in capsys.readouterr().err
    assert main([*words, "--template", "time-r1"]) == 0
    assert f"{models['student']} was trained with the prompt tiny, and is asked with time-r1" in capsys.readouterr().err


def test_ground_answers_in_words_and_follows_links(models, clip, tmp_path, capsys):
    """The file may lie anywhere and be called anything: nothing of a manifest's rules holds for it."""
    link = tmp_path / "a link: to [a] clip.mp4"
    link.symlink_to(clip)
    assert main(["ground", models["student"], str(link), "the red circle"]) == 0
    assert "the model wrote: " in capsys.readouterr().out


def test_evaluate_writes_predictions_that_metrics_scores_alike(models, world, tmp_path, capsys):
    predictions, manifest = tmp_path / "new folder" / "predictions.jsonl", str(world / "test.jsonl")
    arguments = [models["student"], manifest, "--videos", str(world / "videos"), "--out", str(predictions)]
    assert main(["evaluate", *arguments, "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert {"miou", "r1@0.3", "r1@0.5", "r1@0.7", "output_format_rate", "num_queries"} <= set(report["scores"])
    assert report["scores"]["num_queries"] == 4
    assert captured.err.splitlines() == [f"evaluating {models['student']} on 4 queries"]

    rows = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert [row["id"] for row in rows] == [example.id for example in read_manifest(world / "test.jsonl")]
    assert all(set(row) == {"id", "answer", "spans"} for row in rows)

    assert main(["metrics", str(predictions), "--ground-truth", manifest, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["scores"] == report["scores"]
    assert captured.err == ""


def test_evaluate_prints_a_table_without_json(models, world, tmp_path, capsys):
    arguments = ["--videos", str(world / "videos"), str(world / "test.jsonl"), "--out", str(tmp_path / "p.jsonl")]
    assert main(["evaluate", models["student"], *arguments]) == 0  # a manifest may also stand after options
    out = capsys.readouterr().out
    assert "miou" in out
    assert "95 %" in out


def test_evaluate_says_how_many_answers_the_presets_own_parser_reads_otherwise(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(TEMPLATES, "tiny", replace(TEMPLATES["tiny"], parser="time_r1_reward"))
    monkeypatch.setattr(
        "video_opd.eval.how_asked.resolve_template", resolve_template.__wrapped__
    )  # which remembers none
    arguments = [str(world / "test.jsonl"), "--videos", str(world / "videos"), "--out", str(tmp_path / "p.jsonl")]
    assert main(["evaluate", "tiny-teacher", *arguments, "--template", "tiny", "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    answers = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    unread = [row for row in answers if row["spans"]]  # it knows no answer tags, and Time-R1 wants them
    assert (report["prompt"]["parser"], report["num_read_otherwise"]) == ("time_r1_reward", len(unread))
    assert unread
    assert f"reads {len(unread)} of 4 answers differently" in captured.err
    assert f"the first {unread[0]['id']}: {unread[0]['answer']!r}" in captured.err


@pytest.mark.slow
def test_train_goes_on_and_reports(recipe_file, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ["train", str(recipe_file), "--out", str(run), "--json"]
    assert main(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["steps"] == 2
    assert first["student_before"]["num_queries"] == first["student_after"]["num_queries"] == 4
    assert (run / "report.html").stat().st_size > 1000
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["num_set_aside"] == 0

    assert main(arguments) == 0, "a run that is done is done"
    again = capsys.readouterr()
    assert json.loads(again.out) == first
    assert "resuming after step 2 of 2" in again.err

    assert main(["train", str(recipe_file), "--out", str(run)]) == 0
    out = capsys.readouterr().out
    assert "student, after" in out
    assert out.endswith(f"report: {run / 'report.html'}\n")

    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"


@pytest.mark.slow
def test_the_demo_gives_what_it_promises(tmp_path, capsys, monkeypatch):
    """On a small world, with whatever models are in the package."""
    from video_opd import demo

    recipe = Path("tiny.toml")
    text = demo.find_bundled_recipe("tiny-opd").read_text()
    (tmp_path / recipe).write_text(
        text.replace("[data.tiny_world]", "[data.tiny_world]\nnum_train = 4\nnum_validation = 4\nnum_test = 4")
    )
    monkeypatch.setattr(demo, "find_bundled_recipe", lambda name: tmp_path / recipe)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--steps", "1", "--seed", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    scores = {"miou", "r1@0.3", "r1@0.5", "r1@0.7", "output_format_rate", "num_queries"}
    assert set(result) == {
        "student_before", "student_after", "teacher", "steps", "train_seconds", "seconds", "run",
    }  # fmt: skip
    assert all(set(result[who]) == scores for who in ("student_before", "student_after", "teacher"))
    assert all(0 <= result[who][name] <= 1 for who in ("teacher", "student_after") for name in scores - {"num_queries"})
    assert (result["steps"], result["run"]) == (1, str(out))
    assert result["seconds"] >= result["train_seconds"] > 0
    assert (out / "report.html").exists()

    assert main(["demo", "--out", str(out), "--steps", "1", "--seed", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result

    assert main(["demo", "--out", str(out), "--steps", "1", "--seed", "3"]) == 0
    *_, ask, own, recipes = capsys.readouterr().out.splitlines()
    assert ": " in own
    assert "video-opd recipes" in recipes
    assert main(shlex.split(ask.partition("video-opd ")[2])) == 0, "what comes next can be copied as it stands"


def test_metrics_tells_of_missing_predictions_on_stderr(world, tmp_path, capsys):
    predictions = tmp_path / "p.jsonl"
    known = json.loads((world / "test.jsonl").read_text().splitlines()[0])["id"]
    rows = [{"id": "stranger", "answer": "1 - 2 seconds"}, {"id": known, "answer": "no idea"}]
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["metrics", str(predictions), "--ground-truth", str(world / "test.jsonl"), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["scores"]["output_format_rate"] == 0
    assert "3 without a prediction" in captured.err
    assert "1 predicted but not asked, such as stranger" in captured.err


def test_data_check_in_json(world, tmp_path, capsys):
    manifest = tmp_path / "test.jsonl"
    shutil.copy(world / "test.jsonl", manifest)
    assert main(["data", "check", str(manifest), "--videos", str(world / "videos"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"manifest": str(manifest), "problems": []}
    with manifest.open("a") as file:
        file.write("{\n")
    assert main(["data", "check", str(manifest), "--json"]) == 2
    captured = capsys.readouterr()
    problems = json.loads(captured.out)["problems"]
    assert [(problem["line"], problem["severity"]) for problem in problems] == [(5, "error")]
    assert captured.err == "1 error, 0 warnings\n"


def test_tiny_world_build(tmp_path, capsys):
    sizes = [word for split in ("train", "validation", "test") for word in (f"--{split}", "2")]
    assert main(["tiny-world", "build", "--out", str(tmp_path), *sizes]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"train: {tmp_path / 'train.jsonl'}"
    assert main(["data", "check", str(tmp_path / "train.jsonl"), "--videos", str(tmp_path / "videos")]) == 0


def test_a_reader_that_leaves_early_is_no_error(world):
    """`video-opd … | head`, with a head that is gone before the first line."""
    command = [sys.executable, "-m", "video_opd.cli", "data", "check", str(world / "test.jsonl")]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, env=buffered)
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert "Error" not in done.stderr


@pytest.mark.parametrize("said", ["CUDA out of memory. Tried to allocate 2 TiB", "DefaultCPUAllocator: no memory"])
def test_memory_that_runs_out_is_told_in_one_sentence(monkeypatch, capsys, tmp_path, said):
    import torch

    def full(*_):
        raise (torch.OutOfMemoryError if "CUDA" in said else RuntimeError)(said)

    monkeypatch.setattr("video_opd.report.write_report", full)
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"video-opd: the device's memory is full: {said}.")


def test_a_bug_keeps_its_traceback(monkeypatch, tmp_path):
    def broken(*_):
        raise RuntimeError("ours")

    monkeypatch.setattr("video_opd.report.write_report", broken)
    with pytest.raises(RuntimeError, match="ours"):
        main(["report", str(tmp_path)])


def test_overrides_without_a_value():
    with pytest.raises(ConfigurationError, match="no value"):
        take_overrides(["train", "r.toml", "--training.steps"])
