"""Quantised checkpoints: a frozen one loads where its package is, else one sentence names it; never as student."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from video_opd.cli import main
from video_opd.data.manifest import read_manifest
from video_opd.policy import quantised
from video_opd.policy.description import describe
from video_opd.policy.load import load_policy
from video_opd.policy.location import resolve_model
from video_opd.policy.weights import cast_unquantised, num_bytes
from video_opd.types import Sampling

METHODS = {
    "fp8": ({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}, "accelerate"),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}, "accelerate and gptqmodel"),
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "optimum and gptqmodel"),
    "bitsandbytes-4": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "accelerate and bitsandbytes"),
    "bitsandbytes-8": ({"load_in_8bit": True}, "accelerate and bitsandbytes"),
    "compressed-tensors": ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors"),
    "torchao": ({"quant_method": "torchao"}, "torchao"),
    "quanto": ({"quant_method": "quanto", "weights": "int8"}, "accelerate and optimum-quanto"),
    "hqq": ({"quant_method": "hqq"}, "hqq"),
    "mxfp4": ({"quant_method": "mxfp4"}, "accelerate and kernels"),
    "auto-round": ({"quant_method": "auto-round", "bits": 4}, "auto-round"),
    "fbgemm_fp8": ({"quant_method": "fbgemm_fp8"}, "accelerate and fbgemm-gpu"),
}
"""By name what config.json says, and what is needed."""


@pytest.fixture
def clip(world) -> Path:
    return world / "videos" / read_manifest(world / "test.jsonl")[0].video


@pytest.fixture
def model(models, tmp_path) -> Path:
    return Path(shutil.copytree(models["teacher"], tmp_path / "model"))


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(quantised, "find_spec", lambda module: None)


def edit_config(folder: Path, **keys: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | keys))


@pytest.mark.parametrize(("table", "packages"), METHODS.values(), ids=METHODS)
def test_without_its_package_one_sentence_names_it(refused, table, packages, model, clip, nothing_installed):
    edit_config(model, quantization_config=table)
    sentence = refused("ground", model, clip, "the red circle")
    assert f"without {packages}." in sentence
    assert "its weights are quantised (" in sentence
    extra = set(re.split(" and ", packages)) <= {
        "accelerate",
        "bitsandbytes",
        "compressed-tensors",
        "kernels",
        "torchao",
    }
    assert ("video-opd[quantised]" in sentence) == extra


def test_on_a_gpu_fp8_needs_a_package_more(monkeypatch):
    monkeypatch.setattr(quantised, "find_spec", lambda module: None if module == "kernels" else object())
    quantised.refuse_unreadable("x", "fp8", known={"fp8"}, device="cpu")
    with pytest.raises(quantised.ConfigurationError, match="without kernels"):
        quantised.refuse_unreadable("x", "fp8", known={"fp8"}, device="cuda:1")


@pytest.mark.parametrize("table", [{"quant_method": "abacus"}, {"quant_method": "modelopt"}, {}, "fp8"])
def test_a_method_that_nobody_knows_is_refused(refused, table, model, clip):
    edit_config(model, quantization_config=table)
    assert "transformers cannot read them" in refused("ground", model, clip, "the red circle")


@pytest.mark.parametrize("name", ["quantize_config.json", "quant_config.json", "hf_quant_config.json"])
def test_a_method_that_only_another_program_would_find_is_refused(refused, name, model, clip):
    (model / name).write_text('{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}')
    sentence = refused("ground", model, clip, "the red circle")
    assert f"quantised (FP8, by {name} alone): transformers cannot read them" in sentence


def test_a_package_that_transformers_will_not_have_is_one_sentence(refused, monkeypatch, model, clip):
    """Such as an old release: found here, refused there with an ImportError."""
    edit_config(model, quantization_config={"quant_method": "awq", "bits": 4})
    monkeypatch.setattr(quantised, "find_spec", lambda module: object())
    sentence = refused("ground", model, clip, "the red circle")
    assert "its weights cannot be loaded with the packages installed here" in sentence


@pytest.mark.parametrize("place", ["config", "text_config", "file"])
@pytest.mark.parametrize("command", ["train", "doctor"])
def test_a_quantised_student_is_refused(refused, command, place, model, recipe_file, tmp_path, monkeypatch):
    """With the reason, before weights are read, and whatever is installed."""
    monkeypatch.setattr(quantised, "find_spec", lambda module: object())
    monkeypatch.setattr("video_opd.train.build_models.load_policy", lambda *_, **__: pytest.fail("loaded a model"))
    table = METHODS["fp8"][0]
    if place == "file":
        (model / "quantize_config.json").write_text('{"quant_method": "gptq"}')
    elif place == "config":
        edit_config(model, quantization_config=table)
    else:
        text = json.loads((model / "config.json").read_text())["text_config"]
        edit_config(model, text_config=text | {"quantization_config": table})
    out = ("--out", tmp_path / "run") if command == "train" else ()
    sentence = refused(command, recipe_file, "--student.model", model, *out)
    assert re.search(r"student .*model': its weights are quantised \((fp8|gptq)", sentence)
    assert "take no gradient" in sentence
    assert "a quantised one can be the teacher" in sentence
    assert not (tmp_path / "run").exists()


# What can be loaded on a CPU, where the package is installed


def linears(weights) -> list[str]:
    return [name for name in weights if "language_model.layers" in name and name.endswith("proj.weight")]


def as_fp8(folder: Path) -> None:
    """As Qwen publishes its FP8 checkpoints, with smaller blocks."""
    block, weights = 16, load_file(folder / "model.safetensors")
    for name in linears(weights):
        weight = weights.pop(name)
        rows, columns = (-(-size // block) for size in weight.shape)
        padded = torch.zeros(rows * block, columns * block)
        padded[: weight.shape[0], : weight.shape[1]] = weight
        blocks = padded.view(rows, block, columns, block)
        scale = blocks.abs().amax((1, 3)).clamp(min=1e-9) / 448
        whole = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn).view_as(padded)
        weights |= {name: whole[: weight.shape[0], : weight.shape[1]].contiguous(), f"{name}_scale_inv": scale}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    table = METHODS["fp8"][0] | {"weight_block_size": [block, block], "modules_to_not_convert": ["lm_head", "visual"]}
    edit_config(folder, quantization_config=table)


def as_compressed_tensors(folder: Path) -> None:
    """Eight-bit integers, four to a word, with a scale for each row: as llm-compressor writes w8a16."""
    weights = load_file(folder / "model.safetensors")
    for name in linears(weights):
        weight, stem = weights.pop(name), name.removesuffix("weight")
        scale = weight.abs().amax(1, keepdim=True) / 127
        numbers = (weight / scale).round().to(torch.int32) + 128
        numbers = torch.nn.functional.pad(numbers, (0, -weight.shape[1] % 4)).view(weight.shape[0], -1, 4)
        packed = sum(numbers[..., place] << 8 * place for place in range(4)).to(torch.int32)
        weights |= {
            f"{stem}weight_packed": packed,
            f"{stem}weight_scale": scale,
            f"{stem}weight_shape": torch.tensor(weight.shape),
        }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    eight_bits = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
    table = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head", "re:.*visual.*"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": eight_bits}},
    }
    edit_config(folder, quantization_config=table)


def as_saved(folder: Path, settings: object) -> None:
    """Quantised and saved by transformers itself."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder, quantization_config=settings, dtype=torch.float32)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder)


def as_bitsandbytes(folder: Path) -> None:
    from transformers import BitsAndBytesConfig

    as_saved(folder, BitsAndBytesConfig(load_in_8bit=True))


def as_torchao(folder: Path) -> None:
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    as_saved(folder, TorchAoConfig(Int8WeightOnlyConfig()))


LOADABLE = {
    "accelerate": as_fp8,
    "compressed_tensors": as_compressed_tensors,
    "bitsandbytes": as_bitsandbytes,
    "torchao": as_torchao,
}
"""By module that must be installed."""


@pytest.fixture
def trained(tmp_path) -> Path:
    """A copy of the tiny teacher. (The random models' large weights lose more in the three bits of an fp8 fraction.)"""
    return Path(shutil.copytree(resolve_model("tiny-teacher"), tmp_path / "trained"))


@pytest.fixture(params=LOADABLE)
def quantised_teacher(request, trained) -> Path:
    pytest.importorskip(request.param)
    LOADABLE[request.param](trained)
    return trained


@pytest.mark.filterwarnings("default")  # of the packages
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_a_quantised_teacher_scores_as_the_whole_one_does(quantised_teacher, weights, prompts):
    whole, frozen = (
        load_policy("tiny-teacher").freeze(),
        load_policy(str(quantised_teacher), weights=weights).freeze(),
    )
    groups = whole.answer(whole.read(prompts[:3]), sampling=Sampling(max_new_tokens=6, greedy=True))
    expected = whole.score(whole.read(prompts[:3]), groups).logprobs
    found = frozen.score(frozen.read(prompts[:3]), groups).logprobs.float()
    assert torch.isfinite(found).all()
    assert 0 < (found - expected).abs().max() < 0.05
    assert frozen.fingerprint() == whole.fingerprint()
    assert not any(parameter.requires_grad for parameter in frozen.model.parameters())
    assert 0 < frozen.num_bytes < 1.1 * whole.num_bytes


@pytest.mark.filterwarnings("default")
def test_a_quantised_teacher_teaches(quantised_teacher, recipe_file, world, clip, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["train", recipe_file, "--teacher.model", quantised_teacher, "--out", out, "--steps", 1]
    assert main([str(argument) for argument in arguments]) == 0
    assert main(["ground", str(quantised_teacher), str(clip), "the red circle"]) == 0
    assert main(["doctor", str(recipe_file), "--teacher.model", str(quantised_teacher)]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.filterwarnings("default")
def test_a_scale_that_is_not_finite_is_refused(refused, trained, clip):
    pytest.importorskip("accelerate")
    as_fp8(trained)
    weights = load_file(trained / "model.safetensors")
    next(tensor for name, tensor in weights.items() if name.endswith("scale_inv"))[0] = float("nan")
    save_file(weights, trained / "model.safetensors", {"format": "pt"})
    assert "1 of its weights are not finite" in refused("ground", trained, clip, "the red circle")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("method", ["bitsandbytes-4", "bitsandbytes-8", "torchao"])
def test_a_config_that_does_not_fit_the_weights_is_one_sentence(refused, method, trained, clip):
    """The whole weights under a config that calls them quantised, in a few words too few."""
    table, packages = METHODS[method]
    for package in packages.split(" and "):
        pytest.importorskip(package.replace("-", "_"))
    edit_config(trained, quantization_config=table)
    assert "quantised" in refused("ground", trained, clip, "the red circle", late=True)


# Without any package


def test_modules_with_quantised_tensors_keep_their_types():
    whole, packed = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    packed.register_buffer("qweight", torch.zeros(2, dtype=torch.int32))
    cast_unquantised(torch.nn.Sequential(whole, packed), torch.bfloat16)
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in packed.parameters()} == {torch.float32}


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_what_is_not_quantised_has_the_type_asked_for(models, weights, monkeypatch):
    """Loaded as transformers leaves such a model: its norms in the file's type, whatever was asked for."""
    known, model = describe(models["student"]), load_policy(models["student"]).model
    model.model.language_model.norm.to(torch.float16)
    report = {"missing_keys": [], "mismatched_keys": [], "unexpected_keys": []}
    loader = SimpleNamespace(from_pretrained=lambda *_, **__: (model, report))
    monkeypatch.setattr("video_opd.policy.load.describe", lambda *_, **__: replace(known, quantisation="fp8"))
    monkeypatch.setattr("video_opd.policy.load.AutoModelForImageTextToText", loader)
    policy = load_policy(models["student"], weights=weights)
    assert {parameter.dtype for parameter in policy.model.parameters()} == {weights}


def test_bytes_are_those_of_the_parts():
    assert num_bytes(torch.zeros(3, 5, dtype=torch.bfloat16)) == 30
    assert num_bytes(torch.zeros(3, dtype=torch.float8_e4m3fn)) == 3
