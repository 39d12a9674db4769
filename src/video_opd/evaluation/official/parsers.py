"""How other projects read an answer: a score agrees with theirs only if the text is read by their rule, faults and all.

None of these is used for training, for reward or for our own scores: that is `grounding.parse_answer`, the one parser.
Each takes the text of an answer and gives the pairs (start, end) in seconds that the original would, in its order: none
where it reads none. Pairs are neither checked nor clipped. They are total, where some originals raise ("1..2 - 3"), and
linear in the text, where the originals' patterns are quadratic: runs of digits and blanks are taken possessively and a
number is only begun at its first digit, which changes no result.

Sources: TimeLens (`timelens/utils.py`, `training/utils/parser.py`), lmms-eval (`tasks/timelens/utils.py`,
`tasks/charades_sta/utils.py`), TimeLens2, Time-R1 of Xiaomi (`main.py`, `evaluate.py`), TimeZero (`evaluate.py`),
TimeChat (`utils/format_tvg.py`), MUSEG (`src/eval_grounding.py`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

Pair = tuple[float, float]
"""Start and end in seconds, as they were read: the end may come first."""

OFFICIAL_PARSERS_VERSION = 1
"""Goes up whenever one of these reads any text differently; written beside every score."""

_CLOCK = re.compile(r"\b(?:\d{1,2}:\d{2}:\d{2}(?:\.\d++)?|\d{1,2}:\d{2}(?:\.\d++)?)\b")
_DASH_PAIR = re.compile(r"(?<!\d)(\d++\.?+\d*+)\s*+-\s*+(\d++\.?+\d*+)")
_TO_PAIR = re.compile(r"(?<!\d)(\d++\.?+\d*+)\s++to\s++(\d++\.?+\d*+)")
_STANDALONE = re.compile(r"\b\d++(?:\.\d*+\b|\.\b|\b)")


def timelens(text: str) -> tuple[Pair, ...]:
    """TimeLens's evaluation, and lmms-eval's `timelens` tasks: clock times, else "a - b", else "a to b", else all
    standalone numbers in twos. "12.5s - 18.3s" is (12, 18): the dash pattern fails on the "s", and of "12.5s" only
    "12." stands alone."""
    text = text.lower()
    clocks = [_seconds(clock) for clock in _CLOCK.findall(text)]
    if len(clocks) > 1:
        return _in_twos(clocks)
    for pattern in (_DASH_PAIR, _TO_PAIR):
        if pairs := _pairs(pattern, text):
            return pairs
    return _in_twos([float(number) for number in _STANDALONE.findall(text)])


def timelens_training(text: str) -> tuple[Pair, ...]:
    """TimeLens's reward: as its evaluation, but every "to" becomes a dash, even within a word, and behind a think block
    at the very start only the answer block counts."""
    if text.startswith("<think>") and (opening := _ANSWER_AFTER_THINKING.search(text)):
        closing = text.find("</answer>", opening.end())
        if closing >= 0:
            text = text[opening.end() : closing]
    return timelens(text.lower().replace("to", "-"))


_ANSWER_AFTER_THINKING = re.compile(r"</think>\s*+<answer>")

_WORDED_PAIR = re.compile(r"(?<!\d)(\d++\.?+\d*+) (?:to|and) (\d++\.?+\d*+)")
_WORDED_PAIR_ANY_CASE = re.compile(_WORDED_PAIR.pattern, re.IGNORECASE)


def time_r1(text: str) -> tuple[Pair, ...]:
    """Time-R1's and TimeZero's evaluations: the last "a to b" or "a and b" of the whole text, thinking included."""
    return _pairs(_WORDED_PAIR, text)[-1:]


def time_r1_reward(text: str) -> tuple[Pair, ...]:
    """Time-R1's reward: the last "a to b" or "a and b" of the last answer block; without a block nothing."""
    return _pairs(_WORDED_PAIR_ANY_CASE, _last_block(text))[-1:]


def _last_block(text: str) -> str:
    block, at = "", 0
    while (opening := text.find("<answer>", at)) >= 0:
        start = opening + len("<answer>")
        closing = text.find("</answer>", start)
        if closing < 0:
            break
        block, at = text[start:closing], closing
    return block


def timelens2(text: str) -> tuple[Pair, ...]:
    """TimeLens2: a JSON list of pairs, in a fenced block, as the whole text or anywhere in it; numbers may be strings,
    the ends of a pair are put in order. Anything else is not read."""
    for candidate in _json_candidates(text):
        if pairs := _json_pairs(candidate):
            return pairs
    return ()


def _json_candidates(text: str) -> Iterator[str]:
    yield from (fenced.removeprefix("json") for fenced in text.split("```")[1::2])
    yield text
    at = 0
    while (start := text.find("[[", at)) >= 0:
        depth = 0
        for bracket in _BRACKET.finditer(text, start):
            depth += 1 if bracket.group() == "[" else -1
            if depth == 0:
                at = bracket.end()
                yield text[start:at]
                break
        else:
            return  # the brackets never balance, so no later ones do


_BRACKET = re.compile(r"[\[\]]")


def _json_pairs(text: str) -> tuple[Pair, ...]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(value, list):
        return ()
    pairs = [_json_pair(item) for item in value]
    return tuple(pair for pair in pairs if pair) if all(pairs) else ()


def _json_pair(item: Any) -> Pair | None:
    if not isinstance(item, list) or len(item) != 2 or any(type(time) not in (int, float, str) for time in item):
        return None
    try:
        start, end = sorted(float(time) for time in item)
    except (ValueError, OverflowError):
        return None
    return (start, end) if math.isfinite(start) and math.isfinite(end) else None


_KEYWORDS = ("start", "end", "happen")
_SENTENCE_ENDS = re.compile(r"[!?\n]")
_EXAMPLE_OF_THE_PROMPT = "a specific example is : 20.8 - 30.0 seconds"
_SHORT_CLOCK = re.compile(r"\b\d{1,2}:\d{2}(?::\d{2})?\b")
_CLOCK_RANGE = re.compile(r"\b(\d{1,2}:\d{2}(?::\d{2})?)\s*+[–-]\s*+(\d{1,2}:\d{2}(?::\d{2})?)\b")
_RANGE = re.compile(r"(?<!\d)(\d++(?:\.\d++)?+)\s*+[–-]\s*+(\d++(?:\.\d++)?+)")
_RANGE_WITH_UNIT = re.compile(r"(?<!\d)(\d++(?:\.\d++)?+)\s*+s?+\s*+[–-]\s*+(\d++(?:\.\d++)?+)")
_NUMBER = re.compile(r"\b\d++(?:\.\d++)?\b")


def lmms_eval_charades(text: str) -> tuple[Pair, ...]:
    """lmms-eval's `temporal_grounding_charades`: only sentences that speak of start, end or happen, if any do; every
    "to" is a dash; the first pair, with its ends in order."""
    text = text.lower().replace(_EXAMPLE_OF_THE_PROMPT, "").replace("to", "-")
    sentences = _SENTENCE_ENDS.split(text)
    sentences = [sentence for sentence in sentences if any(word in sentence for word in _KEYWORDS)] or sentences
    for pattern in (_CLOCK_RANGE, _RANGE):
        for sentence in sentences:
            if match := pattern.search(sentence):
                return _in_order(_seconds(match[1]), _seconds(match[2]))
    clocks = [_seconds(clock) for sentence in sentences for clock in _SHORT_CLOCK.findall(sentence)]
    if len(clocks) > 1:
        return _in_order(*clocks[:2])
    first_numbers = [float(match[0]) for sentence in sentences if (match := _NUMBER.search(sentence))]
    if len(first_numbers) > 1:
        return _in_order(*first_numbers[:2])
    for sentence in sentences:
        if match := _RANGE_WITH_UNIT.search(sentence):
            return _in_order(float(match[1]), float(match[2]))
    return ()


_DOTTED_PAIR = re.compile(r"(?<!\d)(\d++\.*+\d*+)\s*+-\s*+(\d++\.*+\d*+)")
_LONG_CLOCK = re.compile(r"\b\d{1,2}:\d{2}:\d{2}\b")


def timechat(text: str) -> tuple[Pair, ...]:
    """TimeChat: the first "a - b" anywhere, else the first number of each of two sentences that speak of start, end or
    happen, else their first clock times; the ends of the pair are put in order."""
    text = text.lower()
    if matches := _DOTTED_PAIR.findall(text):
        # The original turns every pair into numbers and stops with an error if one of them has several dots.
        pairs = [_floats(match) for match in matches]
        return _in_order(*pairs[0]) if pairs[0] and all(pairs) else ()
    sentences = [part for part in _SENTENCE_ENDS.split(text) if any(word in part for word in _KEYWORDS)]
    for pattern in (_NUMBER, _LONG_CLOCK):
        firsts = [_seconds(match[0]) for sentence in sentences if (match := pattern.search(sentence))]
        if len(firsts) > 1:
            return _in_order(*firsts[:2])
    return ()


_DOTTED_NUMBER = re.compile(r"\d++\.*+\d*+")


def museg(text: str) -> tuple[Pair, ...]:
    """MUSEG: all numbers between the only `<answer>` and the only `</answer>`, in twos. Nothing if their count is odd
    or any start is not before its end."""
    opening, closing = text.find("<answer>"), text.find("</answer>")
    if text.count("<answer>") != 1 or text.count("</answer>") != 1 or closing < opening:
        return ()
    numbers = _floats(_DOTTED_NUMBER.findall(text[opening + len("<answer>") : closing]))
    if len(numbers) % 2 or any(start >= end for start, end in _in_twos(numbers)):
        return ()
    return _in_twos(numbers)


def _pairs(pattern: re.Pattern[str], text: str) -> tuple[Pair, ...]:
    return tuple((float(start), float(end)) for start, end in pattern.findall(text))


def _in_twos(numbers: list[float]) -> tuple[Pair, ...]:
    return tuple(zip(numbers[::2], numbers[1::2], strict=False))


def _in_order(one: float, other: float) -> tuple[Pair, ...]:
    return ((min(one, other), max(one, other)),)


def _seconds(clock: str) -> float:
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return total


def _floats(texts: Iterable[str]) -> list[float]:
    """None of them unless all are numbers."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        return []
