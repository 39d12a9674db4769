"""At the end of a run some answers to test queries are scored token by token, and nothing of the run depends on it."""

from __future__ import annotations

import json
import logging
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_training_job import communicate, launch

from video_opd.config.recipe_file import load_recipe
from video_opd.errors import DataError
from video_opd.files.timeline_records import TIMELINES_FILE, Timelines
from video_opd.methods.teachers import OneTeacher
from video_opd.policy.load import Policy
from video_opd.policy.read import Reading
from video_opd.ranks import Ranks
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


def forget_tokens(finished: Path, run: Path) -> Path:
    """A copy of the run, as it was before its tokens were scored."""
    shutil.copytree(finished / "run", run)
    (run / "evaluation" / TIMELINES_FILE).unlink()
    return run


@pytest.mark.long
@pytest.mark.skipif(find_spec("accelerate") is None, reason="sharding needs accelerate")
def test_a_process_that_fails_here_ends_its_job_and_the_next_start_ends_the_run(finished, tmp_path):
    run = forget_tokens(finished, tmp_path / "run")
    failure = {"rank": 1, "what": "oom", "at": "score", "times": 99}
    command = [json.dumps(failure), "train", finished / "recipe.toml", "--out", run]
    job = launch(tmp_path / "job", [command])
    out, err = communicate(job, 120)
    assert json.loads(out.splitlines()[-1]) == [2], err
    assert "the memory of the device is full on process 2 of 2" in err
    found = read(run)
    assert found.num_queries == 4
    assert not any(each.tokens for each in found.queries)
    (run / "report.html").unlink()
    run_recipe(load_recipe(finished / "recipe.toml"), run)
    assert "remove evaluation/timelines.json and run the same" in (run / "report.html").read_text()


def test_in_a_job_a_failure_outside_its_commands_is_harmless(finished, tmp_path, monkeypatch):
    ranks = Ranks(rank=0, size=1)
    monkeypatch.setattr("video_opd.train.score_timelines.current_job", lambda: ranks)

    def fail(*_: object) -> None:
        raise ValueError("a bug of ours")

    monkeypatch.setattr("video_opd.train.score_timelines._Scoring.score", fail)
    run_recipe(load_recipe(finished / "recipe.toml"), forget_tokens(finished, tmp_path / "run"))
    with pytest.raises(ValueError, match="a bug"):
        ranks.call(fail, [None])
    with pytest.raises(ValueError, match="a bug"):
        run_recipe(load_recipe(finished / "recipe.toml"), forget_tokens(finished, tmp_path / "other"))


def test_where_no_teacher_can_be_chosen_the_tokens_are_scored_without_one(finished, tmp_path, monkeypatch, caplog):
    def refuse(*_: object) -> None:
        raise DataError("example q1 is in no teacher's score file", reason="it is not known", remedy="score it")

    sizes = []

    def read_prompts(self: Policy, prompts: list, **options: bool) -> Reading:
        sizes.append(len(prompts))
        return read_really(self, prompts, **options)

    read_really = Policy.read
    monkeypatch.setattr(OneTeacher, "__call__", refuse)
    monkeypatch.setattr(Policy, "read", read_prompts)
    run = forget_tokens(finished, tmp_path / "run")
    recipe = load_recipe(finished / "recipe.toml")
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace("micro_batch_size = 4", "micro_batch_size = 3"))
    training = recipe.training.model_copy(update={"micro_batch_size": 3})
    run_recipe(recipe.model_copy(update={"training": training}), run)
    assert caplog.text.count("without the teacher's log-probs: example q1 is in no teacher's score file") == 1
    for each in read(run).queries:
        assert each.tokens is not None
        assert each.tokens.student_logprobs
        assert each.tokens.teacher_logprobs == each.tokens.blind_logprobs == []
    assert sizes == [4, 3, 1], "the teacher is asked as in an evaluation; what is scored is read as in training"
