"""What is frozen stays as it is, bit for bit; all else moves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.policy.families import Family, find_family
from video_opd.policy.load import load_policy
from video_opd.train import build
from video_opd.train.build import load_student
from video_opd.train.build_models import load_frozen

MERGERS = ("model.visual.merger.", "model.visual.deepstack_merger_list.")


def part_of(name: str) -> str:
    """By hand, for Qwen3-VL."""
    if name.startswith(MERGERS):
        return "merger"
    return "tower" if name.startswith("model.visual.") else "language"


def update(recipe_file: Path, out: Path, *words: str) -> dict[str, bool]:
    """One update; for every weight whether it moved."""
    assert main(["train", str(recipe_file), "--out", str(out), "--steps", "1", *words]) == 0
    before = load_file(Path(load_recipe(recipe_file).student.model) / "model.safetensors")
    after = load_file(out / "checkpoints" / "step-000001" / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    return {name: not torch.equal(tensor, after[name]) for name, tensor in before.items()}


@pytest.mark.parametrize(
    ("words", "trained"),
    [
        ((), {"language", "tower", "merger"}),
        (("--student.freeze-vision", "true"), {"language", "merger"}),
        (("--student.freeze-merger", "true"), {"language", "tower"}),
        (("--student.freeze-vision", "true", "--student.freeze-merger", "true"), {"language"}),
    ],
    ids=["nothing", "as-timelens", "merger", "as-video-opd"],
)
def test_an_update_moves_exactly_what_is_trained(words, trained, recipe_file, tmp_path):
    moved = update(recipe_file, tmp_path / "run", *words)
    assert {part_of(name) for name in moved} == {"language", "tower", "merger"}
    for name, has_moved in moved.items():
        assert has_moved == (part_of(name) in trained), name


def test_the_parts_of_both_families(models, make_policy):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    student = make_policy()
    vision_part = student.family.vision_part
    qwen3 = [name for name, _ in student.model.named_parameters()]
    assert {name: vision_part(name) or "language" for name in qwen3} == {name: part_of(name) for name in qwen3}
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config={"num_hidden_layers": 1}))
    vision_part = find_family(model.config).vision_part
    for name, _ in model.named_parameters():
        assert (vision_part(name) or "language") == part_of(name), name


def test_a_part_that_the_model_does_not_have_cannot_be_frozen(refused, recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr(Family, "vision_part", lambda self, name: None)
    for key in ("freeze_vision", "freeze_merger"):
        sentence = refused("train", recipe_file, f"--student.{key}", "true", "--out", tmp_path / key, late=True)
        assert f"student.{key} = true, but " in sentence


def test_a_frozen_model_has_no_gradient(recipe_file, models, make_policy):
    recipe = load_recipe(recipe_file)
    policy = load_policy(models["teacher"])
    assert all(parameter.requires_grad for parameter in policy.model.parameters())
    assert policy.freeze() is policy
    for frozen in (policy, load_frozen(recipe, models["teacher"])):
        assert not any(parameter.requires_grad for parameter in frozen.model.parameters())
    assert all(parameter.requires_grad for parameter in load_student(recipe, models["student"]).model.parameters())


# Runs begun before there were two switches: freeze_vision froze both


def begun_earlier(recipe_file: Path, out: Path, *words: str) -> None:
    assert main(["train", str(recipe_file), "--out", str(out), "--steps", "1", *words]) == 0
    recipe = (out / "recipe.toml").read_text()
    lines = [line for line in recipe.splitlines() if not line.startswith("freeze_merger")]
    assert len(lines) == len(recipe.splitlines()) - 1
    (out / "recipe.toml").write_text("\n".join(lines) + "\n")


def test_an_earlier_run_goes_on(refused, recipe_file, tmp_path):
    frozen, whole = ("--student.freeze-vision", "true", "--student.freeze-merger", "true"), tmp_path / "whole"
    begun_earlier(recipe_file, tmp_path / "run", *frozen)
    train = ["train", str(recipe_file), "--out", str(tmp_path / "run"), "--steps", "1"]
    assert main([*train, *frozen]) == 0
    sentence = refused(*train, "--student.freeze-vision", "true")
    assert "student.freeze_merger: true -> false" in sentence

    begun_earlier(recipe_file, whole)
    assert main(["train", str(recipe_file), "--out", str(whole), "--steps", "1"]) == 0


@pytest.mark.parametrize("method", [("opd", "opd.estimator", "exact"), ("grpo", "grpo.reference_weight", "0.1")])
def test_a_frozen_tower_runs_once_per_clip_and_step(method, recipe_file, tmp_path, monkeypatch, models):
    """The student, which is its own teacher or reference, and two updates per batch: the weights are the same."""
    name, key, value = method
    words = ["--method.name", name, f"--method.{key.split('.')[1]}", value, "--training.updates-per-batch", "2"]
    if name == "opd":
        words += ["--teacher.model", models["student"]]
    words = ["train", str(recipe_file), *words, "--student.freeze-vision", "true", "--steps", "1"]
    weights, runs = [], []
    for folder in ("shared", "apart"):
        ran: list[int] = []
        real = build.make_learner

        def make_learner(recipe, models, real=real, ran=ran, folder=folder, **options):
            learner = real(recipe, models, **options)
            others = [models.reference] if models.reference else models.teacher.policies
            towers = {id(m): m for policy in (models.student, *others) for m in [policy.model.model.visual.blocks[0]]}
            for block in towers.values():
                block.mlp.register_forward_hook(lambda _, inputs, __: ran.append(len(inputs[0])))
            begin = learner.begin
            monkeypatch.setattr(learner, "begin", lambda prompts: (ran.clear(), begin(prompts))[1])
            drop = learner.drop_gradient
            monkeypatch.setattr(learner, "drop_gradient", lambda: (runs.append((folder, len(ran))), drop()))
            return learner

        monkeypatch.setattr(build, "make_learner", make_learner)
        if folder == "apart":
            monkeypatch.setattr(build, "share_vision", lambda *_, **__: [])
        assert main([*words, "--out", str(tmp_path / folder)]) == 0
        monkeypatch.undo()
        weights.append(load_file(tmp_path / folder / "checkpoints" / "step-000001" / "model" / "model.safetensors"))
    counts = {folder: max(count for there, count in runs if there == folder) for folder in ("shared", "apart")}
    assert counts == {"shared": 1, "apart": 3}, "one micro-batch; apart: student, other model, second update"
    for key, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][key], rtol=1e-4, atol=1e-6)
