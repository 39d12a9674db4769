"""A whole training step against the plain path: generate, then one full forward pass over prompt and answer.

    python benchmarks/shared_reading.py [--method opd|grpo] [--vocabulary 32768] [--seconds 20] [--repeats 5]

Both train on the same answers, compute the same loss and the same gradient (checked), and take the same AdamW step; the
teacher's pass is in both. The plain path computes logits at answer positions only, as TRL and ms-swift do; for GRPO it
reads the prompt once for each of its eight answers, in sampling and in training. Side by side in one process, one
thread, CPU time (`process_time`), in turn; the median of the ratios.

A Qwen3-VL with random weights as student (25 M parameters of text, 10 M of vision, all trained) and one of three times
the size as teacher; a clip of 32 tokens a second; 16 answer tokens.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from transformers import AutoProcessor, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from video_opd.config import TrainingSettings
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import Frames, VideoBudget
from video_opd.methods import Method
from video_opd.methods.grpo import GRPO
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.objectives import clipped_policy_gradient, group_advantage, policy_gradient, sampled_advantage
from video_opd.policy.load import Policy
from video_opd.policy.location import resolve_model
from video_opd.policy.read import Reading, collate
from video_opd.policy.token_support import TokenSupport
from video_opd.seeds import generator
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.types import AnswerGroup, Example, Prompt, Sampling, Span

NUM_ANSWER_TOKENS = 16
NUM_GRPO_ANSWERS = 8
SETTINGS = TrainingSettings(batch_size=1, learning_rate=1e-4)


def build_policy(*, vocabulary: int = 32768, hidden: int = 384, layers: int = 8, intermediate: int = 1024) -> Policy:
    """A mid-sized model with random weights around the tiny tokenizer; heads of 64, two of them for keys and values.

    Special tokens and the end of turn are never written, so that all answers have one length.
    """
    processor = AutoProcessor.from_pretrained(resolve_model("tiny-student"))
    tokenizer = processor.tokenizer
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in
           ("image_pad", "video_pad", "vision_start", "vision_end", "im_end")}  # fmt: skip
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": layers, "head_dim": 64,
            "intermediate_size": intermediate, "num_attention_heads": hidden // 64, "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "eos_token_id": ids["im_end"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [16, 8, 8],
                                "mrope_interleaved": True},
        },
        vision_config={"depth": 4, "hidden_size": 384, "intermediate_size": 1536, "num_heads": 6,
                       "out_hidden_size": hidden, "num_position_embeddings": 256, "deepstack_visual_indexes": [1, 2]},
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"], vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"], tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config).eval()
    support = TokenSupport.build(tokenizer, config)
    # Every row of the output layer counts, as with a real tokenizer, and none of the answers ends early.
    banned = torch.zeros(vocabulary, dtype=torch.bool)
    banned[: support.num_tokens] = support.banned
    banned[support.end_token_id] = True
    support = replace(support, num_tokens=vocabulary, banned=banned)
    return Policy(name="bench", model=model, processor=processor, support=support)


def build_prompt(policy: Policy, seconds: int, number: int) -> Prompt:
    """Noise for frames at 2 a second, 32 tokens per pair of frames."""
    render = PromptRenderer(policy.processor, TEMPLATES["tiny"], VideoBudget(max_tokens=8192))
    count = 2 * seconds
    images = generator(0, "frames", number).integers(0, 255, (count, 128, 256, 3), dtype=np.uint8)
    times = tuple(i / 2 for i in range(count))
    frames = Frames(images=images, times_s=times, duration_s=float(seconds), indices=tuple(range(count)))
    span = (Span(1, 2),)
    return render(
        Example(id=f"p{number}", video="", query="a thing happens", spans=span, duration=float(seconds)), frames
    )


def full_logprobs(
    policy: Policy, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup], *, distribution: bool = False
) -> Tensor:
    """(answers, T) by one forward pass over prompt and answer, as a trainer without shared readings makes it.

    The answers must all have one length, T. With `distribution`: (answers, T, V), of the whole vocabulary.
    """
    (length,) = {len(answer) for group in groups for answer in group}
    rows = []
    for prompt, group in zip(prompts, groups, strict=True):
        for answer in group:
            ids = torch.tensor(answer.token_ids)
            kinds = torch.cat([prompt.mm_token_type_ids, torch.zeros_like(ids)])
            rows.append(replace(prompt, input_ids=torch.cat([prompt.input_ids, ids]), mm_token_type_ids=kinds))
    batch = collate(rows, pad_token_id=policy.pad_token_id, device=policy.model.device)
    logits = policy.model(**batch, use_cache=False, logits_to_keep=length + 1).logits[:, :-1]
    logprobs = policy.support.log_softmax(logits)
    return logprobs if distribution else logprobs.gather(2, batch["input_ids"][:, -length:, None])[:, :, 0]


def generate(policy: Policy, prompts: Sequence[Prompt], count: int, length: int = NUM_ANSWER_TOKENS) -> None:
    """transformers' `generate`, every answer with a prompt of its own."""
    copies = [prompt for prompt in prompts for _ in range(count)]
    policy.model.generate(
        **collate(copies, pad_token_id=policy.pad_token_id, device=policy.model.device), max_new_tokens=length,
        min_new_tokens=length, do_sample=True, top_k=0, pad_token_id=policy.pad_token_id,
    )  # fmt: skip


class Path:
    """One way to take a step, with a student and an optimiser of its own."""

    def __init__(self, student: Policy, method: Method) -> None:
        self.student, self.method = student, method
        self.learner = Learner(student, SETTINGS, total_steps=1)
        self.gradient: Tensor | None = None
        self.learner.optimizer.register_step_pre_hook(lambda *_: self._keep())

    def _keep(self) -> None:
        if self.gradient is None:  # of the first step, where both students are still the same
            self.gradient = torch.cat([p.grad.flatten() for p in self.learner.parameters.values()])

    def step(self, prompt: Prompt, answers: AnswerGroup) -> None:
        """Take it; `answers` are those that the method's writer gives."""
        raise NotImplementedError


class Ours(Path):
    """The learner's own step."""

    def step(self, prompt: Prompt, answers: AnswerGroup) -> None:
        """Read once, answer from that reading, score on it."""
        outcome = take_step(self.learner, [prompt], self.method, step=0, seed=0)
        assert outcome.batches[0].groups[0].answers[0].token_ids == answers.answers[0].token_ids


class Plain(Path):
    """transformers' `generate`, and full passes over prompt and answer."""

    def step(self, prompt: Prompt, answers: AnswerGroup) -> None:
        """A pass over the prompt for every answer, in sampling and in training."""
        count = len(answers.answers)
        generate(self.student, [prompt], count)
        advantage = self._advantage(prompt, answers)
        for row, answer in enumerate(answers):  # one by one, so that memory is that of one
            alone = AnswerGroup(prompt_id=prompt.id, answers=(answer,))
            logprobs = full_logprobs(self.student, [prompt], [alone])
            loss = self._loss(logprobs, advantage, row).sum() / (count * NUM_ANSWER_TOKENS)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learner.parameters.values(), SETTINGS.clip_norm)
        self.learner.optimizer.step()
        self.learner.optimizer.zero_grad(set_to_none=True)

    def _advantage(self, prompt: Prompt, answers: AnswerGroup) -> Tensor:
        if isinstance(self.method, GRPO):
            return group_advantage(given_rewards([prompt], [answers]), divide_by_std=True)[0]
        assert isinstance(self.method, ReverseKLDistillation)
        (teacher,) = self.method.teacher.policies
        with torch.no_grad():
            return full_logprobs(teacher, [prompt], [answers])

    def _loss(self, logprobs: Tensor, advantage: Tensor, row: int) -> Tensor:
        mine = logprobs.detach()
        if isinstance(self.method, GRPO):
            return clipped_policy_gradient(logprobs, mine, advantage[row].expand_as(mine), 0.2)[0]
        return policy_gradient(logprobs, mine, sampled_advantage(mine, advantage))


def writes(count: int) -> Callable[..., tuple[AnswerGroup, ...]]:
    """A student's own answers, all of one length."""

    def write(student: Policy, reading: Reading, seed: int) -> tuple[AnswerGroup, ...]:
        return student.answer(reading, count=count, sampling=Sampling(max_new_tokens=NUM_ANSWER_TOKENS, seed=seed))

    return write


def given_rewards(_: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Tensor:
    """Rewards that tell a group's answers apart; what random models write names no span."""
    return torch.linspace(0, 1, len(groups[0].answers)).expand(len(groups), -1)


def main() -> None:
    """Measure, print, and refuse to have measured two different things."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=("opd", "grpo"), default="opd")
    parser.add_argument("--vocabulary", type=int, default=32768)
    parser.add_argument("--seconds", type=int, default=20, help="of the clip: 32 video tokens each")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    students = [build_policy(vocabulary=arguments.vocabulary) for _ in range(2)]
    if arguments.method == "opd":
        teacher = build_policy(vocabulary=arguments.vocabulary, hidden=640, layers=12, intermediate=1792)
        method: Method = ReverseKLDistillation(write=writes(1), teacher=OneTeacher(teacher.freeze()))
    else:
        method = GRPO(write=writes(NUM_GRPO_ANSWERS), reward=given_rewards)
    ours, plain = Ours(students[0], method), Plain(students[1], method)
    ratios, seconds = [], {"ours": [], "plain": []}
    for number in range(arguments.repeats + 1):
        prompt = build_prompt(students[0], arguments.seconds, number)
        (answers,) = method.write(ours.student, ours.student.read([prompt]), 0)
        assert {len(answer) for answer in answers} == {NUM_ANSWER_TOKENS}
        taken = []
        for path in (ours, plain) if number % 2 else (plain, ours):
            began = time.process_time()
            path.step(prompt, answers)
            taken.append((path, time.process_time() - began))
        if number:  # the first round warms up
            by_path = dict(taken)
            seconds["ours"].append(by_path[ours])
            seconds["plain"].append(by_path[plain])
            ratios.append(by_path[ours] / by_path[plain])
    assert ours.gradient is not None
    assert plain.gradient is not None
    result = {
        "method": arguments.method,
        "prompt_tokens": len(prompt),
        "video_tokens": prompt.num_video_tokens,
        "vocabulary": arguments.vocabulary,
        "student_parameters": sum(p.numel() for p in students[0].model.parameters()),
        "relative_gradient_difference": float((ours.gradient - plain.gradient).norm() / plain.gradient.norm()),
        "ours_cpu_seconds": statistics.median(seconds["ours"]),
        "plain_cpu_seconds": statistics.median(seconds["plain"]),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }
    print(json.dumps(result, indent=2))
    assert result["relative_gradient_difference"] < 1e-3


if __name__ == "__main__":
    main()
