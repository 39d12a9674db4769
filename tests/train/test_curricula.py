"""Scores are made once and taken over where they are true; what a round was given is what it trains on."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tomllib
from pathlib import Path

import pytest
import tomli_w

from video_opd.config.recipe_file import load_recipe
from video_opd.train import loop
from video_opd.train.run import run_recipe

TINY = {"student.model": "tiny-student", "teacher.model": "tiny-teacher", "answers.max_new_tokens": "32"}
ROUNDS = {
    "curriculum.name": "rounds", "curriculum.count": "4", "curriculum.num_rounds": "2", "curriculum.threshold": "0.3",
    "curriculum.strategy": "top-k", "curriculum.num_answers": "3", "schedule.answers_kept": "4",
}  # fmt: skip


@pytest.fixture(scope="module")
def plain_run(write_recipe, tmp_path_factory) -> Path:
    """The folder of a run without changes, beside its cache of scores. Only to be read."""
    folder = tmp_path_factory.mktemp("plain")
    overrides = TINY | ROUNDS | {"curriculum.cache": str(folder / "cache")}
    run_recipe(load_recipe(write_recipe(folder), overrides), folder / "run")
    return folder / "run"


@pytest.fixture
def plain(plain_run, tmp_path) -> Path:
    """That folder, and its scores in the cache of the runs to come."""
    shutil.copytree(plain_run.parent / "cache", tmp_path / "cache")
    return plain_run


@pytest.fixture
def ran(recipe_file, tmp_path):
    """Runs a recipe of the tiny models in rounds; gives its folder."""

    def run(name: str, **changes: str | None) -> Path:
        overrides = TINY | ROUNDS | {"curriculum.cache": str(tmp_path / "cache")}
        overrides |= {key.replace("__", "."): value for key, value in changes.items()}
        overrides = {key: value for key, value in overrides.items() if value is not None}
        run_recipe(load_recipe(recipe_file, overrides), tmp_path / name)
        return tmp_path / name

    return run


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def scored(path: Path) -> list[dict]:
    return [row for row in lines(path) if "id" in row]


def facts(run: Path, round: int) -> dict:
    return json.loads((run / "rounds" / str(round) / "selection-facts.json").read_text())


def kept(run: Path, round: int) -> list[str]:
    return [row["id"] for row in lines(run / "rounds" / str(round) / "selection.jsonl") if row["kept"]]


@pytest.mark.slow
@pytest.mark.long
def test_another_run_takes_over_what_is_true_for_it_too(ran, plain):
    first, other = plain, ran("second", seed="5")
    for name in ("teacher-scores.jsonl",):  # asked with the same draws whatever the run's seed
        assert (first / "rounds" / name).read_bytes() == (other / "rounds" / name).read_bytes()
    mine, theirs = (run / "rounds" / "1" / "student-scores.jsonl" for run in (first, other))
    assert mine.read_bytes() != theirs.read_bytes()  # other draws
    again = ran("third")
    assert (again / "rounds" / "1" / "student-scores.jsonl").read_bytes() == mine.read_bytes()  # seconds included
    later = [scored(run / "rounds" / "2" / "student-scores.jsonl") for run in (first, again)]
    assert [row["answers"] for row in later[0]] == [row["answers"] for row in later[1]]
    assert facts(again, 1)["cost"] == facts(first, 1)["cost"]  # what was taken over costs what it cost
    assert kept(again, 2) == kept(first, 2)
    more = ran("fourth", curriculum__num_answers="2")
    assert len(scored(more / "rounds" / "teacher-scores.jsonl")[0]["answers"]) == 2  # another way of asking


@pytest.mark.long
@pytest.mark.slow
def test_one_model_as_teacher_and_student_draws_twice_with_the_seed_of_the_teacher_too(ran):
    """With seed 0 both streams were one: teacher and student gave the same answers, and the gap had no spread."""
    one_model = {"teacher.model": "tiny-student", "curriculum.threshold": "0", "seed": "0"}
    run = ran("run", **one_model)
    files = [run / "rounds" / name for name in ("teacher-scores.jsonl", "1/student-scores.jsonl")]
    draws = [{row["id"]: [a["text"] for a in row["answers"] if a["sampled"]] for row in scored(path)} for path in files]
    assert sum(draws[0][id] == draws[1][id] for id in draws[0]) <= 2  # of twelve; by chance
    assert {tuple(a["text"] for a in row["answers"] if not a["sampled"]) for row in scored(files[0])} == {
        tuple(a["text"] for a in row["answers"] if not a["sampled"]) for row in scored(files[1])
    }
    said = [lines(path)[0]["scores"]["settings"]["draws"] for path in files]
    assert said == ["the model's own, as teacher", "the model's own, as student"]


@pytest.mark.long
@pytest.mark.slow
def test_a_teacher_that_is_named_twice_draws_twice(ran, recipe_file):
    """And a third run takes over both files: they are of seed 0, whatever the run's seed."""
    tables = tomllib.loads(recipe_file.read_text())
    del tables["teacher"]
    tables |= {"teachers_by": "average", "teachers": [{"model": "tiny-student"}] * 2}
    recipe_file.write_text(tomli_w.dumps(tables))
    run, other = (ran(name, teacher__model=None, curriculum__threshold="0", seed=seed)
                  for name, seed in (("run", "0"), ("other", "3")))  # fmt: skip
    files = [f"rounds/teacher-{number}-scores.jsonl" for number in (1, 2)]
    draws = [[[a["text"] for a in row["answers"] if a["sampled"]] for row in scored(run / name)] for name in files]
    assert sum(one == two for one, two in zip(*draws, strict=True)) <= 2  # of twelve; by chance
    for name in files:
        assert (run / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.slow
def test_only_what_the_filter_leaves_is_asked_of_the_student(plain):
    run = plain
    passing = {row["id"] for row in scored(run / "rounds" / "teacher-scores.jsonl") if row["mean_iou"] >= 0.3}
    assert 4 < len(passing) < 12
    assert {row["id"] for row in scored(run / "rounds" / "1" / "student-scores.jsonl")} == passing
    for round, steps in ((1, (1,)), (2, (2,))):
        trained = {row["id"] for row in lines(run / "answers.jsonl") if row["step"] in steps}
        assert trained == set(kept(run, round))


@pytest.mark.slow
def test_scores_of_other_weights_are_put_aside_and_never_used(ran, plain, tmp_path, caplog):
    """A file of scores in the run's folder that is not of its teacher, as after an exchange of the model."""
    folder = tmp_path / "run" / "rounds"
    folder.mkdir(parents=True)
    (tmp_path / "run" / "recipe.toml").write_text("")  # of a run that was killed before it began
    (tmp_path / "run" / ".recipe.sha256").write_text(hashlib.sha256(b"").hexdigest())
    rows = lines(plain / "rounds" / "teacher-scores.jsonl")
    rows[0]["scores"]["model_sha256"] = "0" * 64
    for row in rows[1:-1]:
        row["answers"] = [answer | {"iou": 1.0} for answer in row["answers"]]
    (folder / "teacher-scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with caplog.at_level(logging.WARNING):
        run = ran("run")
    assert "no longer valid" in caplog.text
    assert (folder / "teacher-scores.stale-1.jsonl").exists()
    assert scored(run / "rounds" / "teacher-scores.jsonl") == scored(plain / "rounds" / "teacher-scores.jsonl")


@pytest.mark.slow
def test_answers_written_while_training_spare_scoring(ran):
    run = ran("run", curriculum__reuse_answers="true", curriculum__num_rounds="3", training__steps="3")
    passing = {row["id"] for row in scored(run / "rounds" / "1" / "student-scores.jsonl")}
    for round in (2, 3):  # those of the round before, and none that are older
        anew = {row["id"] for row in scored(run / "rounds" / str(round) / "student-scores.jsonl")}
        assert anew == passing - set(kept(run, round - 1))
        written = {row["id"]: row["iou"] for row in lines(run / "answers.jsonl") if row["step"] == round - 1}
        sigma = {row["id"]: row["sigma"] for row in lines(run / "rounds" / str(round) / "selection.jsonl")}
        assert {id: sigma[id] for id in written} == written


@pytest.mark.long
@pytest.mark.slow
def test_a_race_in_a_run_scores_less_and_says_why(ran):
    """Enough of twelve is four; another race makes scores of its own."""
    strategy = {"curriculum__strategy": "random", "curriculum__num_rounds": "1", "curriculum__race_pilot": "2"}
    run = ran("run", curriculum__race_enough="1.0", **strategy)
    rows = scored(run / "rounds" / "teacher-scores.jsonl")
    asked = [row for row in rows if "answers" in row]
    assert len(rows) == 12
    assert 4 <= len(asked) < 12
    assert sum(row["mean_iou"] >= 0.3 for row in asked) in (4, 5)
    assert all("are enough" in row["unscored"] for row in rows if "answers" not in row)
    left_out = [row["why"] for row in lines(run / "rounds" / "1" / "selection.jsonl") if not row["kept"]]
    assert sum("not scored" in why for why in left_out) == 12 - len(asked)
    assert facts(run, 1)["cost"]["teacher"]["num_scored"] == len(asked)
    whole = ran("whole", curriculum__race="true", curriculum__race_min_yield="0.0", **strategy)
    assert all("answers" in row for row in scored(whole / "rounds" / "teacher-scores.jsonl"))
    lazy = ran("lazy", curriculum__skip_below="0.3", **strategy)
    sizes = {len(row["answers"]) for row in scored(lazy / "rounds" / "teacher-scores.jsonl")}
    assert sizes == {1, 3}


@pytest.mark.slow
def test_a_kill_before_the_evaluation_of_a_round_does_not_lose_it(ran, plain, monkeypatch):
    evaluate = loop._evaluate

    def interrupted(parts, step, run):
        if step == 1:  # the first round is over, its checkpoint is saved
            raise KeyboardInterrupt
        return evaluate(parts, step, run)

    monkeypatch.setattr(loop, "_evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ran("run")
    monkeypatch.setattr(loop, "_evaluate", evaluate)
    run = ran("run")
    scores = [json.loads((r / "rounds" / "1" / "evaluation.json").read_text())["scores"] for r in (run, plain)]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_ranking_by_reverse_kl_in_a_run(ran):
    run = ran("run", curriculum__disagreement="reverse-kl", curriculum__num_rounds="1")
    kl = {row["id"]: row["reverse_kl"] for row in scored(run / "rounds" / "1" / "student-scores.jsonl")}
    assert kept(run, 1) == sorted(kl, key=lambda id: -kl[id])[:4]


@pytest.mark.slow
def test_a_front_loaded_run_presents_every_candidate_once_and_goes_on_with_the_same_batches(ran, monkeypatch):
    settings = {
        "curriculum__name": "scc", "curriculum__count": None, "curriculum__num_rounds": None,
        "curriculum__threshold": None, "curriculum__strategy": None, "curriculum__num_anchors": "1",
        "curriculum__num_frontier": "6", "curriculum__teacher_threshold": "0", "curriculum__anchor_threshold": "0.3",
        "curriculum__schedule": "front-loaded", "curriculum__profile": "[[0, 1], [0.75, 0.25], [1, 0.25]]",
        "curriculum__last_repeats": "1", "curriculum__last_full_batch": "2", "training__normalise": "constant",
        "training__steps": "4", "schedule__answers_kept": "8",
    }  # fmt: skip
    whole = ran("whole", **settings)
    take_step = loop.take_step

    def interrupted(learner, prompts, method, *, step, seed):
        if step == 2:
            raise KeyboardInterrupt
        return take_step(learner, prompts, method, step=step, seed=seed)

    monkeypatch.setattr(loop, "take_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ran("resumed", **settings)
    monkeypatch.setattr(loop, "take_step", take_step)
    resumed = ran("resumed", **settings)
    shown = [[row["id"] for row in lines(whole / "answers.jsonl") if row["step"] == step] for step in (1, 2, 3, 4)]
    assert list(map(len, shown)) == [4, 1, 1, 2]
    candidates = kept(whole, 1)
    kinds = {row["id"]: row["kind"] for row in lines(whole / "rounds" / "1" / "selection.jsonl") if row["kept"]}
    assert {id for ids in shown for id in ids} == set(candidates)
    assert [sum(kinds[id] == "anchor" for id in ids) for ids in shown] == [1, 0, 0, 0]
    first = next(id for id in candidates if kinds[id] == "frontier")
    assert [sum(id == first for id in ids) for ids in shown] == [1, 0, 0, 1]
    losses = [(row["num_prompts"], row["loss"]) for row in lines(whole / "metrics.jsonl")]
    assert losses == [(row["num_prompts"], row["loss"]) for row in lines(resumed / "metrics.jsonl")]
    assert (whole / "answers.jsonl").read_text() == (resumed / "answers.jsonl").read_text()
    model = next(path.relative_to(whole) for path in whole.glob("checkpoints/*4/model/*.safetensors"))
    assert (whole / model).read_bytes() == (resumed / model).read_bytes()
