"""What a pass with gradient keeps of a token, by the configuration, beside what autograd saves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from test_checkpointing import prompts_for
from tiny_families import KINDS, save_tiny

from video_opd.policy.adapters import attach_adapter
from video_opd.policy.checkpointing import split_modules
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.lora_settings import LoraSettings
from video_opd.policy.model_shape import Arithmetic, measure_shape


@contextmanager
def count_saved(policy: Policy) -> Iterator[dict[str, int]]:
    """Bytes that autograd saves inside each block, every storage once; copies of weights are left out."""
    saved: dict[str, int] = defaultdict(int)
    alive: dict[int, Any] = {}
    inside = [""]
    parameters = list(policy.model.parameters())
    weights = {shape for p in parameters for shape in (tuple(p.shape), tuple(p.shape)[::-1])}
    known = {p.untyped_storage().data_ptr() for p in parameters}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known and tuple(tensor.shape) not in weights:
            known.add(storage.data_ptr())
            alive[storage.data_ptr()] = storage
            saved[inside[-1]] += storage.nbytes()
        return tensor

    hooks = []
    for name, block in split_modules(policy.model):
        hooks.append(block.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
        hooks.append(block.register_forward_hook(lambda *_: (inside.pop(), None)[1]))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved
    for hook in hooks:
        hook.remove()


def compare(policy: Policy, prompts: Any, how: Arithmetic, lora: LoraSettings | None = None) -> dict[str, float]:
    """Estimated bytes over saved ones, of every block but the first, whose input is saved before it."""
    shape = measure_shape("model", policy.model.config, policy.family, lora)
    with count_saved(policy) as saved, policy.precision():
        policy.read(prompts, grad=True)
    kinds, ratios = shape.layer_kinds, {}
    for name, size in saved.items():
        *_, number = name.split(".")
        if not number.isdecimal() or number == "0":
            continue
        if policy.family.vision_part(name):
            patches = sum(len(prompt.pixel_values) for prompt in prompts)
            ratios[name] = patches * shape.count_kept_by_block(how) / size
        else:
            tokens = sum(len(prompt) - 1 for prompt in prompts)
            ratios[name] = tokens * shape.count_kept_by_layer(kinds[int(number)], how) / size
    return ratios


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_in_float32(kind, tmp_path, processor, world):
    policy = load_policy(save_tiny(kind, tmp_path / "model", processor))
    ratios = compare(policy, prompts_for(policy, world)[-1:], Arithmetic(compute=4, residual=4, trains_weights=True))
    assert {name.split(".")[1] for name in ratios} == {"language_model", "visual"}
    # A recurrent layer pads to whole chunks, and these prompts are short.
    for name, ratio in ratios.items():
        assert (0.6 if "qwen3_5" in kind else 0.85) < ratio < 1.15, (name, ratio)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_bfloat16_and_adapters(lora, tmp_path, processor, world):
    folder = save_tiny("qwen3_vl", tmp_path / "model", processor)
    weights = torch.bfloat16 if lora else torch.float32
    policy = load_policy(folder, weights=weights, autocast=torch.bfloat16)
    if lora:
        pytest.importorskip("peft")
        policy.freeze()
        attach_adapter(folder, policy.model, lora, seed=0)
    how = Arithmetic(compute=2, residual=2 if lora else 4, trains_weights=lora is None)
    ratios = compare(policy, prompts_for(policy, world)[-1:], how, lora)
    text = [ratio for name, ratio in ratios.items() if "language_model" in name]
    assert len(text) == 1
    assert text[0] == pytest.approx(1, abs=0.15)


def test_numbers_of_weights_are_those_of_the_model(tmp_path, processor):
    pytest.importorskip("peft")
    lora = LoraSettings(rank=2)
    policy = load_policy(save_tiny("qwen3_vl", tmp_path / "model", processor)).freeze()
    shape = measure_shape("model", policy.model.config, policy.family, lora)
    assert shape.num_all == sum(p.numel() for p in policy.model.parameters())
    attach_adapter("model", policy.model, lora, seed=0)
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    assert shape.num_adapter_weights == trained
