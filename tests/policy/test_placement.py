"""A teacher with a place of its own. On a machine without GPUs: what is moved and when, not how fast."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.errors import ConfigurationError
from video_opd.policy import load
from video_opd.policy.families import FAMILIES
from video_opd.policy.load import keep_on_cpu, place_model
from video_opd.policy.placement import Placement, list_tensors
from video_opd.policy.sharding import Sharding
from video_opd.train import build_models
from video_opd.train.early_checks import refuse_unfit_job


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_weights_leave_a_device_without_being_copied_back(make_policy):
    policy = make_policy(1)
    before = {name: tensor.clone() for name, tensor in list_tensors(policy.model)}
    assert len(before) > 20
    resting = keep_on_cpu(policy.model, torch.device("cpu"))
    place_model(policy.model, torch.device("cpu:0"), resting)  # a copy, as on a GPU
    for name, tensor in list_tensors(policy.model):
        assert torch.equal(tensor, before[name]), name
        assert tensor.data_ptr() != resting[name].data_ptr()
    place_model(policy.model, torch.device("cpu"), resting)
    for name, tensor in list_tensors(policy.model):
        assert torch.equal(tensor, before[name]), name
        assert tensor.data_ptr() == resting[name].data_ptr()


def test_a_teacher_that_waits_on_the_cpu_teaches_the_same(recipe_file, tmp_path, monkeypatch):
    """It comes before it judges or is evaluated and goes afterwards, once each."""
    moves: list[str] = []
    place = load.place_model

    def note_move(model, where, resting=None) -> None:
        if resting is not None:
            moves.append(str(where))
        place(model, where, resting)

    monkeypatch.setattr(load, "place_model", note_move)
    monkeypatch.setattr("video_opd.train.run.score_timelines", lambda *_: None)  # it judges too, after the steps
    assert main(["train", str(recipe_file), "--out", str(tmp_path / "beside")]) == 0
    assert moves == []
    words = ["--teacher.offload", "true", "--teacher.device", "cpu:0"]
    assert main(["train", str(recipe_file), "--out", str(tmp_path / "apart"), *words]) == 0
    assert len(moves) == 2 * 2, "two steps of one micro-batch: in and out for each"
    assert losses(tmp_path / "apart") == losses(tmp_path / "beside")


def test_scores_come_to_the_students_device(make_policy, prompts, monkeypatch):
    policy = make_policy(1).freeze()
    policy.placement = Placement(devices=("cpu",), scores_on="cpu:0", offload=True)
    policy.resting = keep_on_cpu(policy.model, torch.device("cpu"))
    moved = []
    monkeypatch.setattr(load, "move_scores", lambda scores, where: moved.append(where) or scores)
    from video_opd.methods.teachers import OneTeacher
    from video_opd.types import Sampling

    groups = policy.answer(policy.read(prompts[:2]), sampling=Sampling(max_new_tokens=4, greedy=True))
    assert policy.is_awake
    OneTeacher(policy)(prompts[:2], groups)
    assert moved == [torch.device("cpu:0")]
    assert not policy.is_awake


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--teacher.device", "cuda:7"), "device 'cuda:7' cannot be used"),
        (("--teacher.device", "gpu"), "device 'gpu' cannot be used"),
        (("--teacher.devices", '["cuda:0", "cuda:0"]'), "does not name several different GPUs"),
        (("--teacher.devices", '["cpu", "cpu:0"]'), "layers are spread over GPUs"),
        (("--teacher.devices", '["cuda:1", "cuda:2"]', "--teacher.device", "cuda:1"), "both device and devices"),
        (("--teacher.devices", '["cuda:1", "cuda:2"]', "--teacher.offload", "true"), "offload moves the teacher as"),
    ],
)
def test_places_that_cannot_be_are_refused(recipe_file, tmp_path, refused, words, said):
    if "cuda:7" in words and torch.cuda.device_count() > 7:
        pytest.skip("the device exists")
    assert said in refused("train", recipe_file, "--out", tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


def test_a_quantised_teacher_does_not_wait_on_the_cpu(recipe_file, models, tmp_path, refused):
    config = Path(models["teacher"]) / "config.json"
    folder = tmp_path / "quantised"
    folder.mkdir()
    for file in config.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    table = json.loads(config.read_text()) | {"quantization_config": {"quant_method": "fp8"}}
    (folder / "config.json").write_text(json.dumps(table))
    words = ("--teacher.model", folder, "--teacher.offload", "true")
    assert "whose weights are quantised (fp8)" in refused("train", recipe_file, "--out", tmp_path / "run", *words)


@pytest.mark.parametrize("word", [{"teacher.device": "cuda:1"}, {"teacher.offload": "true"}])
def test_a_job_gives_a_teacher_no_place_of_its_own(recipe_file, word):
    recipe = load_recipe(recipe_file, word)
    refuse_unfit_job(recipe, 1)
    with pytest.raises(Exception, match="in a job of 2 processes"):
        refuse_unfit_job(recipe, 2)


@pytest.mark.parametrize(("found", "wanted"), [("cuda", "cpu"), (None, "cuda")])
def test_shards_lie_where_transformers_puts_them(found, wanted, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: found and torch.device(found))
    layout = Sharding(shards=2, replicas=1)
    with pytest.raises(ConfigurationError, match=f"cannot be sharded over processes on {wanted} on this machine"):
        layout.options("a", FAMILIES[0], torch.device(wanted), None)


def test_a_job_refuses_a_quantised_teacher_before_its_weights_are_read(recipe_file, monkeypatch):
    recipe = load_recipe(recipe_file)
    monkeypatch.setattr(build_models, "find_quantisation", lambda _: "fp8")
    build_models.refuse_unfit_places(recipe)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match="cannot be sharded over processes: its weights are quantised"):
        build_models.refuse_unfit_places(recipe)
