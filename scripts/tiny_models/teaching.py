"""Cross-entropy with a scaffold, from nothing to a model that grounds; and how to spoil one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from tiny_models.architecture import SIZES, build_model
from tiny_models.school import SHARES, Carelessness, Lesson, School
from video_opd.data.tiny_world import COLOURS, SHAPES
from video_opd.grounding import parse_answer, temporal_iou
from video_opd.policy.answer import answer
from video_opd.policy.read import collate, read, rope_positions
from video_opd.policy.token_support import TokenSupport
from video_opd.seeds import derive_seed
from video_opd.types import Sampling

BATCH_SIZE = 16
SCAFFOLD_WEIGHT = 5.0
SPOILING_SHARES = {"tiny": 0.4, "tiny-long": 0.2, "tiny-before": 0.4}
"""While its spans are spoiled a student is reminded of the side question, whose answers stay right."""
EXAM_START = 10**7
"""Lessons from this number on are for examinations only."""


class Scaffold(nn.Module):
    """Two throw-away heads at the video tokens: what is in these frames (on the vision tower's output), and is the
    thing asked for in them (on the language model's)? Without them both models stay on a plateau for a thousand
    steps."""

    def __init__(self, model: Qwen3VLForConditionalGeneration) -> None:
        super().__init__()
        width = model.config.text_config.hidden_size
        self.present, self.visible = nn.Linear(width, 2 * len(COLOURS) * len(SHAPES)), nn.Linear(width, 2)
        self.seen: Tensor | None = None
        self.hook = model.model.visual.merger.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self.seen = output

    def what_is_there(self, lessons: list[Lesson]) -> Tensor:
        """Binary cross-entropy of the head on the vision tower's last output."""
        assert self.seen is not None
        truth = torch.cat([lesson.present for lesson in lessons])
        return nn.functional.binary_cross_entropy_with_logits(self.present(self.seen), truth)

    def is_it_there(self, hidden_at_video: Tensor, lessons: list[Lesson]) -> Tensor:
        """Binary cross-entropy of the head on the language model's states at the video tokens."""
        truth = torch.cat([lesson.visible for lesson in lessons])
        return nn.functional.binary_cross_entropy_with_logits(self.visible(hidden_at_video), truth)


def schedule(peak: float, *, warm_up: int, flat: int, total: int) -> Callable[[int], float]:
    """Linear warm-up, a plateau until `flat`, a cosine to nothing at `total`."""

    def at(step: int) -> float:
        if step < warm_up:
            return peak * (step + 1) / warm_up
        return peak * (1 + math.cos(math.pi * min(max((step - flat) / max(total - flat, 1), 0.0), 1.0))) / 2

    return at


def minimise(
    parameters: list[nn.Parameter], losses: Iterator[Tensor], steps: int, learning_rate: Callable[[int], float]
) -> Iterator[tuple[int, float]]:
    """AdamW with clipping; yields step and loss."""
    optimizer = torch.optim.AdamW(parameters, lr=1.0, weight_decay=0.01, betas=(0.9, 0.98))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step)
        loss = next(losses)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield step, loss.item()


def learn_to_see(model: Qwen3VLForConditionalGeneration, school: School, steps: int) -> float:
    """The vision tower alone first, on what is in each pair of frames, at a fifth of the cost of a whole step."""
    visual, scaffold = model.model.visual, Scaffold(model)
    pool = [school.lesson(number) for number in range(10**6, 10**6 + 1600)]

    def losses() -> Iterator[Tensor]:
        step = 0
        while True:
            lessons = [pool[(BATCH_SIZE * step + index) % len(pool)] for index in range(BATCH_SIZE)]
            patches = torch.cat([lesson.row.pixel_values for lesson in lessons])
            visual(patches, grid_thw=torch.tensor([lesson.row.grid_thw for lesson in lessons]))
            yield scaffold.what_is_there(lessons)
            step += 1

    parameters = [*visual.parameters(), *scaffold.present.parameters()]
    rate = schedule(2e-3, warm_up=30, flat=steps // 2, total=steps)
    last = [loss for _, loss in minimise(parameters, losses(), steps, rate)][-1]
    scaffold.hook.remove()
    return last


def answer_logits(
    model: Qwen3VLForConditionalGeneration, lessons: list[Lesson], pad_token_id: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, V) and ids (N,) of all answer tokens, lesson after lesson, and the last states at the video tokens."""
    batch = collate([lesson.row for lesson in lessons], pad_token_id=pad_token_id, device="cpu")
    hidden = model.model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], position_ids=rope_positions(model, batch),
        mm_token_type_ids=batch["mm_token_type_ids"], pixel_values_videos=batch["pixel_values_videos"],
        video_grid_thw=batch["video_grid_thw"], use_cache=False,
    ).last_hidden_state  # fmt: skip
    longest = max(lesson.num_answer_tokens for lesson in lessons)
    logits = model.lm_head(hidden[:, -longest - 1 : -1]).float()
    counts = torch.tensor([lesson.num_answer_tokens for lesson in lessons])
    mask = torch.arange(longest) >= longest - counts[:, None]
    return logits[mask], batch["input_ids"][:, -longest:][mask], hidden[batch["mm_token_type_ids"] == 2]


def lesson_loss(
    model: Qwen3VLForConditionalGeneration, scaffold: Scaffold | None, lessons: list[Lesson], pad_token_id: int
) -> Tensor:
    """Cross-entropy per answer token, and the scaffold's two losses."""
    logits, ids, at_video = answer_logits(model, lessons, pad_token_id)
    loss = nn.functional.cross_entropy(logits, ids)
    if scaffold is not None:
        loss = loss + SCAFFOLD_WEIGHT * (scaffold.what_is_there(lessons) + scaffold.is_it_there(at_video, lessons))
    return loss


def teach(
    name: str, processor: Qwen3VLProcessor, seed: int, *, steps: int, peak: float = 1e-3, log: Callable[[str], None]
) -> Qwen3VLForConditionalGeneration:
    """A capable model from nothing, on clean labels."""
    school = School(processor, derive_seed(seed, name))
    model = build_model(SIZES[name], processor, seed)
    began = time.monotonic()
    log(f"{name}: sees, loss {learn_to_see(model, school, steps=600):.4f}, {time.monotonic() - began:.0f} s")
    scaffold = Scaffold(model)
    pad = processor.tokenizer.pad_token_id
    losses = (lesson_loss(model, scaffold, lessons, pad) for lessons in school.batches(BATCH_SIZE))
    rate = schedule(peak, warm_up=60, flat=int(0.7 * steps), total=steps)
    for step, loss in minimise([*model.parameters(), *scaffold.parameters()], losses, steps, rate):
        if step % 100 == 99:
            log(f"{name}: step {step + 1} of {steps}, loss {loss:.3f}, {time.monotonic() - began:.0f} s")
        if step % 400 == 399:
            log(f"{name}: {examine(model, processor, count=64)}")
    scaffold.hook.remove()
    return model


def spoil(
    model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, seed: int, *, steps: int, peak: float,
    noise: Carelessness, shares: dict[str, float] = SPOILING_SHARES,
) -> Qwen3VLForConditionalGeneration:  # fmt: skip
    """Ruin a capable model's policy with wrong labels; it keeps its eyes."""
    school = School(processor, derive_seed(seed, "spoil"), shares)
    pad = processor.tokenizer.pad_token_id
    losses = (lesson_loss(model, None, lessons, pad) for lessons in school.batches(BATCH_SIZE, noise))
    for _ in minimise(list(model.parameters()), losses, steps, schedule(peak, warm_up=5, flat=steps // 2, total=steps)):
        pass
    return model


@torch.no_grad()
def examine(
    model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, count: int,
    shares: dict[str, float] = SHARES, margins_s: tuple[float, float] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Greedy answers to `count` questions of each kind: mean IoU, or the share of right words.

    Args:
        margins_s: where given, about crops; see `School`.
    """
    school, tokenizer = School(processor, derive_seed(0, "exam"), shares, margins_s), processor.tokenizer
    support = TokenSupport.build(tokenizer, model.config)
    results: dict[str, list[float]] = {kind: [] for kind in shares}
    number = EXAM_START
    while min(map(len, results.values())) < count:
        drawn = [school.lesson(n) for n in range(number, number + 64)]
        number += 64
        for kind, scores in results.items():
            lessons = [lesson for lesson in drawn if lesson.kind == kind][: count - len(scores)]
            if not lessons:
                continue
            reading = read(
                model, [lesson.prompt for lesson in lessons], grad=False, pad_token_id=tokenizer.pad_token_id
            )
            sampling = Sampling(max_new_tokens=56, greedy=True)
            groups = answer(model, reading, count=1, sampling=sampling, support=support, tokenizer=tokenizer)
            for lesson, group in zip(lessons, groups, strict=True):
                scores.append(grade(lesson, group.answers[0].text))
    return {kind: round(float(np.mean(scores)), 3) for kind, scores in results.items()}


def grade(lesson: Lesson, text: str) -> float:
    """IoU with the truth, or 1 for the right word."""
    if lesson.kind == "tiny-before":
        return float(text == lesson.text)
    spans = parse_answer(text).spans
    return temporal_iou(spans[0], lesson.prompt.example.spans[0]) if spans else 0.0
