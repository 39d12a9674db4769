"""Lessons without end: rendered clips, questions about them, right answers and careless ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode, resize
from transformers import Qwen3VLProcessor

from tiny_models.architecture import BUDGET
from tiny_models.crops import keep_groups
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.tiny_world import COLOURS, SHAPES, Clip, Event, TinyWorld, displace, draw_clip, render
from video_opd.data.video.video_io import Frames
from video_opd.seeds import generator
from video_opd.types import Example, Prompt, Span

SHARES = {"tiny": 0.6, "tiny-long": 0.25, "tiny-before": 0.15}
"""How often each kind of question is asked."""


@dataclass(frozen=True, kw_only=True)
class Carelessness:
    """Wrong answers in the right form: often about another thing, and always with both ends off by a few steps of the
    grid. (Off the grid, the model would unlearn how its times are written.)"""

    other_share: float
    error_s: float
    """Standard deviation of each end's error."""
    colours: frozenset[str] = frozenset(COLOURS)
    """Of the things that the annotator is careless about; about others the answer is exact."""

    def apply(self, clip: Clip, event: Event, rng: np.random.Generator) -> Span:
        """The span a careless annotator would have written down."""
        span = event.span
        if event.colour not in self.colours:
            return span
        if rng.random() < self.other_share:
            others = [other for other in clip.events if other is not event]
            span = others[int(rng.integers(len(others)))].span
        return displace(span, rng.normal(0, self.error_s, 2), clip.duration_s)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One training example: prompt and answer as one row, and what the scaffold's heads should see."""

    kind: str
    text: str
    prompt: Prompt
    row: Prompt
    num_answer_tokens: int
    visible: Tensor
    """(groups, frames per group) 0/1: is the queried thing there? (For a question about two: the first of them.)"""
    present: Tensor
    """(groups, frames per group x kinds) 0/1: which of the things there can be are there?"""


class School:
    """Draws lessons. Clips are rendered and resized in memory: an mp4 in between changes nothing a model can use.

    Args:
        margins_s: where given, only the clip around the true span is shown, with a margin on either side of it that is
            drawn between these.
    """

    def __init__(
        self, processor: Qwen3VLProcessor, seed: int, shares: dict[str, float] = SHARES,
        margins_s: tuple[float, float] | None = None,
    ) -> None:  # fmt: skip
        self.world, self.processor, self.seed, self.shares = TinyWorld(), processor, seed, shares
        self.margins_s = margins_s
        self.renderers = {kind: PromptRenderer(processor, TEMPLATES[kind], BUDGET) for kind in SHARES}

    def lesson(self, number: int, noise: Carelessness | None = None) -> Lesson:
        """Lesson `number`, always the same; with `noise`, answered by a careless annotator."""
        rng = generator(self.seed, "lesson", number)
        clip = draw_clip(self.world, rng, f"lesson-{number}")
        kind = str(rng.choice(list(self.shares), p=list(self.shares.values())))
        event, other = (clip.events[int(i)] for i in rng.permutation(len(clip.events))[:2])
        if kind == "tiny-before" and event.span.start_s == other.span.start_s:
            kind = "tiny"
        span = noise.apply(clip, event, rng) if noise else event.span
        shown = Span(0.0, clip.duration_s)
        if self.margins_s:
            before_s, after_s = rng.uniform(*self.margins_s, 2)
            shown = Span(event.span.start_s - before_s, event.span.end_s + after_s)
        return self._pose(kind, clip, event, other, span, shown)

    def batches(self, size: int, noise: Carelessness | None = None) -> Iterator[list[Lesson]]:
        """Batch after batch of new lessons."""
        start = 0
        while True:
            yield [self.lesson(number, noise) for number in range(start, start + size)]
            start += size

    def _pose(self, kind: str, clip: Clip, event: Event, other: Event, span: Span, shown: Span) -> Lesson:
        times = np.arange(round(clip.duration_s * self.world.fps)) / self.world.fps
        if kind == "tiny-before":
            text = "yes" if event.span.start_s < other.span.start_s else "no"
        else:
            text = TEMPLATES[kind].answer_text(span, times.tolist())
        query = f"{event.name} visible before {other.name}" if kind == "tiny-before" else event.name
        example = Example(id=clip.id, video="", query=query, spans=(span,), duration=clip.duration_s)
        frames = keep_groups(self._frames(clip, times), [shown])
        times = np.array(frames.times_s)
        prompt = self.renderers[kind](example, frames)
        answer = torch.tensor(self.processor.tokenizer(text + "<|im_end|>")["input_ids"])
        truth = (times >= event.span.start_s) & (times < event.span.end_s)
        return Lesson(
            kind=kind, text=text, prompt=prompt, row=append(prompt, answer), num_answer_tokens=len(answer),
            visible=torch.tensor(truth.reshape(-1, 2), dtype=torch.float32), present=_present(clip, times),
        )  # fmt: skip

    def _frames(self, clip: Clip, times: np.ndarray) -> Frames:
        big = torch.from_numpy(render(clip, self.world)).permute(0, 3, 1, 2)
        small = resize(big, [32, 32], interpolation=InterpolationMode.BICUBIC, antialias=True).permute(0, 2, 3, 1)
        return Frames(
            images=small.contiguous().numpy(), times_s=tuple(float(time_s) for time_s in times),
            duration_s=clip.duration_s, indices=tuple(range(len(times))),
        )  # fmt: skip


def append(prompt: Prompt, answer: Tensor) -> Prompt:
    """Prompt and answer as one row; the answer's ids are (A,)."""
    return replace(
        prompt,
        input_ids=torch.cat([prompt.input_ids, answer]),
        mm_token_type_ids=torch.cat([prompt.mm_token_type_ids, torch.zeros_like(answer)]),
    )


def _present(clip: Clip, times: np.ndarray) -> Tensor:
    present = np.zeros((len(times), len(COLOURS) * len(SHAPES)), dtype=np.float32)
    for thing in clip.events:
        place = list(COLOURS).index(thing.colour) + len(COLOURS) * SHAPES.index(thing.shape)
        present[(times >= thing.span.start_s) & (times < thing.span.end_s), place] = 1
    return torch.tensor(present.reshape(len(times) // 2, -1))
