"""Whether `3,8` is one time, as most of Europe writes it, or two, as a list without blanks does.

A comma with a blank behind it always separates, and one in a clock that three digits follow never does
(`00:01:02,500`). For the others the whole text decides, once:

- in brackets of its own, `[3,8]` is two times;
- linked, labelled or with a unit beside another, it is one: `3,8 - 9,5`, `Start: 3,8`, `von 3,8 bis 9 Sekunden`;
- alone it stays a list, `3,8`, but is unclear with a unit, `3,8 seconds`;
- otherwise it is what makes a span of it, if just one of the two does. If both do, it is unclear: `3,8; 9,15`. So
  is `1,200 - 1,500 seconds`, where the comma may group thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import pairwise

from video_opd.grounding.parser_tokens import (
    BULLET,
    CLOSE,
    COLON,
    COMMA,
    DASH,
    DECORATION,
    OPEN,
    QUOTE,
    SEPARATOR,
    TIME,
    ParserToken,
    read_time,
)
from video_opd.grounding.parser_words import AND, BETWEEN, CUE, END, FILLER, LINK, NEUTRAL, START, UNIT, UNKNOWN


class _Comma(Enum):
    DECIMAL = "decimal"
    SEPARATES = "separates"
    UNCLEAR = "unclear"


def resolve_commas(tokens: list[ParserToken], *, decimal_language: bool) -> tuple[list[ParserToken], bool]:
    """Turn the tokens of role `COMMA` into times, or into words of no meaning where it is not clear which times.

    Returns:
        The tokens, and whether it was clear.
    """
    numbers = [index for index, token in enumerate(tokens) if token.role in (TIME, COMMA)]
    if not any(tokens[index].role == COMMA for index in numbers):
        return tokens, True
    meaning = _find_meaning(tokens, numbers, decimal_language)
    resolved: list[ParserToken] = []
    for token in tokens:
        resolved += [token] if token.role != COMMA else _read(token, meaning)
    return resolved, meaning != _Comma.UNCLEAR


def _read(token: ParserToken, meaning: _Comma) -> list[ParserToken]:
    whole, _, fraction = token.text.partition(",")
    unit = token.unit or None
    comma = token.start + len(whole)
    if meaning == _Comma.UNCLEAR:
        read = [ParserToken(UNKNOWN, token.text, token.start, token.end)]
    elif meaning == _Comma.DECIMAL:
        read = [read_time(f"{whole}.{fraction}", unit, token.start, token.end)]
    else:
        first, second = read_time(whole, None, token.start, comma), read_time(fraction, unit, comma + 1, token.end)
        read = [first, ParserToken(SEPARATOR, ",", comma, comma + 1), second]
    read[0].on_new_line = token.on_new_line
    return read


def _find_meaning(tokens: Sequence[ParserToken], numbers: Sequence[int], decimal_language: bool) -> _Comma:
    commas = [index for index in numbers if tokens[index].role == COMMA]
    linked = any(
        COMMA in (tokens[left].role, tokens[right].role) and _is_linked(tokens, left, right)
        for left, right in pairwise(numbers)
    )
    boxed = any(_is_boxed(tokens, index) for index in commas)
    if boxed:
        return _Comma.SEPARATES if not linked else _Comma.DECIMAL if decimal_language else _Comma.UNCLEAR
    with_units = len(commas) > 1 and all(tokens[index].unit for index in commas)
    if decimal_language or linked or with_units or any(_is_labelled(tokens, index) for index in commas):
        grouped = not decimal_language and all(_may_group_thousands(tokens[index].text) for index in commas)
        return _Comma.UNCLEAR if grouped else _Comma.DECIMAL
    if len(commas) == 1:
        return _Comma.UNCLEAR if tokens[commas[0]].unit else _Comma.SEPARATES
    return _find_meaning_that_makes_spans(tokens, commas)


def _is_linked(tokens: Sequence[ParserToken], left: int, right: int) -> bool:
    roles = {token.role for token in tokens[left + 1 : right]}
    between = left > 0 and any(token.role == BETWEEN for token in tokens[max(left - 3, 0) : left])
    return not roles & {UNKNOWN, BULLET} and bool(roles & {LINK, DASH, END} or (between and AND in roles))


def _is_boxed(tokens: Sequence[ParserToken], index: int) -> bool:
    """Brackets right around it; `<3,8>` is how a prompt's placeholder is filled in and says nothing."""
    before, behind = tokens[index - 1 : index], tokens[index + 1 : index + 2]
    opens = bool(before) and before[0].role == OPEN and before[0].text != "<"
    return opens and bool(behind) and behind[0].role == CLOSE


def _is_labelled(tokens: Sequence[ParserToken], index: int) -> bool:
    skipped = (QUOTE, DECORATION, COLON, CUE, FILLER, NEUTRAL, UNIT, CLOSE)
    before = index - 1
    while before >= 0 and tokens[before].role in skipped:
        before -= 1
    return before >= 0 and tokens[before].role in (START, END)


def _may_group_thousands(text: str) -> bool:
    whole, _, fraction = text.partition(",")
    return len(fraction) == 3 and whole.isdigit() and len(whole) <= 3 and not whole.startswith("0")


def _find_meaning_that_makes_spans(tokens: Sequence[ParserToken], commas: Sequence[int]) -> _Comma:
    """Merely listed: `3,8; 9,5` is no list of two spans, as 9 - 5 is none."""
    halves = [_read(tokens[index], _Comma.SEPARATES) for index in commas]
    separated = all(first.seconds <= second.seconds for first, _, second in halves)
    if separated and all(tokens[index].on_new_line or index == 0 for index in commas):
        return _Comma.SEPARATES  # a table of starts and ends
    times = [_read(tokens[index], _Comma.DECIMAL)[0].seconds for index in commas]
    decimal = len(times) % 2 == 0 and all(a <= b for a, b in zip(times[::2], times[1::2], strict=True))
    if separated == decimal:
        return _Comma.UNCLEAR
    return _Comma.SEPARATES if separated else _Comma.DECIMAL
