"""A run folder given as a model is its newest whole checkpoint."""

from __future__ import annotations

import logging
import shutil
from functools import partial
from pathlib import Path

import pytest

from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.errors import ConfigurationError
from video_opd.policy import run_folders
from video_opd.policy.location import model_sha256, resolve_model
from video_opd.runs.checkpoint import save_checkpoint
from video_opd.runs.directory import RunDirectory
from video_opd.train.build import resolve_checkpoints

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny-opd.toml"


@pytest.fixture
def clip(world) -> Path:
    return next((world / "videos").glob("*.mp4"))


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder with checkpoints of steps 9, 40 and 1000000, each another model."""
    folder = tmp_path / "runs" / "x"
    with RunDirectory.create_or_resume(folder, recipe_toml='name = "x"\n', environment={}) as found:
        for step, model in ((9, "tiny-teacher"), (40, "tiny-student"), (1_000_000, "tiny-teacher")):
            save_checkpoint(found.checkpoints, step, partial(save, model=model, step=step))
    return folder


def save(folder: Path, model: str, step: int) -> None:
    shutil.copytree(resolve_model(model), folder / "model")
    (folder / "model" / "generation_config.json").write_text("{}")
    (folder / "state.json").write_text(f'{{"step": {step}}}')


def checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:06d}"


def test_the_newest_is_taken_and_said_once(run, caplog):
    with caplog.at_level(logging.WARNING):
        assert resolve_model(str(run)) == checkpoint(run, 1_000_000) / "model"
        assert resolve_model(f"{run}/") == checkpoint(run, 1_000_000) / "model"
    assert caplog.messages == [f"{run} is a run folder: its newest checkpoint is used, after step 1000000"]


@pytest.mark.parametrize("given", ["checkpoints", "checkpoints/step-000040", "checkpoints/step-000040/model"])
def test_other_folders_of_a_run(run, given):
    step = 40 if "step" in given else 1_000_000
    assert resolve_model(str(run / given)) == checkpoint(run, step) / "model"


@pytest.mark.parametrize("inside", [".", "checkpoints", "checkpoints/step-000040", "checkpoints/step-000040/model"])
def test_the_working_directory_may_be_any_of_them(run, inside, monkeypatch):
    """`.` has no name of its own."""
    _forget_runs()
    monkeypatch.chdir(run / inside)
    step = 40 if "step" in inside else 1_000_000
    assert resolve_model(".").resolve() == (checkpoint(run, step) / "model").resolve()
    _forget_runs()


def _forget_runs() -> None:
    for remembered in (run_folders._find_model_of_newest, run_folders._find_model_of_checkpoint):
        remembered.cache_clear()


def damage_marker(folder: Path) -> None:
    (folder / "COMPLETE.json").unlink()


def damage_weights(folder: Path) -> None:
    weights = folder / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def damage_size(folder: Path) -> None:
    with (folder / "model" / "model.safetensors").open("ab") as file:
        file.truncate(100)


def lose_a_file(folder: Path) -> None:
    (folder / "model" / "tokenizer.json").unlink()


DAMAGES = [damage_marker, damage_weights, damage_size, lose_a_file]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over_with_a_word(run, damage, caplog):
    damage(checkpoint(run, 1_000_000))
    with caplog.at_level(logging.WARNING):
        assert resolve_model(str(run)) == checkpoint(run, 40) / "model"
    assert "checkpoint step-1000000 has" in caplog.text
    assert "and is skipped" in caplog.text
    assert "after step 40" in caplog.text
    with pytest.raises(ConfigurationError, match="is not a whole checkpoint: it has"):
        resolve_model(str(checkpoint(run, 1_000_000)))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_of_damaged_checkpoints_is_refused(run, damage):
    for step in (9, 40, 1_000_000):
        damage(checkpoint(run, step))
    with pytest.raises(ConfigurationError, match=r"without a checkpoint that is whole: step-1000000 has .*; step-0"):
        resolve_model(str(run))


def test_what_is_not_of_the_model_does_not_count(run):
    (checkpoint(run, 1_000_000) / "state.json").write_text("{}")
    assert resolve_model(str(run)) == checkpoint(run, 1_000_000) / "model"


def test_unfinished_saves_are_no_checkpoints(run):
    checkpoint(run, 1_000_000).rename(run / "checkpoints" / "step-1000000.tmp-47")
    assert resolve_model(str(run)) == checkpoint(run, 40) / "model"


def test_a_run_that_saved_nothing_is_refused_in_one_sentence(run, refused, clip, world, tmp_path):
    manifest = world / "test.jsonl"
    shutil.rmtree(run / "checkpoints")
    for given in (run, f"{run}/"):
        assert "is a run folder without a checkpoint: the run has not saved one" in refused("ground", given, clip, "x")
    (run / "checkpoints").mkdir()
    for command in (("evaluate", run, manifest, "--videos", tmp_path), ("score", run, manifest, "--videos", tmp_path)):
        assert "is a run folder without a checkpoint" in refused(*command, "--out", tmp_path / "out.jsonl")
    (tmp_path / "empty").mkdir()
    assert "has no *.safetensors" in refused("ground", tmp_path / "empty", clip, "x")


def test_a_run_is_asked_on_the_command_line(run, clip, capsys):
    for given, model in ((run, "tiny-teacher"), (checkpoint(run, 40), "tiny-student")):
        assert main(["ground", str(given), str(clip), "the red circle", "--json"]) == 0
        found = capsys.readouterr().out
        assert main(["ground", model, str(clip), "the red circle", "--json"]) == 0
        assert capsys.readouterr().out == found


def test_a_recipe_that_names_a_run_means_one_checkpoint_for_good(run):
    recipe = load_recipe(RECIPE, {"student.model": str(run), "teacher.model": str(checkpoint(run, 9))})
    settled = resolve_checkpoints(recipe)
    assert settled.student.model == str(checkpoint(run, 1_000_000) / "model")
    assert settled.teacher.model == str(checkpoint(run, 9) / "model")
    assert model_sha256(resolve_model(settled.teacher.model)) == model_sha256(resolve_model("tiny-teacher"))
    plain = load_recipe(RECIPE)
    assert resolve_checkpoints(plain) == plain
    for name in ("tiny-student", "Qwen/Qwen3-VL-8B-Instruct", "no/such/place"):
        student = plain.student.model_copy(update={"model": name})
        assert resolve_checkpoints(plain.model_copy(update={"student": student})).student.model == name


@pytest.mark.parametrize("name", ["predictions.jsonl", "out.json.partial"])
def test_answers_written_into_a_models_folder_make_it_no_other_model(run, name):
    """An evaluation that was killed could not go on otherwise."""
    model = checkpoint(run, 40) / "model"
    before = model_sha256(model)
    (model / f"{name}.settings.json").write_text("{}")
    assert model_sha256(model) == before
