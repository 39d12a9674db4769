"""At the end of a run some answers to test queries are scored token by token, and nothing of the run depends on it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from video_opd.config.recipe_file import load_recipe
from video_opd.files.timeline_records import TIMELINES_FILE, Timelines
from video_opd.train import run as run_module
from video_opd.train.run import run_recipe

pytestmark = pytest.mark.slow


def files_of(run: Path) -> dict[str, bytes]:
    """What must not depend on the scoring."""
    wanted = ("checkpoints/*/model/*", "answers.jsonl", "evaluation/*", "recipe.toml")
    return {
        str(path.relative_to(run)): path.read_bytes()
        for pattern in wanted
        for path in run.glob(pattern)
        if path.name != TIMELINES_FILE
    }


@pytest.fixture(scope="module")
def finished(write_recipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scored")
    run_recipe(load_recipe(write_recipe(folder)), folder / "run")
    return folder


def read(run: Path) -> Timelines:
    return Timelines.from_json(json.loads((run / "evaluation" / TIMELINES_FILE).read_text()))


def test_the_tokens_are_scored_by_student_and_teacher(finished):
    found = read(finished / "run")
    assert found.num_queries == 4
    assert sorted(found.sample) == sorted(each.id for each in found.queries)
    for each in found.queries:
        assert each.answers.keys() == {"student-before", "student-after", "teacher"}, "the teacher was asked for this"
        tokens = each.tokens
        assert tokens is not None
        count = len(tokens.texts)
        columns = (tokens.sampler_logprobs, tokens.student_logprobs, tokens.teacher_logprobs, tokens.blind_logprobs)
        assert count > 0
        assert [len(column) for column in (tokens.regions, *columns)] == [count] * 5
        assert tokens.sampler_logprobs == pytest.approx(tokens.student_logprobs, abs=1e-4)
        assert tokens.student_logprobs != pytest.approx(tokens.teacher_logprobs, abs=1e-2)
        assert tokens.teacher_logprobs != pytest.approx(tokens.blind_logprobs, abs=1e-4), "it saw the video"


def test_the_run_is_the_same_without_and_an_end_that_fails_costs_nothing(finished, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise RuntimeError("no more memory")

    monkeypatch.setattr("video_opd.train.score_timelines._Scoring.score", fail)
    other = finished / "other"
    with caplog.at_level(logging.WARNING):
        results = run_recipe(load_recipe(finished / "recipe.toml"), other)
    assert results["steps"] == 2
    assert "because scoring them failed: no more memory" in caplog.text
    assert not (other / "evaluation" / TIMELINES_FILE).exists()
    assert files_of(other) == files_of(finished / "run")
    assert "The tokens of these answers are not scored." in (other / "report.html").read_text()
    monkeypatch.undo()
    run_recipe(load_recipe(finished / "recipe.toml"), other)  # the same command scores them
    assert read(other) == read(finished / "run")
    assert "The tokens of these answers are not scored." not in (other / "report.html").read_text()


def test_what_is_scored_is_not_scored_again(finished, monkeypatch):
    monkeypatch.setattr(run_module, "write_report", lambda _: None)
    monkeypatch.setattr("video_opd.train.score_timelines._Scoring.score", lambda _: pytest.fail("scored again"))
    run_recipe(load_recipe(finished / "recipe.toml"), finished / "run")
