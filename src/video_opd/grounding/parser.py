"""The parser: turns the text of an answer into spans in seconds, or into a reason why there is none.

Reward, curriculum and evaluation all call `parse_answer`, so training and measurement agree. It reads in three steps:

1. `_find_final_answer` keeps what counts: the text after the thinking, and of that the last `<answer>` block.
2. `_read_tokens` reads times (numbers, clocks, minutes; each with its unit), words of known meaning in several
   languages, and punctuation; it tells `3,8` for 3.8 from a list, and drops numbers that are named as something else
   (`"score": 0.9`).
3. Times are paired by what stands around them: labels and brackets first (`start: 4, end: 9`, `[4, 9]`, and of
   `[4, 9, 0.93]` the columns that are no score), then links (`4 - 9`, `4 to 9`), then bare lists (`4, 9`). Of all pairs
   the best-attested win, so that a count, a list number or a quoted query ("step 2 - 3") does not pass for the answer.
   Equally attested pairs are all kept, in order. Where two pairings have the same claim, none is read: a wrong span is
   worse than an unread answer.

A pair is taken at its word. `18.0 - 12.0` is not swapped: a model that mistakes the end for the start has not found the
event, and TimeLens and Time-R1 score it 0. Nor are times clipped to the video, whose length is not known here. Among
valid pairs an invalid one is dropped; there is a `reason` only when nothing is left. A comma never groups thousands:
`[100,200]` is a span.

Every regular expression consumes runs possessively and every step is one pass, so time is linear in the text. A text
that differs from an earlier one only in the digits of two times is not read again (`parser_forms`).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from video_opd.errors import DataError
from video_opd.grounding.parser_commas import resolve_commas
from video_opd.grounding.parser_forms import KnownForms, find_form
from video_opd.grounding.parser_gaps import Gap, drop_asides, find_gaps
from video_opd.grounding.parser_pairs import Pairing, TimePair
from video_opd.grounding.parser_tokens import FRACTION_WORDS, TIME, ParserToken, finish_tokens, tokenize
from video_opd.grounding.parser_words import FOREIGN
from video_opd.types import Span

PARSER_VERSION = 2
"""Increased whenever a text is read differently; written beside every score."""


class Reason(StrEnum):
    """Why no span was read. A fixed set, so that reasons can be counted."""

    EMPTY = "empty answer"
    NO_NUMBERS = "no numbers"
    ABSENT = "says it does not happen"
    ONE_TIME = "only one time"
    NO_PAIR = "no start and end"
    UNCLEAR = "more than one way to read it"
    NOT_SECONDS = "not in seconds"
    NEGATIVE = "negative time"
    REVERSED = "end before start"
    NOT_FINITE = "time out of range"


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """Spans, or the reason why there are none; always exactly one of the two."""

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
        The spans in seconds, in the order in which they are written; or, where there is none, the `Reason`. Every text
        is accepted.

    Raises:
        DataError: it is not a text.

    Example:
        >>> parse_answer("The event happens in 2.0 - 4.5 seconds.").spans
        (Span(start_s=2.0, end_s=4.5),)
        >>> parse_answer("<think>0 to 3?</think> From 1:05 to 1:12, and again from 80 s to 90 s.").spans
        (Span(start_s=65.0, end_s=72.0), Span(start_s=80.0, end_s=90.0))
        >>> parse_answer("It does not happen.").reason
        <Reason.ABSENT: 'says it does not happen'>
    """
    if not isinstance(text, str):
        raise DataError(
            f"answer {text!r:.60}",
            reason=f"this is {type(text).__name__}, not a text",
            remedy="give the answer as a str",
        )
    form = find_form(text)
    if form is not None and _KNOWN_FORMS.is_plain(form):
        return ParsedAnswer((form.span,))
    answer = _read_in_full(text)
    if form is not None:
        _KNOWN_FORMS.note(form, answer.spans)
    return answer


_KNOWN_FORMS = KnownForms()


def _read_in_full(text: str) -> ParsedAnswer:
    text = _find_final_answer(text)
    all_tokens, clear = _read_tokens(text)
    tokens = drop_asides(all_tokens)
    times = [token for token in tokens if token.role == TIME]
    gaps = find_gaps(tokens)
    pairing = Pairing(times, gaps).run()
    if not pairing.pairs:
        unclear = pairing.unclear or not clear
        return ParsedAnswer(reason=Reason.UNCLEAR if unclear else _explain_no_pairs(text, all_tokens))
    fractions = any(token.text in FRACTION_WORDS and not token.quoted for token in tokens)
    read = [_make_span(pair, times, gaps, fractions) for pair in pairing.pairs]
    spans = tuple(span for span in read if isinstance(span, Span))
    reasons = [reason for reason in read if isinstance(reason, Reason)]
    return ParsedAnswer(spans) if spans else ParsedAnswer(reason=reasons[0])


def _read_tokens(text: str) -> tuple[list[ParserToken], bool]:
    """The tokens, and whether the meaning of the commas was clear."""
    tokens, decimal_language = tokenize(text)
    tokens, clear = resolve_commas(tokens, decimal_language=decimal_language)
    return finish_tokens(tokens, text), clear


_LOOKALIKES = {
    ord(lookalike): plain
    for plain, lookalikes in {
        "-": "‐‑‒–—―−",
        "~": "〜→⇒⟶➔➜…",
        "≈": "≃≅",
        '"': "“”„″",
        "'": "‘’′",
        ",": "、،",
        ".": "٫",
        "%": "٪",
        "[": "【「〔",
        "]": "】」〕",
        " ": "\u00a0\u2009\u202f\u3000",
        "": "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff",  # without width
    }.items()
    for lookalike in lookalikes
} | {wide: chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)}
_FOREIGN_DIGIT = re.compile(r"[^\W\D0-9]")
_CLOSING_TAG = re.compile(r"</[^<>\s]{1,40}+>")
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\{([^{}\n]{0,40}+)\}")
_DENIED = re.compile(
    r"(?:\bnot|\bnever|n't) (?:happens?|occurs?|appears?|takes? place)\b"
    r"(?:(?! (?:but|until|before|only|instead|rather)\b)(?:[^.,;!?\n]|[.,](?=[0-9])))*+"
)
"""A clause that says when the event does not happen."""
_SPECIAL_TOKEN = re.compile(r"<\|[^<>|\n]{1,40}+\|>")


def _find_final_answer(text: str) -> str:
    """Lower-cased text after the thinking, inside the last answer block if there is one; all digits as 0-9, and without
    the clauses that deny: "does not happen from 4 to 9"."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_LOOKALIKES)
        text = _FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)
    text = _SPECIAL_TOKEN.sub(" ", _CAMEL_CASE.sub("_", text).lower())
    text = text.rpartition("</think>")[2]
    _, tag, block = text.rpartition("<answer>")
    # Thinking that was opened and never closed was cut off by the length limit: nothing after it is an answer.
    text = block.partition("</answer>")[0] if tag else text.partition("<think>")[0]
    text = _DENIED.sub(" not ", _LATEX_TEXT.sub(r" \1 ", text))
    return _CLOSING_TAG.sub(" ", text)


def _make_span(pair: TimePair, times: Sequence[ParserToken], gaps: Sequence[Gap], fractions: bool) -> Span | Reason:
    """The pair in seconds. A bare number takes the unit of its partner: `1 - 2 minutes`, `25 - 75%`."""
    first, second = times[pair.first], times[pair.second]
    second_scale = gaps[pair.second + 1].unit if second.scale is None else second.scale
    first_scale = second_scale if first.scale is None else first.scale
    if second_scale is None and first.gives_unit:
        second_scale = first.scale
    bare = first_scale is None and second_scale is None
    if FOREIGN in (first_scale, second_scale) or (bare and fractions):
        return Reason.NOT_SECONDS
    start_s, end_s = _convert_to_seconds(first, first_scale), _convert_to_seconds(second, second_scale)
    if pair.end_first:
        start_s, end_s = end_s, start_s
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        return Reason.NOT_FINITE
    if start_s < 0 or end_s < 0:
        return Reason.NEGATIVE
    return Span(start_s, end_s) if end_s >= start_s else Reason.REVERSED


def _convert_to_seconds(time: ParserToken, shared_scale: float | None) -> float:
    factor = (shared_scale or 1.0) if time.scale is None else 1.0  # with a unit of its own it is in seconds already
    return time.seconds * factor + 0.0  # + 0.0: no minus zero


_NEGATION = re.compile(r"\b(?:not|never|none|no|null|cannot)\b|n't\b")


def _explain_no_pairs(text: str, tokens: Sequence[ParserToken]) -> Reason:
    times = [token for token in tokens if token.role == TIME]
    if not any(character.isalnum() for token in tokens for character in token.text):
        return Reason.EMPTY
    if len(times) < 2 and _NEGATION.search(text):
        return Reason.ABSENT
    if times and all(time.scale == FOREIGN for time in times):
        return Reason.NOT_SECONDS
    return (Reason.NO_NUMBERS, Reason.ONE_TIME, Reason.NO_PAIR)[min(len(times), 2)]
