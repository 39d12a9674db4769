"""A frozen teacher in bitsandbytes' 4 bits, loaded by the package's own door, against the same in bfloat16."""

from __future__ import annotations

import statistics
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from models import build_policy, build_prompt, processor_of
from parity import tiny_prompts
from record import Record, gib, release_memory, timed

from video_opd.objectives import reverse_kl
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.location import resolve_model
from video_opd.types import Prompt, Sampling


def measure(record: Record, device: str, *, rehearse: bool) -> None:  # noqa: ARG001
    """The tiny teacher's judgement, then time and memory of four layers of an 8B."""
    missing = [name for name in ("bitsandbytes", "accelerate") if find_spec(name) is None]
    if missing or device == "cpu":  # its CPU kernels do not take widths such as the tiny models'
        record["left_out"] = f"not installed: {', '.join(missing)}" if missing else "needs a GPU"
        return
    with tempfile.TemporaryDirectory(prefix="video-opd-gpu-") as folder:
        record.attempt("tiny teacher", lambda: tiny_teacher(Path(folder) / "tiny", device))
        release_memory()
        record.attempt("four layers of an 8B", lambda: four_layers(Path(folder) / "wide", device))


def quantise(source: Path, target: Path, device: str) -> None:
    """Save a model of ours in 4 bits, with its processor beside it."""
    from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["lm_head", "visual"],
    )  # fmt: skip
    model = AutoModelForImageTextToText.from_pretrained(
        source, dtype=torch.bfloat16, quantization_config=config, device_map={"": device}
    )
    model.save_pretrained(target)
    AutoProcessor.from_pretrained(source).save_pretrained(target)


def tiny_teacher(folder: Path, device: str) -> dict[str, float]:
    """What the 4-bit teacher thinks of answers, against the bfloat16 one."""
    quantise(resolve_model("tiny-teacher"), folder, device)
    full = load_policy("tiny-teacher", device=device, weights=torch.bfloat16).freeze()
    small = load_policy(str(folder), device=device, weights=torch.bfloat16).freeze()
    prompts = tiny_prompts(full.processor, 8)
    groups = full.answer(full.read(prompts), sampling=Sampling(max_new_tokens=32, seed=0))
    one, other = (policy.score(policy.read(prompts), groups, distribution=True) for policy in (full, small))
    assert one.distribution is not None
    assert other.distribution is not None
    mask = one.answer_mask
    return {
        "logprob_gap_mean": float((one.logprobs - other.logprobs)[mask].abs().mean()),
        "kl_mean": float(reverse_kl(one.distribution, other.distribution)[mask].mean()),
        "bytes_bfloat16": full.num_bytes, "bytes_4bit": small.num_bytes,
    }  # fmt: skip


def four_layers(folder: Path, device: str) -> dict[str, Any]:
    """Read and score 4,096 video tokens with the width of an 8B, in both types."""
    processor = processor_of(None)
    full = build_policy("8B, 4 layers", processor, device=device, weights=torch.bfloat16, autocast=None).freeze()
    full.model.save_pretrained(folder / "full")
    processor.save_pretrained(folder / "full")
    quantise(folder / "full", folder / "small", device)
    small = load_policy(str(folder / "small"), device=device, weights=torch.bfloat16).freeze()
    prompt = build_prompt(processor, 4096, template="tiny")
    return {name: work(policy, prompt) for name, policy in (("bfloat16", full), ("4 bits", small))}


def work(policy: Policy, prompt: Prompt) -> dict[str, float]:
    """Medians of three readings and scorings."""
    seconds: list[dict[str, float]] = []
    sampling = Sampling(max_new_tokens=16, seed=0)
    groups = policy.answer(policy.read([prompt]), sampling=sampling)
    for _ in range(3):
        row: dict[str, float] = {}
        with timed(row, "read"):
            reading = policy.read([prompt])
        with timed(row, "score"):
            policy.score(reading, groups)
        with timed(row, "answer"):
            policy.answer(reading, sampling=sampling)
        seconds.append(row)
    found = {f"{name}_seconds": statistics.median(row[name] for row in seconds) for name in seconds[0]}
    return found | {"weights_gib": gib(policy.num_bytes)}
