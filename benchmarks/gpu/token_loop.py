"""How fast answers are written, and what the loop's Python costs: the device's own time against the wall's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from models import build_policy, build_prompt, copies, processor_of, train_language_model_only
from record import Record, gib, release_memory, timed
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from video_opd.policy.load import Policy
from video_opd.policy.read import Reading
from video_opd.types import Prompt, Sampling


def measure(record: Record, device: str, *, rehearse: bool, tokenizer: Path | None) -> None:
    """A student under training (float32 weights, bfloat16 arithmetic) and one that only answers (bfloat16 weights)."""
    processor = processor_of(tokenizer)
    size, length, tokens = ("small", 64, 4) if rehearse else ("2B", 4096, 32)
    prompt = build_prompt(processor, length, template="timelens" if tokenizer else "tiny")
    record["prompt"] = {"tokens": len(prompt), "video_tokens": prompt.num_video_tokens}
    for name, weights, autocast in (
        ("bfloat16 weights", torch.bfloat16, None),
        ("float32 weights, bfloat16 arithmetic", torch.float32, torch.bfloat16),
    ):
        policy = build_policy(size, processor, device=device, weights=weights, autocast=autocast)
        if autocast is None:
            policy.freeze()
        else:
            train_language_model_only(policy)
        for prompts, answers in ((1, 1), (8, 1), (32, 1), (1, 8), (1, 32)):
            if rehearse:
                prompts, answers = min(prompts, 2), min(answers, 2)
            label = f"{name}: {prompts} prompts of {answers} answers"
            record.attempt(label, lambda p=policy, n=prompts, a=answers: loop(p, prompt, n, a, tokens, device))
            release_memory()
        record.attempt(f"{name}: by kind of work", lambda p=policy: by_kind(p, prompt, tokens, device))
        del policy
        release_memory()


def loop(policy: Policy, prompt: Prompt, prompts: int, answers: int, tokens: int, device: str) -> dict[str, float]:
    """Read, warm up, write; then write again under the profiler, for the time that the device was at work."""
    batch = copies(prompt, prompts)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    seconds: dict[str, float] = {}
    policy.read(batch[:1])
    with timed(seconds, "read"):
        reading = policy.read(batch)
    write(policy, reading, answers, 4)
    with timed(seconds, "write"):
        write(policy, reading, answers, tokens)
    found = {
        "read_seconds": seconds["read"],
        "seconds_per_token_step": seconds["write"] / tokens,
        "tokens_per_second": prompts * answers * tokens / seconds["write"],
    }
    if device != "cpu":
        busy, kernels = on_device(lambda: write(policy, reading, answers, 8))
        found |= {
            "device_seconds_per_token_step": busy / 8,
            "device_busy_share": busy / 8 / found["seconds_per_token_step"],
            "kernels_per_token_step": kernels / 8,
            "peak_gib": gib(torch.cuda.max_memory_allocated()),
        }
    return found


def write(policy: Policy, reading: Reading, answers: int, tokens: int) -> Any:
    """Answers of exactly so many tokens: these models never write the end of turn."""
    return policy.answer(reading, count=answers, sampling=Sampling(max_new_tokens=tokens, seed=1))


def on_device(do: Any) -> tuple[float, int]:
    """Seconds that kernels took, and how many there were."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        do()
        torch.cuda.synchronize()
    kernels = [event for event in seen.key_averages() if event.device_type == DeviceType.CUDA]
    return sum(event.self_device_time_total for event in kernels) / 1e6, sum(event.count for event in kernels)


def by_kind(policy: Policy, prompt: Prompt, tokens: int, device: str) -> dict[str, Any]:
    """The kernels that a token's time goes to, microseconds each, the largest first; on a CPU the operators."""
    reading = policy.read([prompt])
    on_gpu = device != "cpu"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as seen:
        write(policy, reading, 1, tokens)
        if on_gpu:
            torch.cuda.synchronize()
    kind, time_of = (DeviceType.CUDA, "self_device_time_total") if on_gpu else (DeviceType.CPU, "self_cpu_time_total")
    events = [event for event in seen.key_averages() if event.device_type == kind]
    largest = sorted(events, key=lambda event: getattr(event, time_of), reverse=True)[:12]
    return {event.key[:90]: [round(getattr(event, time_of) / tokens, 1), round(event.count / tokens, 1)]
            for event in largest}  # fmt: skip
