"""Teach a student to read crops while it answers about whole clips as it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from tiny_models.school import SHARES, Lesson, School, append
from tiny_models.teaching import BATCH_SIZE, answer_logits, lesson_loss, minimise, schedule
from video_opd.policy.answer import answer
from video_opd.policy.read import read
from video_opd.policy.token_support import TokenSupport
from video_opd.seeds import derive_seed
from video_opd.types import Sampling

MARGINS_S = (0.5, 2.0)
"""One margin for all would be a ruler: the answer could be read off the ends of the crop, whatever is in it."""
NUM_ANCHORS = 800
ANCHORS_A_STEP = 8
ANCHOR_WEIGHT = 1.0
"""Of the KL. With 1 the viewer is at 0.938 on crops and at 0.466 on whole clips (0.378 before), with 4 at 0.857 and
0.434: what holds the one holds back the other."""


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """A whole clip with the model's own answer, and how probable each token was at the start."""

    lesson: Lesson
    logprobs: Tensor
    """(A, V)."""


@torch.no_grad()
def note_anchors(
    model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, seed: int, count: int
) -> list[Anchor]:
    """What the model says of whole clips, in questions of every kind."""
    school, tokenizer = School(processor, derive_seed(seed, "anchors"), SHARES), processor.tokenizer
    support, pad = TokenSupport.build(tokenizer, model.config), tokenizer.pad_token_id
    anchors: list[Anchor] = []
    for start in range(0, count, BATCH_SIZE):
        asked = [school.lesson(number) for number in range(start, min(start + BATCH_SIZE, count))]
        reading = read(model, [lesson.prompt for lesson in asked], grad=False, pad_token_id=pad)
        sampling = Sampling(max_new_tokens=56, seed=seed)
        groups = answer(model, reading, count=1, sampling=sampling, support=support, tokenizer=tokenizer)
        lessons = []
        for lesson, group in zip(asked, groups, strict=True):
            (own,) = group.answers
            row = append(lesson.prompt, torch.tensor(own.token_ids))
            lessons.append(replace(lesson, text=own.text, row=row, num_answer_tokens=len(own)))
        logprobs = answer_logits(model, lessons, pad)[0].log_softmax(dim=-1)
        parts = logprobs.split([lesson.num_answer_tokens for lesson in lessons])
        anchors += [Anchor(lesson=one, logprobs=part) for one, part in zip(lessons, parts, strict=True)]
    return anchors


def teach_crops(
    model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, seed: int, *, steps: int, peak: float,
    log: Callable[[str], None],
) -> Qwen3VLForConditionalGeneration:  # fmt: skip
    """Right answers about crops, by cross-entropy; about whole clips the answers of before, by KL to them."""
    school = School(processor, derive_seed(seed, "crops"), {"tiny": 1.0}, MARGINS_S)
    anchors = note_anchors(model, processor, seed, NUM_ANCHORS)
    pad = processor.tokenizer.pad_token_id

    def losses() -> Iterator[Tensor]:
        for step, lessons in enumerate(school.batches(BATCH_SIZE)):
            held = [anchors[(ANCHORS_A_STEP * step + index) % len(anchors)] for index in range(ANCHORS_A_STEP)]
            logits = answer_logits(model, [anchor.lesson for anchor in held], pad)[0]
            before = torch.cat([anchor.logprobs for anchor in held])
            drift = nn.functional.kl_div(logits.log_softmax(-1), before, log_target=True, reduction="batchmean")
            loss = lesson_loss(model, None, lessons, pad)
            if step % 50 == 49:
                log(f"crops: step {step + 1}, loss {loss:.3f}, KL to before {drift:.3f}")
            yield loss + ANCHOR_WEIGHT * drift

    rate = schedule(peak, warm_up=10, flat=int(0.6 * steps), total=steps)
    for _ in minimise(list(model.parameters()), losses(), steps, rate):
        pass
    return model
