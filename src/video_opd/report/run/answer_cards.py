"""Sampled answers, made visible: where their spans lie in the video, and which tokens were praised or blamed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from video_opd.files.run_records import SampledAnswer
from video_opd.report.figures import draw_timeline

_MAX_TOKENS = 96
_MAX_TEXT = 400
_LEVELS = 4
"""Shades of praise and of blame."""

_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and marks that turn the direction of the text that follows them, ours included."""


class Token(NamedTuple):
    """One token of an answer; nats, None where they were not recorded."""

    text: str
    advantage: float | None
    sampler_logprob: float | None
    teacher_logprob: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A token as it is shown."""

    text: str
    style: str
    """CSS class: `plus-1` to `plus-4`, `minus-1` to `minus-4`, or `zero`."""
    advantage: str
    title: str
    breaks: bool
    """The token ends a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One answer to a query."""

    step: int
    track: Markup | None
    spans: str
    verdict: str
    chips: list[Chip]
    more: int
    """Tokens that are not shown."""
    answer: str
    """The text, where no tokens were recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A query with its annotation and the answers to it."""

    query: str
    id: str
    duration: float
    annotated: str
    annotated_track: Markup | None
    attempts: list[Attempt]


def build_cards(examples: Sequence[tuple[SampledAnswer, ...]]) -> list[Card]:
    """One card for each query, with colours on one scale over all of them."""
    scale = choose_scale(examples)
    return [_build_card(answers, scale) for answers in examples if answers]


def build_legend(examples: Sequence[tuple[SampledAnswer, ...]]) -> list[tuple[str, str]]:
    """(CSS class, label or "") from the deepest blame to the highest praise; empty if no advantage was recorded."""
    scale = choose_scale(examples)
    if not scale:
        return []
    minus = [(f"minus-{level}", f"−{scale:.2g}" if level == _LEVELS else "") for level in range(_LEVELS, 0, -1)]
    plus = [(f"plus-{level}", f"+{scale:.2g}" if level == _LEVELS else "") for level in range(1, _LEVELS + 1)]
    return [*minus, ("zero", "0"), *plus]


def choose_scale(examples: Iterable[tuple[SampledAnswer, ...]]) -> float:
    """The advantage that gets the strongest colour: all but the largest twentieth lie below it. 0 if there is none."""
    sizes = sorted(
        abs(token.advantage)
        for answers in examples
        for answer in answers
        for token in list_tokens(answer)
        if token.advantage is not None
    )
    return sizes[int(0.95 * (len(sizes) - 1))] if sizes else 0.0


def list_tokens(answer: SampledAnswer) -> list[Token]:
    """Tokens with their numbers. A list of another length than the tokens' belongs to something else: not shown."""
    columns = (answer.advantage, answer.sampler_logprobs, answer.teacher_logprobs)
    nothing = [None] * len(answer.tokens)
    known = (column if len(column) == len(nothing) else nothing for column in columns)
    return [Token(*token) for token in zip(answer.tokens, *known, strict=True)]


def make_visible(text: str, limit: int = _MAX_TEXT) -> str:
    """Text that cannot play tricks on the page: cut to a length, with control and direction marks spelled out."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return _INVISIBLE.sub(lambda match: f"[U+{ord(match[0]):04X}]", cut)


def _build_card(answers: tuple[SampledAnswer, ...], scale: float) -> Card:
    first = answers[0]
    return Card(
        query=make_visible(first.query),
        id=make_visible(first.id, 80),
        duration=first.duration,
        annotated=_format_spans(first.annotated),
        annotated_track=_draw_track(first, annotated=True),
        attempts=[_build_attempt(answer, scale) for answer in answers],
    )


def _build_attempt(answer: SampledAnswer, scale: float) -> Attempt:
    tokens = list_tokens(answer)
    verdict = [] if answer.iou is None else [f"IoU {answer.iou:.2f}"]
    if not answer.spans:
        verdict.append(f"no span: {make_visible(answer.reason, 120)}" if answer.reason else "no span")
    if answer.truncated:
        verdict.append("cut off by the length limit")
    if answer.suspended:
        verdict.append("suspended: the student was already right, so the teacher was not asked")
    return Attempt(
        step=answer.step,
        track=_draw_track(answer, annotated=False),
        spans=_format_spans(answer.spans),
        verdict=", ".join(verdict),
        chips=[_build_chip(token, scale) for token in tokens[:_MAX_TOKENS]],
        more=max(0, len(tokens) - _MAX_TOKENS),
        answer=make_visible(answer.answer),
    )


def _draw_track(answer: SampledAnswer, *, annotated: bool) -> Markup | None:
    if answer.duration <= 0:
        return None
    return draw_timeline(
        answer.annotated if annotated else answer.spans, answer.duration, "annotated" if annotated else "student"
    )


def _format_spans(spans: Iterable[tuple[float, float]]) -> str:
    return ", ".join(f"{start:.4g}–{end:.4g} s" for start, end in spans)


def _build_chip(token: Token, scale: float) -> Chip:
    advantage, title = token.advantage, []
    if advantage is not None:
        title.append(f"advantage {advantage:+.3f}")
    for who, logprob in (("student", token.sampler_logprob), ("teacher", token.teacher_logprob)):
        if logprob is not None:
            title.append(f"{who} log-prob {logprob:.3f}")
    return Chip(
        text=make_visible(token.text, 60).replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥") or "∅",
        style=_choose_shade(advantage, scale),
        advantage="" if advantage is None else _format_signed(advantage),
        title=", ".join(title),
        breaks="\n" in token.text,
    )


def _choose_shade(advantage: float | None, scale: float) -> str:
    if advantage is None or not scale:
        return "zero"
    level = min(_LEVELS, int(abs(advantage) / scale * _LEVELS + 0.5))
    return "zero" if level == 0 else f"{'plus' if advantage > 0 else 'minus'}-{level}"


def _format_signed(advantage: float) -> str:
    """Two digits, a true minus sign, and no sign on a zero."""
    text = f"{advantage:+.2f}" if abs(advantage) < 9.995 else f"{advantage:+.3g}"
    return "0" if float(text) == 0 else text.replace("-", "−")
