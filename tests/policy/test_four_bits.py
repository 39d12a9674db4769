"""A base in 4 bits under an adapter: what is packed, what trains, what is refused."""

from __future__ import annotations

import pytest
import torch

from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.errors import ConfigurationError
from video_opd.policy import quantised
from video_opd.policy.adapters import attach_adapter
from video_opd.policy.load import load_policy
from video_opd.policy.quantised import FourBits
from video_opd.train.build import load_student
from video_opd.train.early_checks import refuse_unfit_job
from video_opd.types import Sampling

IN_4_BITS = {"student.lora.rank": "4", "student.lora.quantise": "4bit"}


def test_an_adapter_trains_beside_a_base_in_4_bits(recipe_file, models, world, prompts, tmp_path):
    dequantize_4bit = pytest.importorskip("bitsandbytes").functional.dequantize_4bit
    pytest.importorskip("accelerate")
    pytest.importorskip("peft")
    recipe = load_recipe(recipe_file, IN_4_BITS)
    student, whole = load_student(recipe, recipe.student.model), load_policy(models["student"])
    kinds = {name: type(module).__name__ for name, module in student.model.named_modules()}
    packed = {name for name, parameter in student.model.named_parameters() if parameter.dtype == torch.uint8}
    assert packed
    assert all("language_model.layers" in name and "_proj" in name for name in packed), kinds
    assert student.num_bytes < whole.num_bytes
    trained = {name: p.dtype for name, p in student.model.named_parameters() if p.requires_grad}
    assert set(trained.values()) == {torch.float32}
    assert all(".lora_" in name for name in trained)

    # A whole model with the very numbers that the packed weights stand for gives the same, gradient included.
    attach_adapter(models["student"], whole.model, recipe.student.lora, seed=recipe.seed)
    plain = dict(whole.model.named_parameters())
    for name in packed:
        weight = student.model.get_parameter(name)
        plain[name].data.copy_(dequantize_4bit(weight.data, weight.quant_state))
    groups = student.answer(student.read(prompts[:2]), count=2, sampling=Sampling(max_new_tokens=5, seed=1))
    for policy in (student, whole):
        policy.score(policy.read(prompts[:2], grad=True), groups, grad=True).logprobs.sum().backward()
    for name in trained:
        found, expected = student.model.get_parameter(name).grad, plain[name].grad
        assert (found - expected).norm() <= 1e-4 * expected.norm() + 1e-6, name
    assert any(plain[name].grad.norm() > 0.01 for name in trained)

    out = tmp_path / "run"
    keys = [word for key, value in IN_4_BITS.items() for word in (f"--{key.replace('_', '-')}", value)]
    assert main(["train", str(recipe_file), "--out", str(out), *keys]) == 0
    assert main(["merge", str(out), "--out", str(tmp_path / "merged")]) == 0
    assert {p.dtype for p in load_policy(str(tmp_path / "merged")).model.parameters()} == {torch.float32}
    with pytest.raises(ConfigurationError, match="without rounding"):
        FourBits().refuse_unfit(str(out), is_whole=False)


def test_a_base_in_4_bits_is_refused_without_its_package_and_in_a_job(refused, recipe_file, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    keys = ("--student.lora.rank", "4", "--student.lora.quantise")
    assert "student.lora.quantise" in refused("train", recipe_file, *keys, "3bit", "--out", tmp_path / "run")
    monkeypatch.setattr(quantised, "find_spec", lambda module: None)
    sentence = refused("train", recipe_file, *keys, "4bit", "--out", tmp_path / "run")
    assert "pip install 'video-opd[quantised]'" in sentence
    with pytest.raises(ConfigurationError, match="in a job of 2 processes"):
        refuse_unfit_job(load_recipe(recipe_file, IN_4_BITS), 2)
