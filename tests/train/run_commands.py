"""Run commands one after the other in this process, which may be one of several that `torchrun` started.

    python run_commands.py GRADIENTS COMMANDS

COMMANDS is a JSON list of command lines. One may begin with a JSON object: how it fails (failures.py). Every gradient
that an optimiser steps with, after clipping, is written to the folder GRADIENTS as safetensors, by the first process,
with the number of the command and of the step in its name; the names of the models that it loaded are written beside
them. The exit statuses are printed as JSON; command by command they are written to statuses.json there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import failures
import torch
from safetensors.torch import save_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

import video_opd.cli
from video_opd.cli import main
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.sharding import whole
from video_opd.ranks import is_first_process, leave_job
from video_opd.train import build_models, optimizer_state

torch.set_num_threads(1)
optimizer_state.MOST_BYTES = 500_000  # so that every process writes several files of its optimiser


def run(folder: Path, commands: list[list[str]]) -> list[int]:
    """Run the commands; returns their exit statuses; on the other processes of a job nothing."""
    number = step = 0

    def keep(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        nonlocal step
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradient = {str(place): whole(p.grad).clone() for place, p in enumerate(parameters)}
        if is_first_process():
            save_file(gradient, folder / f"{number}-{step}.safetensors")
        step += 1

    def load(name: str, **options: Any) -> Policy:
        loaded.append(name)
        return load_policy(name, **options)

    loaded: list[str] = []
    build_models.load_policy = load
    hook = register_optimizer_step_pre_hook(keep)
    statuses = []
    for number, arguments in enumerate(commands):
        step = 0
        loaded.clear()
        failures.arrange(folder, json.loads(arguments.pop(0)) if arguments[0].startswith("{") else None)
        try:
            statuses.append(main(arguments))
        except SystemExit:  # a process that has served the first one in all commands
            return []
        (folder / f"{number}-loaded.json").write_text(json.dumps(loaded))
        (folder / "statuses.json").write_text(json.dumps(statuses))
    hook.remove()
    build_models.load_policy = load_policy
    return statuses


if __name__ == "__main__":
    failures.install(Path(sys.argv[1]))
    video_opd.cli.leave_job = lambda _: None  # the job goes on with the next command, as in a comparison
    video_opd.cli.FIRST_SPEAKS_S = 0.0
    found = run(Path(sys.argv[1]), json.loads(sys.argv[2]))
    if is_first_process():
        print(json.dumps(found), flush=True)
    if found[-1:] == [2]:  # a program that fails ends without a word to the others
        sys.exit(2)
    leave_job()
