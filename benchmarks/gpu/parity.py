"""Does a GPU compute what the CPU computes? The tiny student and teacher, in float32 on a CPU, are the reference."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from record import Record, release_memory
from torch import Tensor
from transformers.utils import is_flash_attn_2_available

from shared_reading import full_logprobs
from video_opd.config import TrainingSettings
from video_opd.data import tiny_world
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import Frames, VideoBudget, resize_image
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import StudentWrites
from video_opd.objectives import masked_mean, masked_sum, reverse_kl
from video_opd.policy.head import Float32Head
from video_opd.policy.load import Policy, load_policy
from video_opd.seeds import generator
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.probe import Probe
from video_opd.types import AnswerGroup, Prompt, Sampling, TokenScores, flatten

BUDGET = VideoBudget(fps=2.0, max_frames=64, max_tokens=64, max_frame_tokens=1)
BFLOAT16 = torch.bfloat16


@dataclass(frozen=True)
class Way:
    """One way to compute."""

    device: str
    weights: torch.dtype = torch.float32
    autocast: torch.dtype | None = None
    tf32: bool = False
    attention: str = "sdpa"
    float32_head: bool = True

    def load(self, name: str) -> Policy:
        """A tiny model, by the package's own door."""
        policy = load_policy(name, device=self.device, weights=self.weights, autocast=self.autocast)
        if self.attention == "flash_attention_2":  # the vision tower's alone: the text model takes no such backend
            policy.model.model.visual.set_attn_implementation(self.attention)
        elif self.attention != "sdpa":
            policy.model.set_attn_implementation(self.attention)
        head = policy.model.get_output_embeddings()
        if not self.float32_head and isinstance(head, Float32Head):
            head.__class__ = torch.nn.Linear
        return policy

    @contextmanager
    def computing(self) -> Iterator[None]:
        """With or without TF32 in matrix products."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def ways(device: str) -> dict[str, Way]:
    """What is compared with the reference."""
    found = {
        "float32": Way(device),
        "float32, TF32": Way(device, tf32=True),
        "float32, eager": Way(device, attention="eager"),
        "bfloat16 arithmetic": Way(device, autocast=BFLOAT16),
        "bfloat16 arithmetic, eager": Way(device, autocast=BFLOAT16, attention="eager"),
        "bfloat16 arithmetic, head in bfloat16": Way(device, autocast=BFLOAT16, float32_head=False),
        "bfloat16 weights": Way(device, weights=BFLOAT16),
        "bfloat16 weights, head in bfloat16": Way(device, weights=BFLOAT16, float32_head=False),
    }
    if device != "cpu" and is_flash_attn_2_available():
        found["bfloat16 arithmetic, flash_attention_2"] = Way(device, autocast=BFLOAT16, attention="flash_attention_2")
    return found


def tiny_prompts(processor: Any, count: int) -> list[Prompt]:
    """Questions about clips of the tiny world, rendered in memory."""
    render, world, prompts = PromptRenderer(processor, TEMPLATES["tiny"], BUDGET), tiny_world.TinyWorld(), []
    for number in range(count):
        rng = generator(0, "gpu", number)
        clip = tiny_world.draw_clip(world, rng, f"gpu-{number}")
        (example, *_) = tiny_world.make_examples(clip, queries=1, noise=None, rng=rng)
        images = np.stack([resize_image(image, 32, 32) for image in tiny_world.render(clip, world)])
        times = tuple(i / world.fps for i in range(len(images)))
        frames = Frames(images=images, times_s=times, duration_s=clip.duration_s, indices=tuple(range(len(images))))
        prompts.append(render(example, frames))
    return prompts


Result = tuple[TokenScores, Tensor, dict[str, list[tuple[int, ...]]]]
"""Scores of the given answers, the gradient, and the answers that it writes itself."""


def compute(policy: Policy, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup], teacher: Tensor) -> Result:
    """Score the given answers, differentiate the exact reverse KL to a given teacher, and write answers."""
    written = {
        name: [answer.token_ids for answer in flatten(policy.answer(policy.read(prompts), sampling=sampling))]
        for name, sampling in (("greedy", Sampling(max_new_tokens=32, greedy=True)),
                               ("sampled", Sampling(max_new_tokens=32, seed=7)))
    }  # fmt: skip
    policy.model.zero_grad(set_to_none=True)
    with policy.precision():
        scores = policy.score(policy.read(prompts, grad=True), groups, distribution=True, grad=True)
        assert scores.distribution is not None
        loss = masked_sum(reverse_kl(scores.distribution, teacher.to(policy.model.device)), scores.answer_mask)
    loss.backward()
    return scores, gradient_of(policy), written


def gradient_of(policy: Policy) -> Tensor:
    """All of it, float64, on the CPU; 0 where there is none."""
    return torch.cat([
        (torch.zeros_like(p) if p.grad is None else p.grad).detach().flatten().double().cpu()
        for p in policy.model.parameters()
    ])  # fmt: skip


def relative(difference: Tensor, to: Tensor) -> float:
    """Norm of the one over norm of the other."""
    return float(difference.norm() / to.norm())


def against(reference: Result, found: Result) -> dict[str, float]:
    """How far a result is from the reference."""
    (scores, gradient, written), (mine, my_gradient, my_written) = reference, found
    mask = scores.answer_mask
    gap = (mine.logprobs.detach().float().cpu() - scores.logprobs.detach())[mask].abs()
    assert scores.distribution is not None
    assert mine.distribution is not None
    kl = reverse_kl(mine.distribution.detach().float().cpu(), scores.distribution.detach())[mask]
    return {
        "logprob_gap_mean": float(gap.mean()),
        "logprob_gap_max": float(gap.max()),
        "kl_mean": float(kl.mean()),
        "kl_max": float(kl.max()),
        "gradient_relative_difference": relative(my_gradient - gradient, gradient),
        "gradient_cosine": float(torch.nn.functional.cosine_similarity(my_gradient, gradient, dim=0)),
        "greedy_answers_equal": share_equal(my_written["greedy"], written["greedy"]),
        "sampled_answers_equal": share_equal(my_written["sampled"], written["sampled"]),
    }


def share_equal(one: list[tuple[int, ...]], other: list[tuple[int, ...]]) -> float:
    """Of answers that are the same to the last token."""
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def shared_against_plain(way: Way, prompts: Sequence[Prompt], count: int = 1) -> dict[str, float]:
    """A reading that is answered and scored, against one pass over prompt and answer: same log-probs, same gradient."""
    policy = way.load("tiny-student")
    banned = policy.support.banned.clone()
    banned[policy.support.end_token_id] = True  # answers of one length
    policy.support = type(policy.support)(policy.support.num_tokens, banned, policy.support.end_token_id)
    found = []
    with way.computing():
        sampling = Sampling(max_new_tokens=16, seed=0)
        groups = policy.answer(policy.read(prompts), count=count, sampling=sampling)
        for name in ("shared", "plain"):
            policy.model.zero_grad(set_to_none=True)
            with policy.precision():
                if name == "shared":
                    logprobs = policy.score(policy.read(prompts, grad=True), groups, grad=True).logprobs
                else:
                    logprobs = full_logprobs(policy, prompts, groups)
            logprobs.sum().backward()
            found.append((logprobs.detach().float().cpu(), gradient_of(policy)))
    (shared, gradient), (plain, plain_gradient) = found
    sampler = torch.tensor([answer.sampler_logprobs for answer in flatten(groups)])
    return {
        "logprob_gap_mean": float((shared - plain).abs().mean()),
        "logprob_gap_max": float((shared - plain).abs().max()),
        "gradient_relative_difference": relative(gradient - plain_gradient, plain_gradient),
        "sampler_learner_gap_mean": float((sampler - shared).abs().mean()),
    }


def make_learner(way: Way, steps: int, batch: int) -> tuple[Learner, ReverseKLDistillation]:
    """The learner and the method of recipes/tiny-opd.toml."""
    student = way.load("tiny-student")
    teacher = load_policy("tiny-teacher", device=way.device, weights=way.autocast or way.weights).freeze()
    settings = TrainingSettings(
        batch_size=batch, micro_batch_size=batch, learning_rate=5e-4, warmup_steps=3, decay="linear", steps=steps
    )
    method = ReverseKLDistillation(write=StudentWrites(max_new_tokens=32), teacher=OneTeacher(teacher))
    return Learner(student, settings, total_steps=steps), method


def repeatability(way: Way, prompts: Sequence[Prompt], steps: int = 3) -> dict[str, Any]:
    """The same steps twice, from the same weights: the same weights after them, to the last bit?"""
    ends = []
    for _ in range(2):
        learner, method = make_learner(way, steps, len(prompts))
        with way.computing():
            outcomes = [take_step(learner, prompts, method, step=step, seed=step) for step in range(steps)]
        ends.append(({name: p.detach().cpu() for name, p in learner.parameters.items()}, outcomes[-1].loss))
    (one, loss), (two, other_loss) = ends
    differing = [name for name in one if not torch.equal(one[name], two[name])]
    return {
        "bit_equal": not differing,
        "tensors_that_differ": f"{len(differing)} of {len(one)}",
        "largest_difference": max(float((one[name] - two[name]).abs().max()) for name in one),
        "losses": [loss, other_loss],
    }


def short_training(way: Way, prompts: Sequence[Prompt], steps: int, batch: int) -> dict[str, Any]:
    """Steps of Video-OPD on the tiny world: the sampled reverse KL at every step, the exact one on fixed states before
    and after, and the seconds of a step."""
    learner, method = make_learner(way, steps, batch)
    curve, seconds, phases = [], [], []
    with way.computing():
        probe = Probe.take(learner.student, method.teacher, prompts[-4:], Sampling(max_new_tokens=32, seed=99), 4)
        before = probe.reverse_kl()
        for step in range(steps):
            chosen = [prompts[(step * batch + i) % len(prompts)] for i in range(batch)]
            began = time.perf_counter()
            outcome = take_step(learner, chosen, method, step=step, seed=1000 + step)
            seconds.append(time.perf_counter() - began)
            phases.append(outcome.seconds_by_phase)
            gap = [masked_mean(b.behaviour_logprobs - b.judgement.teacher.logprobs, b.answer_mask)
                   for b in outcome.batches if b.judgement.teacher]  # fmt: skip
            curve.append(float(torch.stack(gap).mean()))
        after = probe.reverse_kl()
    middle = sorted(seconds)[len(seconds) // 2]
    return {
        "reverse_kl_by_step": [round(value, 4) for value in curve],
        "exact_reverse_kl_on_fixed_states": {"before": before, "after": after},
        "seconds_per_step_median": middle,
        "seconds_by_phase_last": {name: round(value, 5) for name, value in phases[-1].items()},
        "finite": all(map(math.isfinite, curve)),
    }


def measure(record: Record, device: str, *, rehearse: bool) -> None:
    """All of it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, 4))  # more do not help models this small
    reference_way = Way("cpu")
    student = reference_way.load("tiny-student")
    prompts = tiny_prompts(student.processor, 8 if rehearse else 64)
    some = prompts[: 4 if rehearse else 16]
    groups = student.answer(student.read(some), sampling=Sampling(max_new_tokens=32, seed=0))
    teacher = reference_way.load("tiny-teacher").freeze()
    judged = teacher.score(teacher.read(some), groups, distribution=True)
    assert judged.distribution is not None
    reference = compute(student, some, groups, judged.distribution)
    record["what"] = {
        "prompts": len(some), "answer_tokens": judged.num_tokens, "mean_prompt_tokens": sum(map(len, some)) / len(some),
        "reference": "CPU, float32, sdpa",
        "exact_reverse_kl_student_teacher": float(
            reverse_kl(reference[0].distribution.detach(), judged.distribution)[judged.answer_mask].mean()
        ),
    }  # fmt: skip

    def of_student(way: Way) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            with way.computing():
                return against(reference, compute(way.load("tiny-student"), some, groups, judged.distribution))

        return run

    for name, way in ways(device).items():
        record.attempt(f"student: {name}", of_student(way))
    record.attempt("teacher: float32", lambda: teacher_gap(Way(device), judged, some, groups))
    record.attempt("teacher: bfloat16 weights", lambda: teacher_gap(Way(device, BFLOAT16), judged, some, groups))
    pairs = {"CPU float32": reference_way, "float32": Way(device), "float32, TF32": Way(device, tf32=True),
             "bfloat16 arithmetic": Way(device, autocast=BFLOAT16)}  # fmt: skip
    for name, way in pairs.items():
        record.attempt(f"shared against plain: {name}", lambda way=way: shared_against_plain(way, some))
    for name in ("float32", "bfloat16 arithmetic"):  # several answers to a prompt share a row under a mask of their own
        record.attempt(
            f"shared against plain, 4 answers: {name}", lambda way=pairs[name]: shared_against_plain(way, some[:4], 4)
        )
    for name in ("float32", "bfloat16 arithmetic"):
        record.attempt(f"repeatability: {name}", lambda way=pairs[name]: repeatability(way, some))
    steps, batch = (2, 4) if rehearse else (20, 16)
    for name in ("float32", "bfloat16 arithmetic", "CPU float32"):
        record.attempt(f"training: {name}", lambda way=pairs[name]: short_training(way, prompts, steps, batch))
    torch.set_num_threads(threads)
    release_memory()


def teacher_gap(way: Way, judged: TokenScores, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Any:
    """What a frozen teacher thinks of the answers' tokens, here and on the CPU."""
    policy = way.load("tiny-teacher").freeze()
    with way.computing():
        scores = policy.score(policy.read(prompts), groups, distribution=True)
    assert scores.distribution is not None
    assert judged.distribution is not None
    gap = (scores.logprobs.float().cpu() - judged.logprobs)[judged.answer_mask].abs()
    kl = reverse_kl(judged.distribution, scores.distribution.float().cpu())[judged.answer_mask]
    return {"logprob_gap_mean": float(gap.mean()), "logprob_gap_max": float(gap.max()), "kl_mean": float(kl.mean())}
