"""What computes attention: prompts by one backend, answers by sdpa, and what reaches either of them."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import pytest
import torch
from test_checkpointing import gradient_of, noise_floor, prompts_for
from tiny_families import KINDS, save_tiny
from torch import Tensor
from torch.nn import functional
from transformers import modeling_flash_attention_utils

from video_opd.policy import read
from video_opd.policy.attention import refuse_missing_backend, use_attention
from video_opd.policy.checkpointing import checkpoint_layers
from video_opd.policy.load import load_policy


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool) -> Tensor:
    """FlashAttention's layout is (B, tokens, heads, head size), and keys and values may have fewer heads."""
    groups = query.shape[2] // key.shape[2]
    key, value = (part.repeat_interleave(groups, dim=2) for part in (key, value))
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) * scale
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(dim=-1), value)


class FakeFlash:
    """Stands in for the kernels of flash-attn, with their signatures, and notes their calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, bool]] = []

    def func(self, q: Tensor, k: Tensor, v: Tensor, dropout_p=0.0, softmax_scale=None, causal=False) -> Tensor:
        self.calls.append(("equal", q.shape[1], causal))
        assert q.shape[1] == k.shape[1]
        return attend(q, k, v, softmax_scale, causal=causal)

    def varlen(
        self, q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, max_seqlen_q: int,
        max_seqlen_k: int, dropout_p=0.0, softmax_scale=None, causal=False,
    ) -> Tensor:  # fmt: skip
        self.calls.append(("uneven", int(max_seqlen_q), causal))
        assert torch.equal(cu_seqlens_q, cu_seqlens_k)
        lengths = cu_seqlens_q.diff().tolist()
        parts = zip(*(part.split(lengths) for part in (q, k, v)), strict=True)
        return torch.cat([attend(*(part[None] for part in row), softmax_scale, causal=causal)[0] for row in parts])


@pytest.fixture
def flash(monkeypatch):
    """transformers' own way to flash-attn, as far as the package itself."""
    fake, module, padding = FakeFlash(), ModuleType("flash_attn"), ModuleType("flash_attn.bert_padding")
    module.flash_attn_func, module.flash_attn_varlen_func = fake.func, fake.varlen
    module.flash_attn_with_kvcache = None
    padding.pad_input = modeling_flash_attention_utils._pad_input
    padding.unpad_input = modeling_flash_attention_utils._unpad_input
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    monkeypatch.setitem(sys.modules, "flash_attn.bert_padding", padding)
    monkeypatch.setattr(modeling_flash_attention_utils, "is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr(modeling_flash_attention_utils, "_loaded_implementation", None)
    return fake


@pytest.fixture
def whole_layers(monkeypatch):
    """Also the last layer of a prefill is computed whole, so that its attention is seen."""
    monkeypatch.setattr(read, "end_with_keys_and_values", lambda *_: nullcontext())


@pytest.fixture
def sdpa_calls(monkeypatch):
    """Of every call: queries, keys, the mask, and whether it is causal."""
    seen: list[tuple[int, int, Any, bool]] = []
    compute = functional.scaled_dot_product_attention

    def compute_and_note(query, key, value, attn_mask=None, is_causal=False, **options):
        seen.append((query.shape[-2], key.shape[-2], attn_mask, is_causal))
        return compute(query, key, value, attn_mask=attn_mask, is_causal=is_causal, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", compute_and_note)
    return seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("whole_layers")
def test_a_pass_over_one_prompt_reaches_sdpa_without_a_mask(kind, tmp_path, processor, world, sdpa_calls):
    """Only then does sdpa use its fast kernels on a GPU; a mask of 8,192 tokens is 67 MB, and 268 MB in float32."""
    policy = load_policy(save_tiny(kind, tmp_path / "model", processor))
    checkpoint_layers(policy.model)
    prompt = prompts_for(policy, world)[-1]
    gradient_of(policy, [prompt], 3)
    of_prompt = [(mask, is_causal) for queries, _, mask, is_causal in sdpa_calls if queries == len(prompt) - 1]
    kinds = getattr(policy.model.config.get_text_config(), "layer_types", ["full_attention"] * 2)
    num_layers = kinds.count("full_attention")
    assert of_prompt == [(None, True)] * 2 * num_layers  # once more in the backward pass


@pytest.mark.parametrize(("kind", "count"), [("qwen3_vl", 1), *((kind, 3) for kind in KINDS if "moe" not in kind)])
@pytest.mark.usefixtures("whole_layers")
def test_flash_attention_reads_and_sdpa_answers(kind, count, tmp_path, processor, world, flash, sdpa_calls):
    policy = load_policy(save_tiny(kind, tmp_path / "model", processor))
    prompts = prompts_for(policy, world)
    plain = [gradient_of(policy, some, count) for some in (prompts, prompts[-1:])]
    use_attention(policy.model, "flash_attention_2")
    checkpoint_layers(policy.model)
    sdpa_calls.clear()
    for some, (loss, gradient) in zip((prompts, prompts[-1:]), plain, strict=True):
        flash.calls.clear()
        flash_loss, flash_gradient = gradient_of(policy, some, count)
        assert flash_loss == pytest.approx(loss, rel=1e-5, abs=1e-5)
        assert flash_gradient.keys() == gradient.keys()
        floor = 3 * noise_floor(kind, gradient)
        for name, expected in gradient.items():
            assert (flash_gradient[name] - expected).norm() <= 1e-4 * expected.norm() + floor, name
        of_text = {call for call in flash.calls if call[2]}
        assert of_text == {("uneven" if len(some) > 1 else "equal", len(prompts[-1]) - 1, True)}
        assert any(not causal for _, _, causal in flash.calls), "the vision tower"
    assert sdpa_calls, "the answers"
    assert all(queries < keys for queries, keys, _, _ in sdpa_calls)


def test_eager_attention_gives_the_same(tmp_path, processor, world, sdpa_calls):
    policy = load_policy(save_tiny("qwen3_vl", tmp_path / "model", processor))
    prompts = prompts_for(policy, world)
    loss, _ = gradient_of(policy, prompts, 3)
    use_attention(policy.model, "eager")
    sdpa_calls.clear()
    assert gradient_of(policy, prompts, 3)[0] == pytest.approx(loss, rel=1e-5)
    assert not sdpa_calls


def test_what_cannot_run_is_refused_before_a_model_is_loaded(refused, recipe_file, monkeypatch):
    flash = ("--compute.attention", "flash_attention_2")
    assert "float32" in refused("train", recipe_file, "--out", "runs/x", *flash)
    said = refused("train", recipe_file, "--out", "runs/x", *flash, "--compute.precision", "bfloat16")
    assert "flash-attn is not installed" in said
    assert 'compute.attention to "sdpa", or leave the key out' in said
    refuse_missing_backend("sdpa", "cpu")
