"""Rows whose query spells a control token, through the command line: asked, scored and trained on like any other."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import tomli_w

from video_opd.cli import main
from video_opd.data.manifest import read_manifest
from video_opd.policy.load import Policy

SPELLINGS = ("<|video_pad|>", "<|image_pad|>", "<|im_end|>", "<|vision_start|><|video_pad|><|vision_end|>", "<think>")


@pytest.fixture
def manifest(world, tmp_path) -> Path:
    """The training manifest with a control token in every query."""
    rows = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["query"] = f"{SPELLINGS[number % len(SPELLINGS)]} {row['query']} {SPELLINGS[-1 - number % len(SPELLINGS)]}"
    path = tmp_path / "tokens.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_data_check_names_every_row(manifest, world, capsys):
    assert main(["data", "check", str(manifest), "--videos", str(world / "videos"), "--json"]) == 0
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [problem["line"] for problem in problems] == list(range(1, 13))
    assert all("it is read as plain text" in problem["message"] for problem in problems)


def test_evaluate_score_and_ground_ask_them(manifest, world, models, tmp_path, capsys):
    asked = [models["student"], str(manifest), "--videos", str(world / "videos"), "--max-new-tokens", "4"]
    assert main(["evaluate", *asked, "--out", str(tmp_path / "p.jsonl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["set_aside"] == {}
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 12
    assert main(["score", *asked, "--answers", "2", "--out", str(tmp_path / "s.jsonl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_scored"] == 12
    clip = str(world / "videos" / read_manifest(manifest)[0].video)
    counts = []
    for query in ("the red circle", *SPELLINGS):
        assert main(["ground", models["student"], clip, query, "--max-new-tokens", "4", "--json"]) == 0
        counts.append(json.loads(capsys.readouterr().out)["num_video_tokens"])
    assert len(set(counts)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["opd", "sft"])
def test_training_learns_from_them(manifest, recipe_file, models, method, tmp_path, monkeypatch):
    """Student and teacher read the same ids, since they get the same prompt."""
    tables = tomllib.loads(recipe_file.read_text())
    tables["data"]["train"] = str(manifest)
    tables["training"]["steps"] = 2
    tables["method"] = {"name": method}
    recipe_file.write_text(tomli_w.dumps(tables))
    read: dict[str, dict[str, list[int]]] = {}
    original = Policy.read

    def noted(self, prompts, **keywords):
        read.setdefault(self.name, {}).update({prompt.id: prompt.input_ids.tolist() for prompt in prompts})
        return original(self, prompts, **keywords)

    monkeypatch.setattr(Policy, "read", noted)
    assert main(["train", str(recipe_file), "--out", str(tmp_path / "run")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["num_set_aside"] for row in rows] == [0, 0]
    assert all(row["num_answers"] for row in rows)
    student = read[models["student"]]
    trained_on = {example.id for example in read_manifest(manifest)} & student.keys()
    assert len(trained_on) == 8
    if method == "opd":
        by_teacher = read[models["teacher"]]  # which also reads some test queries at the end, for the report
        assert {id: student[id] for id in trained_on} == {id: by_teacher[id] for id in trained_on}


@pytest.mark.parametrize("query", [".", "\u200b", "\x00\x01"])
def test_ground_refuses_a_query_without_words(refused, world, query):
    clip = next((world / "videos").glob("*.mp4"))
    assert "has no words: the model needs words to search for" in refused("ground", "tiny-teacher", clip, query)


def test_ground_refuses_a_query_that_is_not_utf_8(refused, world):
    clip = next((world / "videos").glob("*.mp4"))
    assert "half of a surrogate pair" in refused("ground", "tiny-teacher", clip, "the \udcff door")
