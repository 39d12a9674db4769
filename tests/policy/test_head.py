"""In bfloat16 the output head computes in float32."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from video_opd.policy.head import Float32Head, use_float32_head
from video_opd.policy.load import load_policy
from video_opd.types import Sampling

HELD = {"student": {"autocast": torch.bfloat16}, "teacher": {"weights": torch.bfloat16}}


@pytest.mark.parametrize("held", HELD)
def test_log_probs_are_not_rounded_to_bfloat16(models, prompts, held, monkeypatch):
    """Of the head's input everything may be rounded; of its output nothing is."""
    policy = load_policy(models["student"], **HELD[held])
    head, seen, compute = policy.model.lm_head, [], Float32Head.forward

    def compute_and_record(head: Float32Head, hidden: torch.Tensor) -> torch.Tensor:
        seen.append((hidden, compute(head, hidden)))
        return seen[-1][1]

    monkeypatch.setattr(Float32Head, "forward", compute_and_record)
    groups = policy.answer(policy.read(prompts[:3]), sampling=Sampling(max_new_tokens=4, seed=0))
    policy.score(policy.read(prompts[:3], grad=True), groups, grad=True)
    for hidden, logits in seen:
        exact = hidden.double() @ head.weight.double().T
        assert logits.dtype == torch.float32
        assert torch.allclose(logits.double(), exact, atol=1e-4, rtol=1e-5)
    assert any(not torch.equal(logits, logits.bfloat16().float()) for _, logits in seen)


def test_a_float32_model_keeps_its_head_and_a_bfloat16_one_its_names(models, tmp_path):
    assert type(load_policy(models["student"]).model.lm_head) is torch.nn.Linear
    policy = load_policy(models["student"], **HELD["student"])
    assert type(policy.model.lm_head) is Float32Head
    policy.model.save_pretrained(tmp_path)
    before, after = (load_file(f"{folder}/model.safetensors") for folder in (models["student"], tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_gradient_reaches_the_head_s_weights_in_float32(models, prompts):
    policy = load_policy(models["student"], **HELD["student"])
    groups = policy.answer(policy.read(prompts[:2]), sampling=Sampling(max_new_tokens=4, seed=0))
    policy.score(policy.read(prompts[:2], grad=True), groups, grad=True).logprobs.sum().backward()
    gradient = policy.model.lm_head.weight.grad
    assert gradient.dtype == torch.float32
    assert gradient.abs().max() > 0


def test_a_head_of_a_model_that_is_spread_over_devices_computes_in_float32(models):
    hooks = pytest.importorskip("accelerate.hooks")
    model = load_policy(models["teacher"]).model.to(torch.bfloat16)
    hooks.add_hook_to_module(model.lm_head, hooks.AlignDevicesHook(execution_device="cpu"))
    use_float32_head(model)
    assert model.lm_head(torch.ones(1, model.lm_head.in_features, dtype=torch.bfloat16)).dtype == torch.float32
