"""Failures of one process of a job, at a place that a test names. The first process arranges one for each command.

A failure is a JSON object:

    what: oom, hang, signal or nan
    rank: of the process
    at: read, answer, score, compute_loss or update
    grad: only in passes with gradient
    most_prompts: only in passes over more prompts than that
    skip, times: how often it does not fail at first, and how often it fails then
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from video_opd.policy.load import Policy
from video_opd.ranks import current_job, is_first_process
from video_opd.stop_signals import StopNote
from video_opd.train.learner import Learner

RANK = int(os.environ.get("RANK", "0"))

num_done: dict[str, int] = {}
"""How often a failure was due in this process, by its text."""


def arrange(folder: Path, failure: dict[str, Any] | None) -> None:
    """Arrange the failure of the next command; it begins like a new job, without the signals of an earlier one."""
    if is_first_process():
        path = folder / "failure.json"
        path.with_suffix(".new").write_text(json.dumps(failure))
        path.with_suffix(".new").replace(path)
        if job := current_job():
            job.call_all(forget)


def forget(_: dict[str, Any], __: None) -> None:
    """Forget the failures of the last command, and a signal."""
    from video_opd.ranks import _JOINED

    num_done.clear()
    _JOINED[0].signal_number, _JOINED[0].stop_note = None, StopNote()


def install(folder: Path) -> None:
    """Have the passes and updates of this process fail where the file in the folder says so."""
    for owner, verb in (
        (Policy, "read"),
        (Policy, "answer"),
        (Policy, "score"),
        (Learner, "compute_loss"),
        (Learner, "update"),
    ):
        setattr(owner, verb, failing(folder, verb, getattr(owner, verb)))


def failing(folder: Path, verb: str, real: Any) -> Any:
    def run(self: Any, what: Any, *args: Any, **options: Any) -> Any:
        text = (folder / "failure.json").read_text()
        failure = json.loads(text)
        if failure is None or failure["rank"] != RANK or failure["at"] != verb:
            return real(self, what, *args, **options)
        prompts = what if verb in ("read", "update") else getattr(what, "prompts", ())
        is_due = options.get("grad", False) >= failure.get("grad", False)
        is_due &= len(prompts) > failure.get("most_prompts", -1)
        if not is_due:
            return real(self, what, *args, **options)
        num_done[text] = num_done.get(text, 0) + 1
        if not failure.get("skip", 0) < num_done[text] <= failure.get("skip", 0) + failure["times"]:
            return real(self, what, *args, **options)
        return fail(failure["what"], verb, lambda: real(self, what, *args, **options), self)

    return run


def fail(what: str, verb: str, go_on: Any, learner: Any) -> Any:
    match what:
        case "oom":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB")
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # else torchrun waits for 30 seconds before it kills
            time.sleep(600)
        case "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        case "nan" if verb == "compute_loss":
            batch = go_on()
            return replace(batch, losses=replace(batch.losses, loss=batch.losses.loss * float("nan")))
        case "nan":
            for parameter in learner.parameters.values():
                if parameter.grad is not None:
                    parameter.grad.mul_(float("nan"))
    return go_on()
