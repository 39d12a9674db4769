"""The one parser: the text of an answer becomes spans in seconds, or a reason why not.

Reward, curriculum and evaluation call `parse_answer`, so what is trained is what is measured. It reads in three steps:

1. `_final_answer` keeps what counts: the text after the thinking, and of that the last `<answer>` block.
2. `tokenize` reads times (numbers, clocks, minutes; each with its unit), words of known meaning, and punctuation.
3. Neighbouring times are paired by what stands around them: labels and brackets first (`start: 4, end: 9`, `[4, 9]`),
   then links (`4 - 9`, `4 to 9`), then bare lists (`4, 9`). Of all pairs the best-attested win, so that a count, a list
   number or a quoted query ("step 2 - 3") does not pass for the answer. Equally attested pairs are all kept, in order.

A pair is taken at its word. `18.0 - 12.0` is not swapped: a model that mistakes the end for the start has not found the
event, and TimeLens and Time-R1 score it 0. Nor are times clipped to the video, whose length is not known here. Among
valid pairs an invalid one is dropped; `reason` speaks only when nothing is left. A comma separates numbers and never
groups thousands: `[100,200]` is a span.

Every regular expression consumes runs possessively and every step is one pass, so time is linear in the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from video_opd.grounding.answer_pairs import Gap, Pair, all_pairs, best_pairs, gaps_between
from video_opd.grounding.answer_tokens import END, FOREIGN, FRACTION_WORDS, START, TIME, Token, tokenize
from video_opd.vocabulary import Span

PARSER_VERSION = 1
"""Goes up whenever any text is read differently; written beside every score."""


class Reason(StrEnum):
    """Why no span was read. A closed set, fit for counting."""

    EMPTY = "empty answer"
    NO_NUMBERS = "no numbers"
    ABSENT = "says it does not happen"
    ONE_TIME = "only one time"
    NO_PAIR = "no start and end"
    NOT_SECONDS = "not in seconds"
    NEGATIVE = "negative time"
    REVERSED = "end before start"
    NOT_FINITE = "time out of range"


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """Spans, or the reason why there are none; never both, never neither."""

    spans: tuple[Span, ...] = ()
    """In the order they were written; finite seconds, `end_s >= start_s >= 0`. The metrics judge the first."""
    reason: Reason | None = None
    """None exactly when `spans` is not empty."""

    def __post_init__(self) -> None:
        if bool(self.spans) == (self.reason is not None):
            raise ValueError(f"a parsed answer has spans or a reason, got {self.spans} and {self.reason}")


def parse_answer(text: str) -> ParsedAnswer:
    """Read the spans of time that an answer names.

    Args:
        text: an answer as the model wrote it, with or without special tokens.

    Returns:
        The spans in seconds, or a `Reason`. Total: no text raises.
    """
    text = _final_answer(text)
    tokens = tokenize(text)
    times = [token for token in tokens if token.role == TIME]
    gaps = gaps_between(tokens)
    pairs = best_pairs(all_pairs(times, gaps), times, gaps)
    if not pairs:
        return ParsedAnswer(reason=_reason_without_pairs(text, tokens, times))
    fractions = any(token.text in FRACTION_WORDS and not token.quoted for token in tokens)
    read = [_span(pair, times, gaps, fractions) for pair in pairs]
    spans = tuple(span for span in read if isinstance(span, Span))
    reasons = [reason for reason in read if isinstance(reason, Reason)]
    return ParsedAnswer(spans) if spans else ParsedAnswer(reason=reasons[0])


_LOOKALIKES = {
    ord(lookalike): plain
    for plain, lookalikes in {
        "-": "‐‑‒–—―−－",
        "~": "～〜→⇒…",
        '"': "“”„",
        "'": "‘’",
        ",": "，、",
        ":": "：",
        "%": "％",
    }.items()
    for lookalike in lookalikes
}
_SPECIAL_TOKEN = re.compile(r"<\|[^<>|\n]{1,40}+\|>")


def _final_answer(text: str) -> str:
    """Lower-cased text after the thinking, inside the last answer block if there is one."""
    text = _SPECIAL_TOKEN.sub(" ", text.lower().translate(_LOOKALIKES))
    text = text.rpartition("</think>")[2]
    _, tag, block = text.rpartition("<answer>")
    # Thinking that was opened and never closed was cut off by the length limit: nothing after it is an answer.
    return block.partition("</answer>")[0] if tag else text.partition("<think>")[0]


def _span(pair: Pair, times: Sequence[Token], gaps: Sequence[Gap], fractions: bool) -> Span | Reason:
    """The pair in seconds. A bare number takes the unit of its partner: `1 - 2 minutes`, `25 - 75%`."""
    i = pair.first
    second_scale = gaps[i + 2].unit if times[i + 1].scale is None else times[i + 1].scale
    first_scale = second_scale if times[i].scale is None else times[i].scale
    bare = first_scale is None and second_scale is None
    if FOREIGN in (first_scale, second_scale) or gaps[i].foreign or (bare and fractions):
        return Reason.NOT_SECONDS
    start_s, end_s = _seconds(times[i], first_scale), _seconds(times[i + 1], second_scale)
    if gaps[i].label == END and gaps[i + 1].label == START:
        start_s, end_s = end_s, start_s
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        return Reason.NOT_FINITE
    if start_s < 0 or end_s < 0:
        return Reason.NEGATIVE
    return Span(start_s, end_s) if end_s >= start_s else Reason.REVERSED


def _seconds(time: Token, shared_scale: float | None) -> float:
    factor = (shared_scale or 1.0) if time.scale is None else 1.0  # with a unit of its own it is in seconds already
    return time.seconds * factor + 0.0  # + 0.0: no minus zero


_NEGATION = re.compile(r"\b(?:not|never|none|no|null|cannot)\b|n't\b")


def _reason_without_pairs(text: str, tokens: Sequence[Token], times: Sequence[Token]) -> Reason:
    if not any(character.isalnum() for token in tokens for character in token.text):
        return Reason.EMPTY
    if len(times) < 2 and _NEGATION.search(text):
        return Reason.ABSENT
    if times and all(time.scale == FOREIGN for time in times):
        return Reason.NOT_SECONDS
    return (Reason.NO_NUMBERS, Reason.ONE_TIME, Reason.NO_PAIR)[min(len(times), 2)]
