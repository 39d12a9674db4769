"""Run by `torchrun` on every process: the gradient of each family's sharded model, whose head computes in pieces,
beside that of the whole one.

    torchrun --nproc-per-node 2 sharded_families.py FOLDER

FOLDER holds one tiny model for each name in `KINDS`, and the prompts of each in NAME.pt. The first process prints one
line for each model and each way to shard it: names, and the relative differences of loss and gradient. Every model is
also saved, by both processes, to NAME-saved. Then one line for an adapter beside each model, whose frozen vision tower
serves a teacher too. At last a model computes in bfloat16, and then the disk of the second process is full.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tiny_families import KINDS
from torch import distributed
from torch.distributed.checkpoint import HuggingFaceStorageWriter

from video_opd.policy import logits_in_pieces, saving
from video_opd.policy.adapters import attach_adapter, is_of_adapter
from video_opd.policy.checkpointing import checkpoint_layers, tie_layers
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.lora_settings import LoraSettings
from video_opd.policy.sharding import Sharding, average_over_processes, local_part, whole
from video_opd.policy.shared_vision import has_equal_tower, share_vision
from video_opd.train.optimizer_state import save_optimizer
from video_opd.types import Prompt, Sampling


def loss_of(policy: Policy, prompts: list[Prompt]) -> Any:
    """The summed log-probs of two answers to each prompt, through one reading."""
    reading = policy.read(prompts, grad=True)
    groups = policy.answer(reading, count=2, sampling=Sampling(max_new_tokens=5, seed=1))
    loss = policy.score(reading, groups, grad=True).logprobs.sum()
    loss.backward()
    return loss.detach()


def loss_by_teacher(student: Policy, teacher: Policy, prompts: list[Prompt]) -> Any:
    """The summed log-probs of two answers to each prompt, weighted by a teacher's."""
    reading = student.read(prompts, grad=True)
    groups = student.answer(reading, count=2, sampling=Sampling(max_new_tokens=5, seed=1))
    judged = teacher.score(teacher.read(prompts), groups).logprobs
    loss = (student.score(reading, groups, grad=True).logprobs * judged).sum()
    loss.backward()
    return loss.detach()


def load_pair(name: str, **layouts: Any) -> tuple[Policy, Policy]:
    """A model with an adapter, and the model itself as its teacher."""
    student, teacher = (load_policy(name, layout=layouts.get(part)) for part in ("student", "teacher"))
    attach_adapter(name, student.model, LoraSettings(rank=4, alpha=8), seed=1)
    torch.manual_seed(2)
    for key, parameter in student.model.named_parameters():
        if is_of_adapter(key):
            torch.nn.init.normal_(parameter.data, std=0.1)
    return student, teacher.freeze()


def compare_adapter(folder: Path, kind: str) -> tuple[float, float]:
    """Relative differences of loss and gradient where the base is sharded, and the tower runs once for both models."""
    rank, size = distributed.get_rank(), distributed.get_world_size()
    prompts = torch.load(folder / f"{kind}.pt", weights_only=False)
    student, teacher = load_pair(str(folder / kind))
    loss = sum(loss_by_teacher(student, teacher, prompts[place::size]) for place in range(size))
    expected = {name: p.grad / size for name, p in student.model.named_parameters() if p.requires_grad}
    layouts = {
        part: Sharding(shards=size, replicas=1, keep_gathered=part == "student") for part in ("student", "teacher")
    }
    student, teacher = load_pair(str(folder / kind), **layouts)
    checkpoint_layers(student.model)
    runs: list[bool] = []
    for policy in (student, teacher):
        name = next(name for name, _ in policy.model.named_modules() if name.endswith("visual.blocks.0.mlp"))
        policy.model.get_submodule(name).register_forward_hook(lambda _, __, output: runs.append(output.requires_grad))
    assert share_vision(student, [teacher], num_clips=0) == [teacher]
    sharded_loss = loss_by_teacher(student, teacher, prompts[rank::size])
    assert runs == [False], "one run on every process, without a graph"
    # What only one process changes is another tower on all of them.
    with torch.no_grad():
        weight = next(p for key, p in teacher.model.named_parameters() if ".visual.blocks.1." in key)
        local_part(weight).add_(rank)
    assert not has_equal_tower(student, teacher)
    distributed.all_reduce(sharded_loss)
    trained = {name: p for name, p in student.model.named_parameters() if p.requires_grad}
    assert all(map(is_of_adapter, trained))
    average_over_processes(trained.values())
    difference = sum(float((p.grad - expected[name]).square().sum()) for name, p in trained.items())
    total = sum(float(each.square().sum()) for each in expected.values())
    return abs(float(sharded_loss / loss) - 1), (difference / total) ** 0.5


def compare(folder: Path, kind: str, *, keep_gathered: bool, recompute: bool) -> tuple[float, float]:
    """Relative differences of loss and gradient, where every process reads prompts of its own."""
    rank, size = distributed.get_rank(), distributed.get_world_size()
    prompts = torch.load(folder / f"{kind}.pt", weights_only=False)
    one = load_policy(str(folder / kind))
    loss = sum(loss_of(one, prompts[place::size]) for place in range(size))
    # Gradients of several processes are averaged.
    expected = {name: p.grad / size for name, p in one.model.named_parameters() if p.grad is not None}
    sharding = Sharding(shards=size, replicas=1, keep_gathered=keep_gathered)
    policy = load_policy(str(folder / kind), layout=sharding)
    if keep_gathered and recompute:
        saving.save_whole_model(policy.model, folder / f"{kind}-saved")
    (checkpoint_layers if recompute else tie_layers)(policy.model)
    at_once, logits_in_pieces.LOGITS_AT_ONCE = logits_in_pieces.LOGITS_AT_ONCE, 4 * policy.support.num_tokens
    sharded_loss = loss_of(policy, prompts[rank::size])
    logits_in_pieces.LOGITS_AT_ONCE = at_once
    distributed.all_reduce(sharded_loss)
    difference = total = 0.0
    for name, parameter in policy.model.named_parameters():
        if parameter.grad is not None:
            gradient = whole(parameter.grad)
            difference += float((gradient - expected[name]).square().sum())
            total += float(expected[name].square().sum())
    return abs(float(sharded_loss / loss) - 1), (difference / total) ** 0.5


def count_finer_logits(folder: Path, kind: str) -> int:
    """How many logits of a sharded model that computes in bfloat16 are finer than bfloat16."""
    layout = Sharding(shards=distributed.get_world_size(), replicas=1, keep_gathered=True, mixed_precision=True)
    policy = load_policy(str(folder / kind), layout=layout)
    tie_layers(policy.model)
    prompts = torch.load(folder / f"{kind}.pt", weights_only=False)
    logits: list[Any] = []
    policy.model.lm_head.register_forward_hook(lambda _, __, output: logits.append(output))
    policy.answer(policy.read(prompts), sampling=Sampling(max_new_tokens=2, seed=1))
    return int((logits[0] != logits[0].bfloat16()).sum())


def save_on_a_full_disk(folder: Path, kind: str) -> list[str]:
    """What the first process finds when the second one cannot write its part of the model, and of the optimiser."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    size = distributed.get_world_size()
    model = load_policy(str(folder / kind), layout=Sharding(shards=size, replicas=1, keep_gathered=True)).model
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values())
    if distributed.get_rank() == 1:
        saving.save_file = refuse  # type: ignore[assignment]
        HuggingFaceStorageWriter.write_data = refuse  # type: ignore[assignment, method-assign]
    found = []
    for save in (
        lambda: saving.save_whole_model(model, folder / "full"),
        lambda: save_optimizer(optimizer, parameters, folder / "full"),
    ):
        try:
            save()
        except OSError as error:
            found.append(str(error))
    return found


def main() -> None:
    """Compare all families."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    folder = Path(sys.argv[1])
    saving.LEAST_BYTES = saving.MOST_BYTES = 100_000  # several files of a tiny model, and more than one for a process
    for kind, keep, recompute in product(KINDS, (True, False), (True, False)):
        differences = compare(folder, kind, keep_gathered=keep, recompute=recompute)
        if distributed.get_rank() == 0:
            print(kind, f"keep_gathered={keep}", f"recompute={recompute}", *differences, flush=True)
    for kind in KINDS if find_spec("peft") else ():
        differences = compare_adapter(folder, kind)
        if distributed.get_rank() == 0:
            print(kind, "adapter", *differences, flush=True)
    print("finer than bfloat16:", count_finer_logits(folder, "qwen3_vl"), flush=True)
    found = save_on_a_full_disk(folder, next(iter(KINDS)))
    print("full", distributed.get_rank(), found, flush=True)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
