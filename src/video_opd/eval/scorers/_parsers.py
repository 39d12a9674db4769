"""How other projects read an answer: a score agrees with theirs only if the text is read by their rule, faults and all.

None of these is used for training, for reward or for our own scores: that is `grounding.parse_answer`, the one parser.
Where a preset names one of them, `evaluate` says how many answers it would read otherwise.
Each takes the text of an answer and gives the pairs (start, end) in seconds that the original would, in its order: none
where it reads none. Pairs are neither checked nor clipped. They are total, where some originals raise ("1..2 - 3"), and
linear in the text, where the originals' patterns are quadratic: runs of digits and blanks are taken possessively and a
number is only begun at its first digit, which changes no result.

Sources: TimeLens (`timelens/utils.py`, `training/utils/parser.py`), lmms-eval (`tasks/timelens/utils.py`,
`tasks/charades_sta/utils.py`), TimeLens2, Time-R1 of Xiaomi (`main.py`, `evaluate.py`), TimeZero (`evaluate.py`),
TimeChat (`utils/format_tvg.py`), MUSEG (`src/eval_grounding.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from video_opd.files.strict_json import load_json
from video_opd.grounding import ParsedAnswer

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
        return _pair_up(clocks)
    for pattern in (_DASH_PAIR, _TO_PAIR):
        if pairs := _pairs(pattern, text):
            return pairs
    return _pair_up([float(number) for number in _STANDALONE.findall(text)])


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
    """TimeLens2 (`grpo/timelens/rewards/metrics.py`): a JSON list of pairs, as the whole answer, in its first fenced
    block, or any `[[…]]` within it; the first that holds a pair is taken. Of an answer with tags only what is between
    them counts: those behind a `<thinking>` block, else the first.

    A pair may stand alone (`[3, 5]`), in more brackets (`[[[3, 5]]]`) or before other entries (`[3, 5, 0.9]`), items
    that are none are skipped, plain numbers may be strings, and the ends are put in order. An answer with a number
    that is not finite is not read; the original takes some.
    """
    for candidate in _json_candidates(_extract_tagged_answer(text)):
        if pairs := _json_pairs(candidate):
            return pairs
    return ()


_THINKING = re.compile(r"<(?:redacted_)?thinking>")
_ANSWER_BEHIND_THINKING = re.compile(r"</(?:redacted_)?thinking>\s*+<answer>")


def _extract_tagged_answer(text: str) -> str:
    """What the answer tags hold; all of the text where there are none."""
    if (
        (thinking := _THINKING.search(text))
        and (opening := _ANSWER_BEHIND_THINKING.search(text, thinking.end()))
        and (closing := text.find("</answer>", opening.end())) >= 0
    ):
        return text[opening.end() : closing]
    _, opened, behind = text.partition("<answer>")
    content, closed, _ = behind.partition("</answer>")
    return content if opened and closed else text


def _json_candidates(text: str) -> Iterator[str]:
    yield text
    _, _, behind = text.partition("```")
    fenced, closed, _ = behind.partition("```")
    if closed:
        yield fenced[4:] if fenced[:4].lower() == "json" else fenced
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
_JSON_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_DEEPEST = 8
"""Brackets around one pair of several."""


def _json_pairs(text: str) -> tuple[Pair, ...]:
    try:
        value = load_json(text)
    except (ValueError, RecursionError):
        return ()
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if not isinstance(value, list) or not value:
        return ()
    if isinstance(value[0], list):
        return tuple(pair for item in value if (pair := _json_pair(item)))
    # A pair alone. Behind a number only a number counts, and here true and false are numbers.
    if isinstance(value[0], (int, float)):
        value = [float(time) if isinstance(time, bool) else time for time in value[:2] if not isinstance(time, str)]
    pair = _json_pair(value)
    return (pair,) if pair else ()


def _json_pair(item: Any) -> Pair | None:
    """The first two of a list, where they are numbers, or of the list that is all it holds."""
    for _ in range(_DEEPEST):
        if not isinstance(item, list):
            return None
        if len(item) > 1:
            start, end = _json_number(item[0]), _json_number(item[1])
            return None if start is None or end is None else (min(start, end), max(start, end))
        item = item[0] if item else None
    return None


def _json_number(value: Any) -> float | None:
    """A finite number, or a string that is one as JSON writes it: neither ".5" nor "+5"."""
    if isinstance(value, str):
        value = value.strip()
        if not _JSON_NUMBER.fullmatch(value):
            return None
    elif type(value) not in (int, float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


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
                return _sort_pair(_seconds(match[1]), _seconds(match[2]))
    clocks = [_seconds(clock) for sentence in sentences for clock in _SHORT_CLOCK.findall(sentence)]
    if len(clocks) > 1:
        return _sort_pair(*clocks[:2])
    first_numbers = [float(match[0]) for sentence in sentences if (match := _NUMBER.search(sentence))]
    if len(first_numbers) > 1:
        return _sort_pair(*first_numbers[:2])
    for sentence in sentences:
        if match := _RANGE_WITH_UNIT.search(sentence):
            return _sort_pair(float(match[1]), float(match[2]))
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
        return _sort_pair(*pairs[0]) if pairs[0] and all(pairs) else ()
    sentences = [part for part in _SENTENCE_ENDS.split(text) if any(word in part for word in _KEYWORDS)]
    for pattern in (_NUMBER, _LONG_CLOCK):
        firsts = [_seconds(match[0]) for sentence in sentences if (match := pattern.search(sentence))]
        if len(firsts) > 1:
            return _sort_pair(*firsts[:2])
    return ()


_SPACED_TO_PAIR = re.compile(r"(?<!\d)(\d++\.*+\d*+)\s++(?<= )to \s*+(\d++\.*+\d*+)")


def et_bench(text: str) -> tuple[Pair, ...]:
    """E.T. Bench: all "a - b" anywhere, else all "a to b", else the first number of each sentence that speaks of start,
    end or happen, in twos; the ends of every pair are put in order."""
    text = text.lower()
    for pattern in (_DOTTED_PAIR, _SPACED_TO_PAIR):
        if matches := pattern.findall(text):
            # The original stops with an error where a number has several dots.
            pairs = [_floats(match) for match in matches]
            return tuple((min(pair), max(pair)) for pair in pairs) if all(pairs) else ()
    sentences = [part for part in _SENTENCE_ENDS.split(text) if any(word in part for word in _KEYWORDS)]
    firsts = [float(match[0]) for sentence in sentences if (match := _NUMBER.search(sentence))]
    return tuple((min(pair), max(pair)) for pair in _pair_up(firsts))


_DOTTED_NUMBER = re.compile(r"\d++\.*+\d*+")


def museg(text: str) -> tuple[Pair, ...]:
    """MUSEG: all numbers between the only `<answer>` and the only `</answer>`, in twos. Nothing if their count is odd
    or any start is not before its end."""
    opening, closing = text.find("<answer>"), text.find("</answer>")
    if text.count("<answer>") != 1 or text.count("</answer>") != 1 or closing < opening:
        return ()
    numbers = _floats(_DOTTED_NUMBER.findall(text[opening + len("<answer>") : closing]))
    if len(numbers) % 2 or any(start >= end for start, end in _pair_up(numbers)):
        return ()
    return _pair_up(numbers)


PARSERS: Mapping[str, Callable[[str], tuple[Pair, ...]]] = {
    parser.__name__: parser
    for parser in (timelens, timelens_training, time_r1, time_r1_reward, timelens2, lmms_eval_charades, timechat, museg)
}
"""By name, as presets of prompts give it."""


def read_otherwise(texts: Mapping[str, str], ours: Mapping[str, ParsedAnswer], parser: str) -> list[str]:
    """Ids of the answers in which another project finds a first span that is not ours, or one of us finds none.

    Args:
        texts: example id -> answer.
        ours: the same ids -> what our parser reads.
        parser: key of `PARSERS`.
    """
    theirs = PARSERS[parser]
    spans = {id_: [pair for pair in theirs(text)[:1] if pair[0] < pair[1]] for id_, text in texts.items()}
    return [id_ for id_, found in spans.items() if found != [tuple(span) for span in ours[id_].spans[:1]]]


def _pairs(pattern: re.Pattern[str], text: str) -> tuple[Pair, ...]:
    return tuple((float(start), float(end)) for start, end in pattern.findall(text))


def _pair_up(numbers: list[float]) -> tuple[Pair, ...]:
    return tuple(zip(numbers[::2], numbers[1::2], strict=False))


def _sort_pair(one: float, other: float) -> tuple[Pair, ...]:
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
