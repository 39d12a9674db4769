"""Sampled answers, made visible: where their spans lie in the video, and which tokens were praised or blamed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from video_opd.files.run_records import SampledAnswer
from video_opd.report.figures import draw_timeline
from video_opd.report.run.token_chips import Chip, Token, build_chips, choose_scale
from video_opd.report.visible_text import make_visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One answer to a query."""

    step: int
    track: Markup | None
    spans: str
    verdict: str
    chips: list[Chip]
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
    scale = choose_scale_of(examples)
    return [_build_card(answers, scale) for answers in examples if answers]


def choose_scale_of(examples: Iterable[tuple[SampledAnswer, ...]]) -> float:
    """The advantage that gets the strongest colour, one for all cards."""
    return choose_scale(list_tokens(answer) for answers in examples for answer in answers)


def list_tokens(answer: SampledAnswer) -> list[Token]:
    """Tokens with their numbers."""
    logprobs = {"log-prob of the sampler": answer.sampler_logprobs, "of the teacher": answer.teacher_logprobs}
    return Token.zip_columns(answer.tokens, answer.advantage, logprobs)


def _build_card(answers: tuple[SampledAnswer, ...], scale: float) -> Card:
    first = answers[0]
    return Card(
        query=make_visible(first.query),
        id=make_visible(first.id, 80),
        duration=first.duration,
        annotated=format_spans(first.annotated),
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
        spans=format_spans(answer.spans),
        verdict=", ".join(verdict),
        chips=build_chips(tokens, scale),
        answer=make_visible(answer.answer),
    )


def _draw_track(answer: SampledAnswer, *, annotated: bool) -> Markup | None:
    if answer.duration <= 0:
        return None
    return draw_timeline(
        answer.annotated if annotated else answer.spans, answer.duration, "annotated" if annotated else "student"
    )


def format_spans(spans: Iterable[tuple[float, float]]) -> str:
    """Spans as text: `2–4.5 s, 7–9 s`."""
    return ", ".join(f"{start:.4g}–{end:.4g} s" for start, end in spans)
