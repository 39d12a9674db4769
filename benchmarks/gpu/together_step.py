"""A step of several prompts: answered one by one, and in one token loop (training.answer_together).

A 2B student as in real_size.py, without a teacher, because its passes are the same in all ways. Without checkpointing
the prompts that are answered together are read twice; with it they are read once.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from models import build_policy, build_prompt, processor_of, train_language_model_only
from record import Record, gib, release_memory, timed

from shared_reading import given_rewards
from video_opd.config import TrainingSettings
from video_opd.methods.grpo import GRPO
from video_opd.methods.writers import StudentWrites
from video_opd.policy.checkpointing import checkpoint_layers
from video_opd.policy.load import Policy
from video_opd.policy.shared_vision import share_vision
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.types import Prompt

ANSWER_TOKENS = 20


def measure(record: Record, device: str, *, rehearse: bool, tokenizer: Path | None) -> None:
    """Seconds of a step by phase, and its peak; a prompt of each way is answered before, to warm up."""
    processor = processor_of(tokenizer)
    size, length, batch = ("small", 64, 3) if rehearse else ("2B", 2048, 8)
    autocast = None if device == "cpu" else torch.bfloat16
    student = build_policy(size, processor, device=device, weights=torch.float32, autocast=autocast)
    train_language_model_only(student)
    share_vision(student, [], num_clips=batch)
    prompt = build_prompt(processor, length, template="timelens" if tokenizer else "tiny")
    # Every prompt has a clip of its own.
    prompts = [replace(prompt, pixel_values=prompt.pixel_values.clone(), repeat=number) for number in range(batch)]
    record["prompts"] = {"batch": batch, "tokens": len(prompt), "video_tokens": prompt.num_video_tokens}
    for is_checkpointed in (False, True):
        if is_checkpointed:
            checkpoint_layers(student.model)
        for together in (None, batch):
            label = f"{'together' if together else 'one by one'}{', checkpointed' if is_checkpointed else ''}"
            changes = {"answer_together": together, "gradient_checkpointing": is_checkpointed}
            settings = TrainingSettings(batch_size=batch, learning_rate=1e-6, **changes)
            record.attempt(label, lambda settings=settings: step(student, settings, prompts, device))
            release_memory()


def step(student: Policy, settings: TrainingSettings, prompts: list[Prompt], device: str) -> dict[str, Any]:
    """Take a step over two prompts, which is not measured, and one over all."""
    write = StudentWrites(num_answers=1, max_new_tokens=ANSWER_TOKENS)
    method = GRPO(write=write, reward=given_rewards, divide_by_std=False)
    learner = Learner(student, settings, total_steps=1)
    take_step(learner, prompts[:2], method, step=0, seed=0)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    seconds: dict[str, float] = {}
    # New objects, so that no clip is known from the step before.
    fresh = [replace(prompt, pixel_values=prompt.pixel_values.clone()) for prompt in prompts]
    with timed(seconds, "step"):
        outcome = take_step(learner, fresh, method, step=1, seed=1)
    peak = {} if device == "cpu" else {"peak_gib": gib(torch.cuda.max_memory_allocated())}
    phases = {name: round(each, 4) for name, each in outcome.seconds_by_phase.items()}
    return {"seconds": seconds["step"], "phases": phases, **peak}
