"""What a model's folder may hold: one whole set of weights, all used, all of them numbers, and no adapter beside it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_families import KINDS, save_tiny
from transformers import AutoModelForImageTextToText

from video_opd.cli import main
from video_opd.data.manifest import read_manifest
from video_opd.errors import ConfigurationError
from video_opd.policy.load import load_policy
from video_opd.policy.weights import refuse_not_finite

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ATTENTION = "model.language_model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def clip(world) -> Path:
    return world / "videos" / read_manifest(world / "test.jsonl")[0].video


@pytest.fixture
def model(models, tmp_path) -> Path:
    """A model folder of one's own."""
    return Path(shutil.copytree(models["student"], tmp_path / "model"))


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor] | None]) -> None:
    weights = load_file(folder / SINGLE)
    save_file(edit(weights) or weights, folder / SINGLE, {"format": "pt"})


def in_shards(folder: Path) -> None:
    """The same weights in several files."""
    model = AutoModelForImageTextToText.from_pretrained(folder)
    (folder / SINGLE).unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    assert not (folder / SINGLE).exists()


def first_shard(folder: Path) -> Path:
    return min(folder.glob("model-*-of-*.safetensors"))


@pytest.fixture
def commands(recipe_file, world, clip, tmp_path) -> Callable[[Path], list[tuple]]:
    """Every command that loads a model."""
    asked = (world / "test.jsonl", "--videos", world / "videos", "--out", tmp_path / "out.jsonl")

    def with_model(model: Path) -> list[tuple]:
        return [
            ("ground", model, clip, "the red circle"),
            ("evaluate", model, *asked),
            ("score", model, *asked, "--answers", 2),
            ("train", recipe_file, "--student.model", model, "--out", tmp_path / "run"),
            ("train", recipe_file, "--teacher.model", model, "--out", tmp_path / "run"),
            ("doctor", recipe_file, "--teacher.model", model),
        ]

    return with_model


# Adapters


def adapter_beside(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "tiny-student"}')
    save_file({"base_model.model.x.lora_A.weight": torch.ones(1)}, folder / "adapter_model.safetensors")


def adapter_config_only(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def adapter_weights_only(folder: Path) -> None:
    save_file({"x": torch.ones(1)}, folder / "adapter_model.safetensors")


def pickled_adapter(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(b"")


@pytest.mark.parametrize("spoil", [adapter_beside, adapter_config_only, adapter_weights_only, pickled_adapter])
def test_an_adapter_beside_a_model_is_refused(refused, spoil, model, clip):
    spoil(model)
    sentence = refused("ground", model, clip, "the red circle")
    assert "holds an adapter (adapter_" in sentence
    assert "Merge it first" in sentence


def test_an_adapter_beside_a_model_is_refused_by_every_command(refused, commands, model, tmp_path):
    adapter_beside(model)
    for command in commands(model):
        assert "holds an adapter (adapter_config.json)" in refused(*command)
    assert not (tmp_path / "run").exists()


# Weights that the architecture has no place for


def lora_inside(weights):
    return weights | {ATTENTION.replace("weight", f"lora_{part}.default.weight"): torch.ones(4, 4) for part in "AB"}


def unmerged_layer(weights):
    weights[ATTENTION.replace("weight", "base_layer.weight")] = weights.pop(ATTENTION)


def value_head(weights):
    return weights | {"v_head.summary.weight": torch.ones(1, 32), "v_head.summary.bias": torch.ones(1)}


def deeper(weights):
    return weights | {
        name.replace("layers.0.", "layers.2."): tensor.clone()
        for name, tensor in weights.items()
        if ".language_model.layers.0." in name
    }


def deeper_vision(weights):
    return weights | {
        name.replace("blocks.0.", "blocks.2."): tensor.clone()
        for name, tensor in weights.items()
        if ".visual.blocks.0." in name
    }


def unheard_of(weights):
    return weights | {"model.secret.weight": torch.ones(1)}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lora_inside, r"no place for 2 of .*lora_A.* adapter.*Merge it first"),
        (unmerged_layer, r"do not fill 1 of .*q_proj\.weight"),
        (value_head, r"no place for 2 of .*v_head\.summary\.bias: they belong to a head"),
        (deeper, r"no place for 11 of .*layers\.2\..* deeper or another model"),
        (deeper_vision, r"no place for 12 of .*blocks\.2\..* deeper or another model"),
        (unheard_of, r"no place for 1 of .*such as model\.secret\.weight: they would be ignored"),
    ],
)
def test_weights_without_a_place_are_refused(refused, edit, message, model, clip):
    change(model, edit)
    assert re.search(message, refused("ground", model, clip, "the red circle"))


def test_what_the_architecture_ignores_itself_is_not_refused(model):
    """Old checkpoints hold the rotary frequencies, which are computed."""
    change(model, lambda weights: weights | {"model.language_model.rotary_emb.inv_freq": torch.ones(8)})
    load_policy(str(model))


# Prefixes


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model.", "module._orig_mod."])
@pytest.mark.parametrize("every", [1, 7])
def test_a_foreign_prefix_is_named(refused, prefix, every, model, clip):
    def wrap(weights):
        return {("" if place % every else prefix) + name: t for place, (name, t) in enumerate(weights.items())}

    change(model, wrap)
    sentence = refused("ground", model, clip, "the red circle")
    assert f"weights are called {prefix.partition('.')[0]}" in sentence
    assert "they were saved from a wrapped model" in sentence


# Two sets of weights


def older_single_file(folder: Path) -> None:
    old = {name: torch.zeros_like(tensor) for name, tensor in load_file(folder / SINGLE).items()}
    in_shards(folder)
    save_file(old, folder / SINGLE, {"format": "pt"})


def shards_of_another_total(folder: Path) -> None:
    in_shards(folder)
    shutil.copy(first_shard(folder), folder / "model-00001-of-00099.safetensors")


def shard_beside_a_single_file(folder: Path) -> None:
    shutil.copy(folder / SINGLE, folder / "model-00001-of-00002.safetensors")


def another_variant(folder: Path) -> None:
    shutil.copy(folder / SINGLE, folder / "model.bf16.safetensors")


def variant_alone(folder: Path) -> None:
    (folder / SINGLE).rename(folder / "model.bf16.safetensors")


def shards_without_index(folder: Path) -> None:
    in_shards(folder)
    (folder / INDEX).unlink()


def missing_shard(folder: Path) -> None:
    in_shards(folder)
    first_shard(folder).unlink()


def index_beside_a_single_file(folder: Path) -> None:
    """What is left when shards were deleted, but not their index."""
    (folder / INDEX).write_text(json.dumps({"weight_map": {ATTENTION: "model-00001-of-00002.safetensors"}}))


def broken_index(folder: Path) -> None:
    (folder / INDEX).write_text('{"weight_map": ')


def index_of_another_kind(folder: Path) -> None:
    (folder / INDEX).write_text("[1]")


def index_that_leaves(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {ATTENTION: f"../model/{SINGLE}"}}))


def one_weight_in_two_shards(folder: Path) -> None:
    in_shards(folder)
    shard = max(folder.glob("model-*-of-*.safetensors"))
    save_file(load_file(shard) | load_file(first_shard(folder)), shard, {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (older_single_file, rf"two sets of weights: {SINGLE}, and the \d+ files of {INDEX}"),
        (shards_of_another_total, rf"two sets .*: model-00001-of-00099.safetensors, and the \d+ files of {INDEX}"),
        (shard_beside_a_single_file, f"two sets of weights: model-00001-of-00002.safetensors, and {SINGLE}"),
        (another_variant, f"two sets of weights: model.bf16.safetensors, and {SINGLE}"),
        (variant_alone, f"has model.bf16.safetensors, but neither {SINGLE} nor {INDEX}"),
        (shards_without_index, f"has model-00001-of-.*, but neither {SINGLE} nor {INDEX}"),
        (missing_shard, "has no model-00001-of-"),
        (index_beside_a_single_file, "has no model-00001-of-00002.safetensors"),
        (broken_index, f"{INDEX} cannot be read"),
        (index_of_another_kind, f"{INDEX} cannot be read"),
        (index_that_leaves, f"{INDEX} names '../model/"),
        (one_weight_in_two_shards, r"holds the weight .* twice \(model-00001-of-"),
    ],
)
def test_only_one_whole_set_of_weights_is_taken(refused, spoil, message, model, clip):
    spoil(model)
    assert re.search(message, refused("ground", model, clip, "the red circle"))


def test_two_sets_of_weights_are_refused_by_every_command(refused, commands, model, tmp_path):
    older_single_file(model)
    for command in commands(model):
        assert "holds two sets of weights" in refused(*command)
    assert not (tmp_path / "run").exists()


def test_shards_alone_are_taken(model, models):
    in_shards(model)
    shutil.copy(first_shard(model), model / "consolidated.safetensors")  # Mistral's second format is nobody's business
    loaded, plain = load_policy(str(model)).model, load_policy(models["student"]).model
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())


# Weights that are no numbers


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", [ATTENTION, "model.visual.patch_embed.proj.bias", "model.language_model.norm.weight"])
def test_weights_that_are_not_finite_are_refused(refused, name, value, model, clip):
    def spoil(weights):
        weights[name].view(-1)[-1] = value

    change(model, spoil)
    sentence = refused("ground", model, clip, "the red circle")
    assert f"model {str(model)!r}: 1 of its weights are not finite, such as {name} (1 of " in sentence


def test_a_buffer_that_is_not_finite_is_refused():
    """Such as the scale of a quantised weight."""
    module = torch.nn.Linear(2, 2)
    module.register_buffer("scale", torch.tensor([1.0, 2.0]))
    refuse_not_finite("m", module)
    module.scale[1] = float("inf")
    with pytest.raises(ConfigurationError, match=r"1 of its weights are not finite, such as scale \(1 of 2"):
        refuse_not_finite("m", module)


def test_weights_that_are_not_finite_are_refused_by_every_command(refused, commands, model):
    def spoil(weights):
        weights[ATTENTION].fill_(float("nan"))
        weights["model.visual.pos_embed.weight"][0] = float("inf")

    change(model, spoil)
    for command in commands(model):
        assert "2 of its weights are not finite" in refused(*command, late=True)


@pytest.mark.parametrize("weights", [torch.float16, torch.bfloat16])
def test_large_finite_weights_are_taken_in_every_type(weights, model):
    """Their sum would not fit the type; one of them does."""

    def spoil(tensors):
        tensors[ATTENTION].fill_(60_000.0)

    change(model, spoil)
    load_policy(str(model), weights=weights)


def test_a_weight_that_the_type_cannot_hold_is_refused(model):
    def spoil(tensors):
        tensors[ATTENTION][0, 0] = 1e30

    change(model, spoil)
    load_policy(str(model), weights=torch.bfloat16)
    with pytest.raises(ConfigurationError, match="1 of its weights are not finite"):
        load_policy(str(model), weights=torch.float16)


def test_an_intact_copy_is_taken_by_every_command(model, clip):
    """Or the tests above would prove nothing."""
    assert main(["ground", str(model), str(clip), "the red circle"]) == 0


# Names of other versions


def old_names(name: str) -> str:
    """As transformers 4 saved them, and as they lie on the hub."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


@pytest.mark.parametrize(
    ("kind", "rename"),
    [("qwen2_vl", old_names), ("qwen2_5_vl", old_names), *((kind, str) for kind in KINDS)],
)
def test_names_of_older_and_newer_checkpoints_are_taken(kind, rename, processor, tmp_path):
    folder = save_tiny(kind, tmp_path / kind, processor)
    expected = load_policy(folder).model.state_dict()
    if rename is old_names or kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"):  # of a mixture the experts are joined
        weights = {rename(name): tensor.clone() for name, tensor in expected.items()}
        assert any(name.startswith("visual.") for name in weights) == (rename is old_names)
        save_file(weights, Path(folder) / SINGLE, {"format": "pt"})
    found = load_policy(folder).model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_an_output_layer_that_is_tied_may_stand_in_the_file(model):
    """The published Qwen2.5-VL-3B holds lm_head.weight beside the embedding it is tied to."""
    config = json.loads((model / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (model / "config.json").write_text(json.dumps(config))
    change(
        model,
        lambda weights: weights | {"lm_head.weight": weights["model.language_model.embed_tokens.weight"].clone()},
    )
    loaded = load_policy(str(model)).model
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
