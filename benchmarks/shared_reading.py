"""`read + answer + score` against the plain path (generate, then one full forward pass with gradient).

    python benchmarks/shared_reading.py [--repeats 3] [--json]

Both paths write the same answers, compute the same sampled Video-OPD loss and its gradient; the teacher's log-probs are
given. Side by side in one process, one thread, CPU time (`process_time`), in turn, the median of the ratios. A Qwen3-VL
with random weights: 26 M parameters of text and 7 M of vision, vocabulary 32,768, a clip of 640 video tokens.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoProcessor, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from video_opd.data.prompts import TEMPLATES, PromptRenderer
from video_opd.data.video import Frames, VideoBudget
from video_opd.objectives import policy_gradient, sampled_credit
from video_opd.policy.load import Policy, resolve_model
from video_opd.policy.reading import collate
from video_opd.policy.support import TokenSupport
from video_opd.seeds import generator
from video_opd.vocabulary import Example, Prompt, Sampling, Span

NUM_ANSWER_TOKENS = 16


def build_policy(*, hidden: int = 384, layers: int = 8, intermediate: int = 1024) -> Policy:
    """A mid-sized model with random weights around the tiny tokenizer; heads of 64, two of them for keys and values."""
    processor = AutoProcessor.from_pretrained(resolve_model("tiny-student"))
    tokenizer = processor.tokenizer
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in
           ("image_pad", "video_pad", "vision_start", "vision_end", "im_end")}  # fmt: skip
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": 32768, "hidden_size": hidden, "num_hidden_layers": layers, "head_dim": 64,
            "intermediate_size": intermediate, "num_attention_heads": hidden // 64, "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "eos_token_id": ids["im_end"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [16, 8, 8],
                                "mrope_interleaved": True},
        },
        vision_config={"depth": 6, "hidden_size": 256, "intermediate_size": 1024, "num_heads": 4,
                       "out_hidden_size": hidden,
                       "num_position_embeddings": 256, "deepstack_visual_indexes": [1, 3]},
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"], vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"], tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config).eval()
    return Policy(name="bench", model=model, processor=processor, support=TokenSupport.of(tokenizer, config))


def build_prompts(policy: Policy, count: int) -> list[Prompt]:
    """Noise for frames: 20 s at 2 fps, 32 tokens per pair of frames."""
    budget = VideoBudget(max_tokens=4096)
    render = PromptRenderer(policy.processor, TEMPLATES["tiny"], budget)
    prompts = []
    for number in range(count):
        images = generator(0, "frames", number).integers(0, 255, (40, 128, 256, 3), dtype=np.uint8)
        frames = Frames(
            images=images, times_s=tuple(i / 2 for i in range(40)), duration_s=20.0, indices=tuple(range(40))
        )
        example = Example(id=f"p{number}", video="", query="a thing happens", spans=(Span(1, 2),), duration=20.0)
        prompts.append(render(example, frames))
    return prompts


def shared_path(policy: Policy, prompts: list[Prompt], answers: Any, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """One reading with gradient, sampling on its detached keys and values, one short pass over the answer."""
    reading = policy.read(prompts, grad=True)
    written = policy.answer(reading, sampling=Sampling(max_new_tokens=NUM_ANSWER_TOKENS, greedy=True))
    scores = policy.score(reading, answers or written, grad=True)
    return loss_of(scores.logprobs, teacher), scores.logprobs.detach()


def plain_path(policy: Policy, prompts: list[Prompt], answers: Any, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """transformers' `generate`, then the whole sequence once more with gradient and logits at every position."""
    batch = collate(prompts, pad_token_id=policy.pad_token_id, device="cpu")
    policy.model.generate(
        **batch, max_new_tokens=NUM_ANSWER_TOKENS, min_new_tokens=NUM_ANSWER_TOKENS, do_sample=False,
        pad_token_id=policy.pad_token_id,
    )  # fmt: skip
    rows = [
        replace(
            prompt,
            input_ids=torch.cat([prompt.input_ids, torch.tensor(group.answers[0].token_ids)]),
            mm_token_type_ids=torch.cat([prompt.mm_token_type_ids, torch.zeros(NUM_ANSWER_TOKENS, dtype=torch.long)]),
        )
        for prompt, group in zip(prompts, answers, strict=True)
    ]
    batch = collate(rows, pad_token_id=policy.pad_token_id, device="cpu")
    logits = policy.model(**batch, use_cache=False).logits[:, -NUM_ANSWER_TOKENS - 1 : -1]
    targets = batch["input_ids"][:, -NUM_ANSWER_TOKENS:, None]
    logprobs = policy.support.log_softmax(logits).gather(2, targets)[:, :, 0]
    return loss_of(logprobs, teacher), logprobs.detach()


def loss_of(logprobs: Tensor, teacher: Tensor) -> Tensor:
    """Sampled Video-OPD per answer token."""
    return policy_gradient(logprobs, logprobs, sampled_credit(logprobs, teacher)).mean()


def timed(policy: Policy, path: Callable[..., tuple[Tensor, Tensor]], *arguments: Any) -> dict[str, Any]:
    """CPU seconds, loss and gradient of one pass through a path."""
    policy.model.zero_grad(set_to_none=True)
    began = time.process_time()
    loss, logprobs = path(policy, *arguments)
    loss.backward()
    seconds = time.process_time() - began
    gradient = torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None])
    return {"seconds": seconds, "loss": loss.item(), "logprobs": logprobs, "gradient": gradient}


def main() -> None:
    """Measure, print, and refuse to have measured two different things."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    policy = build_policy()
    prompts = build_prompts(policy, arguments.prompts)
    sampling = Sampling(max_new_tokens=NUM_ANSWER_TOKENS, greedy=True)
    answers = policy.answer(policy.read(prompts), sampling=sampling)
    assert all(len(group.answers[0]) == NUM_ANSWER_TOKENS for group in answers)
    teacher = policy.score(policy.read(prompts), answers).logprobs
    teacher = teacher + torch.from_numpy(generator(0, "teacher").normal(0, 1, tuple(teacher.shape))).float()
    pairs = [
        [timed(policy, path, prompts, answers, teacher) for path in (shared_path, plain_path)]
        for _ in range(arguments.repeats + 1)  # the first round warms up
    ]
    shared, plain = pairs[-1]
    difference = shared["gradient"] - plain["gradient"]
    ratios = [one["seconds"] / other["seconds"] for one, other in pairs[1:]]
    result = {
        "prompt_tokens": len(prompts[0]),
        "video_tokens": prompts[0].num_video_tokens,
        "loss_difference": abs(shared["loss"] - plain["loss"]),
        "largest_logprob_difference": (shared["logprobs"] - plain["logprobs"]).abs().max().item(),
        "relative_gradient_difference": (difference.norm() / plain["gradient"].norm()).item(),
        "shared_cpu_seconds": statistics.median(one["seconds"] for one, _ in pairs[1:]),
        "plain_cpu_seconds": statistics.median(other["seconds"] for _, other in pairs[1:]),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }
    print(json.dumps(result, indent=2))
    assert result["loss_difference"] < 1e-5
    assert result["relative_gradient_difference"] < 1e-4


if __name__ == "__main__":
    main()
