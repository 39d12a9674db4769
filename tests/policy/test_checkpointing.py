"""Checkpointing, the tie, and rows added in place: answers, loss and gradient as without, for every family."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_families import KINDS, RECURRENT, save_tiny

from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget
from video_opd.policy import checkpointing
from video_opd.policy.checkpointing import checkpoint_layers, tie_layers
from video_opd.policy.embedding_gradient import add_rows_in_place
from video_opd.policy.load import Policy, load_policy
from video_opd.types import Prompt, Sampling

ROOT = Path(__file__).resolve().parents[2]
SAMPLING = Sampling(max_new_tokens=6, seed=5)


def prompts_for(policy: Policy, world: Path) -> list[Prompt]:
    """Prompts of different lengths."""
    renderer = PromptRenderer(policy.processor, TEMPLATES["tiny"], VideoBudget(max_frame_tokens=4))
    examples = read_manifest(world / "train.jsonl")[:6]
    rendered = PromptSource(world / "videos", renderer, num_examples=6).prompts(examples)
    return sorted({len(prompt): prompt for prompt in rendered}.values(), key=len)[:3]


def noise_floor(kind: str, gradient: dict[str, torch.Tensor]) -> float:
    """What rounding may change: the gradient of a decay in a recurrent layer is a small sum of large terms."""
    largest = max(float(each.abs().max()) for each in gradient.values())
    return max(1e-8, 3e-6 * largest) if kind in RECURRENT else 1e-8


def gradient_of(policy: Policy, prompts: list[Prompt], count: int) -> tuple[float, dict[str, torch.Tensor]]:
    reading = policy.read(prompts, grad=True)
    groups = policy.answer(reading, count=count, sampling=SAMPLING)
    scores = policy.score(reading, groups, grad=True)
    weights = torch.linspace(-1, 1, scores.logprobs.shape[1])
    loss = (scores.logprobs * weights).sum()
    loss.backward()
    gradient = {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}
    policy.model.zero_grad()
    return float(loss.detach()), gradient


@pytest.mark.parametrize("change", [checkpoint_layers, tie_layers, add_rows_in_place])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_stays(kind, count, change: Callable[[Any], None], tmp_path, processor, world):
    policy = load_policy(save_tiny(kind, tmp_path / "model", processor))
    prompts = prompts_for(policy, world)
    loss, plain = gradient_of(policy, prompts, count)
    change(policy.model)
    changed_loss, changed = gradient_of(policy, prompts, count)
    assert changed_loss == pytest.approx(loss, rel=1e-6)
    assert changed.keys() == plain.keys()
    floor = noise_floor(kind, plain)
    for name, gradient in plain.items():
        assert (changed[name] - gradient).norm() <= 1e-5 * gradient.norm() + floor, name


def test_copies_of_weights_do_not_gather_in_the_backward_pass(tmp_path, processor, world):
    """A step has one autocast around all its passes, and a copy that is kept lives until its end."""
    policy = load_policy(save_tiny("qwen3_vl", tmp_path / "model", processor), autocast=torch.bfloat16)
    prompts = prompts_for(policy, world)
    _, plain = gradient_of(policy, prompts, 1)
    checkpoint_layers(policy.model)
    keeps: list[bool] = []
    linears = [module for module in policy.model.modules() if isinstance(module, torch.nn.Linear)]
    for module in linears:
        module.register_forward_pre_hook(lambda *_: keeps.append(torch.is_autocast_cache_enabled()))
    with policy.precision():
        reading = policy.read(prompts, grad=True)
        scores = policy.score(reading, policy.answer(reading, count=1, sampling=SAMPLING), grad=True)
        assert all(keeps)  # so that read, answer and score share one copy
        keeps.clear()
        with torch.autocast("cpu", enabled=False):
            (scores.logprobs * torch.linspace(-1, 1, scores.logprobs.shape[1])).sum().backward()
        assert keeps  # layers were computed again
        assert not any(keeps)
        assert torch.is_autocast_cache_enabled()
    for name, p in policy.model.named_parameters():
        if name in plain:
            assert (p.grad - plain[name]).norm() <= 0.05 * plain[name].norm() + 1e-6, name


@pytest.mark.parametrize("patches", [1, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_stays_where_a_vision_block_is_computed_again_in_pieces(
    kind, patches, tmp_path, processor, world, monkeypatch
):
    policy = load_policy(save_tiny(kind, tmp_path / "model", processor))
    prompts = prompts_for(policy, world)
    loss, plain = gradient_of(policy, prompts, 1)
    monkeypatch.setattr(checkpointing, "PATCHES_AT_ONCE", patches)
    pieces, blocks = [], [module for name, module in policy.model.named_modules() if name.endswith("visual.blocks.0")]
    blocks[0].register_forward_hook(lambda *_: pieces.append("block"))
    blocks[0].mlp.register_forward_hook(lambda *_: pieces.append("piece"))
    checkpoint_layers(policy.model)
    changed_loss, changed = gradient_of(policy, prompts, 1)
    assert pieces.count("piece") > 2 * pieces.count("block") == 2, "in pieces, each twice, in one call of the block"
    assert changed_loss == pytest.approx(loss, rel=1e-6)
    floor = noise_floor(kind, plain)
    for name, gradient in plain.items():
        assert (changed[name] - gradient).norm() <= 1e-5 * gradient.norm() + floor, name


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
def test_the_peak_is_far_below_that_of_the_plain_path(tmp_path):
    """0.36 with 24 s; with longer prompts the weights' gradient is a smaller part of it."""
    out = tmp_path / "memory.json"
    command = [sys.executable, ROOT / "benchmarks" / "memory.py", "--seconds", "16", "--out", out]
    subprocess.run([*command, "--cases", "plain", "checkpointed"], check=True)
    plain, checkpointed = json.loads(out.read_text())["rows"]
    assert plain["prompt_tokens"] == checkpointed["prompt_tokens"] > 600
    assert checkpointed["peak_gb"] < 0.62 * plain["peak_gb"]
