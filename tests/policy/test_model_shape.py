"""What a pass with gradient keeps of a token, by the configuration, beside what autograd saves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import ref

import pytest
import torch
from test_checkpointing import prompts_for
from tiny_families import KINDS, save_tiny

from video_opd.policy import read
from video_opd.policy.adapters import attach_adapter
from video_opd.policy.checkpointing import split_modules
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.lora_settings import LoraSettings
from video_opd.policy.model_shape import Arithmetic, measure_shape


@dataclass(eq=False)
class Saved:
    """A tensor that autograd saves; gone when autograd lets go of it."""

    tensor: torch.Tensor


@contextmanager
def count_saved(policy: Policy) -> Iterator[dict[str, int]]:
    """Bytes that autograd has saved inside each block when the passes are over, every storage once.

    Copies of weights are left out, and what was let go of on the way: the queries of a last layer that ends early. What
    blocks give is held, so that the last one is whole where it does not end early.
    """
    saved: dict[str, int] = defaultdict(int)
    notes: list[tuple[ref[Saved], str, torch.UntypedStorage]] = []
    inside, outputs = [""], []
    parameters = list(policy.model.parameters())
    weights = {shape for p in parameters for shape in (tuple(p.shape), tuple(p.shape)[::-1])}
    known = {p.untyped_storage().data_ptr() for p in parameters}

    def pack(tensor: torch.Tensor) -> Saved:
        note = Saved(tensor.detach())  # an operation that saves its own result would never be let go of
        if tuple(tensor.shape) not in weights:
            notes.append((ref(note), inside[-1], tensor.untyped_storage()))
        return note

    hooks = []
    for name, block in split_modules(policy.model):
        hooks.append(block.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
        hooks.append(block.register_forward_hook(lambda _, __, output: (inside.pop(), outputs.append(output))[1]))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda note: note.tensor):
        yield saved
    for note, block, storage in notes:
        if note() is not None and storage.data_ptr() not in known:
            known.add(storage.data_ptr())
            saved[block] += storage.nbytes()
    for hook in hooks:
        hook.remove()


def compare(
    policy: Policy, prompts: Any, how: Arithmetic, lora: LoraSettings | None = None, *, is_last_whole: bool = True
) -> dict[str, float]:
    """Estimated bytes over saved ones, of every block but the first, whose input is saved before it.

    Tiny models have few layers, so the last one is compared both ways.
    """
    shape = measure_shape("model", policy.model.config, policy.family, lora)
    with pytest.MonkeyPatch.context() as patch, count_saved(policy) as saved, policy.precision():
        if is_last_whole:
            patch.setattr(read, "end_with_keys_and_values", lambda *_: nullcontext())
        reading = policy.read(prompts, grad=True)
    del reading  # until here it held the graph
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
            is_cut = int(number) == len(kinds) - 1 and not is_last_whole
            count = shape.count_kept_by_last_layer if is_cut else shape.count_kept_by_layer
            # The reading holds a cut layer's keys and values; autograd has no use for them.
            held = 2 * shape.key_size * how.compute if is_cut else 0
            ratios[name] = tokens * (count(kinds[int(number)], how) - held) / size
    return ratios


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_in_float32(kind, tmp_path, processor, world):
    policy = load_policy(save_tiny(kind, tmp_path / "model", processor))
    how = Arithmetic(compute=4, residual=4, trains_weights=True)
    for is_last_whole in (True, False):
        ratios = compare(policy, prompts_for(policy, world)[-1:], how, is_last_whole=is_last_whole)
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
    for is_last_whole in (True, False):
        ratios = compare(policy, prompts_for(policy, world)[-1:], how, lora, is_last_whole=is_last_whole)
        text = [ratio for name, ratio in ratios.items() if "language_model" in name]
        assert len(text) == 1
        assert text[0] == pytest.approx(1, abs=0.15), is_last_whole


def test_numbers_of_weights_are_those_of_the_model(tmp_path, processor):
    pytest.importorskip("peft")
    lora = LoraSettings(rank=2)
    policy = load_policy(save_tiny("qwen3_vl", tmp_path / "model", processor)).freeze()
    shape = measure_shape("model", policy.model.config, policy.family, lora)
    assert shape.num_all == sum(p.numel() for p in policy.model.parameters())
    attach_adapter("model", policy.model, lora, seed=0)
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    assert shape.num_adapter_weights == trained
