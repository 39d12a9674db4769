"""Steps of this package on the files that the peers get; prints one line of JSON.

Decoding and processing the clip is in every step, because it is in theirs.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from shared_reading import SETTINGS, freeze_vision
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget, read_frames
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.policy.load import load_policy
from video_opd.policy.shared_vision import share_vision
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.types import Example, Sampling, Span


def main() -> None:
    """Train; the arguments are those of trl_steps.py."""
    folder, steps, tokens, frozen = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "frozen" in sys.argv[4]
    torch.set_num_threads(1)
    student, teacher = load_policy(str(folder / "student")), load_policy(str(folder / "teacher")).freeze()
    banned = student.support.banned.clone()
    banned[student.support.end_token_id] = True
    student.support = replace(student.support, banned=banned)
    if frozen:
        freeze_vision(student)
    share_vision(student, [teacher], num_clips=0)
    budget = VideoBudget(max_tokens=8192)
    render = PromptRenderer(student.processor, TEMPLATES["tiny"], budget)
    learner = Learner(student, SETTINGS, total_steps=steps)
    method = ReverseKLDistillation(
        write=lambda policy, reading, seed: policy.answer(reading, sampling=Sampling(max_new_tokens=tokens, seed=seed)),
        teacher=OneTeacher(teacher),
        estimator="exact",
    )
    seconds = []
    for step in range(steps):
        began = time.process_time()
        frames = read_frames(folder / "clip.mp4", budget)
        example = Example(id=str(step), video="clip.mp4", query=sys.argv[5], spans=(Span(1, 2),), duration=20.0)
        prompt = render(example, frames)
        outcome = take_step(learner, [prompt], method, step=step, seed=step)
        seconds.append(time.process_time() - began)
        assert len(outcome.batches[0].groups[0].answers[0]) == tokens
    versions = {name: version(name) for name in ("torch", "transformers")}
    print(json.dumps({"seconds": seconds, "prompt_tokens": len(prompt), "versions": versions}))


if __name__ == "__main__":
    main()
