"""A frozen vision tower runs once per clip, for student and teacher; log-probs and gradients stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_checkpointing import SAMPLING, prompts_for
from tiny_families import KINDS, RECURRENT, save_tiny

from video_opd.policy.checkpointing import checkpoint_layers
from video_opd.policy.load import Policy, keep_on_cpu, load_policy
from video_opd.policy.placement import Placement
from video_opd.policy.shared_vision import share_vision
from video_opd.types import Prompt


def load_pair(folder: str, **types: Any) -> tuple[Policy, Policy]:
    """A student with a frozen tower, and a teacher with the same tower and other weights behind it."""
    student, teacher = load_policy(folder), load_policy(folder, **types).freeze()
    with torch.no_grad():
        for name, weight in teacher.model.named_parameters():
            if teacher.family.vision_part(name) != "tower":
                weight.mul_(1.1)
    for name, weight in student.model.named_parameters():
        weight.requires_grad_(student.family.vision_part(name) != "tower")
    return student, teacher


def count_runs(student: Policy, teacher: Policy) -> list[str]:
    """A list that grows by a name whenever a tower's first block really runs; no graph is made there."""
    runs: list[str] = []
    for name, policy in (("student", student), ("teacher", teacher)):
        (block,) = [module for key, module in policy.model.named_modules() if key.endswith("visual.blocks.0.mlp")]
        block.register_forward_hook(lambda _, __, out, name=name: runs.append(name + " with graph" * out.requires_grad))
    return runs


def step(student: Policy, teacher: Policy, prompts: list[Prompt]) -> list[torch.Tensor]:
    """Log-probs of both models and the student's gradient."""
    reading = student.read(prompts, grad=True)
    groups = student.answer(reading, count=2, sampling=SAMPLING)
    judged = teacher.score(teacher.read(prompts), groups)
    scores = student.score(reading, groups, grad=True)
    (scores.logprobs * torch.linspace(-1, 1, scores.logprobs.shape[1])).sum().backward()
    gradient = [p.grad.clone() for p in student.model.parameters() if p.grad is not None]
    student.model.zero_grad()
    return [judged.logprobs, scores.logprobs.detach(), *gradient]


@pytest.mark.parametrize("change", [None, checkpoint_layers])
@pytest.mark.parametrize("kind", KINDS)
def test_one_run_of_the_tower_serves_both(kind, change, tmp_path, processor, world):
    student, teacher = load_pair(save_tiny(kind, tmp_path / "model", processor))
    prompts = prompts_for(student, world)
    before = step(student, teacher, prompts)
    if change is not None:
        change(student.model)
    assert share_vision(student, [teacher], num_clips=0) == [teacher]
    held = {weight.data_ptr() for weight in student.model.parameters()}
    shared = {name for name, weight in teacher.model.named_parameters() if weight.data_ptr() in held}
    tower = {name for name, _ in teacher.model.named_parameters() if teacher.family.vision_part(name) == "tower"}
    assert shared == tower != set()
    runs = count_runs(student, teacher)
    after = step(student, teacher, prompts)
    assert runs == ["student", "teacher"], "two hooks on one module, which ran once"
    assert len(after) == len(before)
    for one, other in zip(after, before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 if kind in RECURRENT else 1e-6)
    # A part of the batch, as where a gate leaves examples out, and in another order.
    alone = step(student, teacher, prompts[::-1][:2])
    assert len(runs) == 2
    fresh = load_pair(save_tiny(kind, tmp_path / "model", processor))
    for one, other in zip(alone, step(*fresh, prompts[::-1][:2]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 if kind in RECURRENT else 1e-6)


def test_later_updates_find_the_clips_of_the_whole_batch(tmp_path, processor, world):
    student, teacher = load_pair(save_tiny("qwen3_vl", tmp_path / "model", processor))
    prompts = prompts_for(student, world)
    share_vision(student, [], num_clips=len(prompts))
    runs = count_runs(student, teacher)
    for _ in range(2):
        for prompt in prompts:
            student.read([prompt], grad=True)
    assert runs == ["student"] * len(prompts)


def test_kept_is_only_what_the_newest_pass_saw(tmp_path, processor, world):
    student, teacher = load_pair(save_tiny("qwen3_vl", tmp_path / "model", processor))
    prompts = prompts_for(student, world)
    share_vision(student, [teacher], num_clips=0)
    runs = count_runs(student, teacher)
    student.read(prompts)
    assert len(student.vision.kept) == len(prompts) == 2
    student.read(prompts[:1])
    assert len(runs) == 2, "once for both models' hooks"
    clips = [replace(prompt, pixel_values=prompt.pixel_values.clone()) for prompt in prompts]
    teacher.read(clips[:1])
    assert len(runs) == 4
    assert list(student.vision.kept) == [id(clips[0].pixel_values)]
    # A clip at the address of one that is gone is another clip.
    student.vision.kept[id(clips[1].pixel_values)] = student.vision.kept.pop(id(clips[0].pixel_values))
    teacher.read(clips[1:])
    assert len(runs) == 6


def test_features_of_clips_that_are_gone_do_not_stay(tmp_path, processor, world):
    student, _ = load_pair(save_tiny("qwen3_vl", tmp_path / "model", processor))
    prompts = prompts_for(student, world)
    share_vision(student, [], num_clips=8)
    for prompt in prompts:
        student.read([replace(prompt, pixel_values=prompt.pixel_values.clone())])
    student.read(prompts[:1])
    assert list(student.vision.kept) == [id(prompts[0].pixel_values)]


def test_a_teacher_in_bfloat16_sees_the_features_of_the_students_tower(tmp_path, processor, world):
    folder = save_tiny("qwen3_vl", tmp_path / "model", processor)
    coarse = load_policy(folder, weights=torch.bfloat16)
    coarse.model.save_pretrained(folder)  # weights that bfloat16 holds exactly, as checkpoints on the hub
    student, teacher = load_pair(folder, weights=torch.bfloat16)
    student.autocast = torch.bfloat16
    prompts = prompts_for(student, world)
    before = step(student, teacher, prompts)
    assert share_vision(student, [teacher], num_clips=0) == [teacher]
    shared = step(student, teacher, prompts)
    student.vision.kept.clear()
    again = teacher.score(teacher.read(prompts), student.answer(student.read(prompts), count=2, sampling=SAMPLING))
    assert torch.equal(again.logprobs, shared[0]), "the same with and without the student's pass before"
    torch.testing.assert_close(shared[0], before[0], rtol=0.05, atol=0.3)
    assert torch.equal(shared[1], before[1]), "the student's own are what they were"


@pytest.mark.parametrize("what", ["weights", "config", "trained", "adapter", "waits"])
def test_other_or_trained_towers_do_not_share(what, tmp_path, processor, world):
    student, teacher = load_pair(save_tiny("qwen3_vl", tmp_path / "model", processor))
    tower = [weight for name, weight in student.model.named_parameters() if ".visual.blocks.1." in name]
    if what == "weights":
        with torch.no_grad():
            tower[-1][0] += 1e-3
    elif what == "waits":
        teacher.placement = Placement(devices=("cpu",), scores_on="cpu", offload=True)
        teacher.resting = keep_on_cpu(teacher.model, torch.device("cpu"))
    elif what == "config":
        teacher.model.config.vision_config.num_heads = 4
    elif what == "trained":
        tower[-1].requires_grad_(True)
    else:
        block = next(module for name, module in student.model.named_modules() if name.endswith("visual.blocks.1"))
        block.lora_A = torch.nn.Linear(2, 2)
    prompts = prompts_for(student, world)
    runs = count_runs(student, teacher)
    assert share_vision(student, [teacher], num_clips=0) == []
    step(student, teacher, prompts)
    assert runs == ["student", "teacher"]
