"""The one parser: the text of an answer becomes spans in seconds, or a reason why not.

Reward, curriculum and evaluation call `parse_answer`, so what is trained is what is measured. It reads in three steps:

1. `_final_answer` keeps what counts: the text after the thinking, and of that the last `<answer>` block.
2. `_tokenize` reads times (numbers, clocks, minutes; each with its unit), words of known meaning, and punctuation.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from itertools import pairwise

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
    tokens = _tokenize(text)
    times = [token for token in tokens if token.role == _TIME]
    gaps = _gaps(tokens)
    pairs = _best(_all_pairs(times, gaps), times, gaps)
    if not pairs:
        return ParsedAnswer(reason=_reason_without_pairs(text, tokens, times))
    fractions = any(token.text in _FRACTION_WORDS and not token.quoted for token in tokens)
    read = [_span(pair, times, gaps, fractions) for pair in pairs]
    spans = tuple(span for span in read if isinstance(span, Span))
    reasons = [reason for reason in read if isinstance(reason, Reason)]
    return ParsedAnswer(spans) if spans else ParsedAnswer(reason=reasons[0])


# --- What counts as the answer ---------------------------------------------------------------------------------------

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


# --- Tokens ----------------------------------------------------------------------------------------------------------

_TIME, _UNKNOWN, _BULLET, _LINK, _DASH, _SEPARATOR, _COLON = "time", "unknown", "bullet", "link", "dash", "sep", "colon"
_OPEN, _CLOSE, _QUOTE, _DECORATION, _OTHER = "open", "close", "quote", "decoration", "other"
_START, _END, _CUE, _BETWEEN, _AND, _FILLER, _UNIT = "start", "end", "cue", "between", "and", "filler", "unit"

_FOREIGN = 0.0
"""The scale of units that are no time: a share of the video, a frame number."""
_UNIT_SCALES: dict[str, float] = {
    unit: scale
    for scale, units in {
        1.0: "s sec secs second seconds 秒 秒钟",
        60.0: "m min mins minute minutes 分 分钟",
        3600.0: "h hr hrs hour hours 小时",
        0.001: "ms msec msecs millisecond milliseconds",
        _FOREIGN: "% percent frame frames",
    }.items()
    for unit in units.split()
}
_FRACTION_WORDS = {"fraction", "fractions", "percentage", "percentages", "normalized", "normalised", "proportion"}
_WORD_ROLES: dict[str, str] = {
    word: role
    for role, words in {
        _UNIT: " ".join(_UNIT_SCALES),
        _LINK: "to through thru 到 至",
        _START: "from since start starts started starting starttime begin begins began beginning 从",
        _END: "until till end ends ended ending endtime finish finishes finished stop stops stopped",
        _CUE: "in at during is within happens happen occurs answer span",
        _BETWEEN: "between",
        _AND: "and or then again also 和",
        _FILLER: "the a about around approximately approx roughly mark time timestamp it on next up all way continues",
    }.items()
    for word in words.split()
}

_TOKEN = re.compile(
    rf"""
    (?P<bullet>     ^[ \t]*+[-*•](?=[ \t]) )
  | (?P<time>
        (?: (?P<clock>  [0-9]++(?::[0-9]++)++(?:\.[0-9]++)?+ )
          | (?P<number> (?:[0-9]++(?:\.(?!\.)[0-9]*+)?+ | (?<![0-9.])\.[0-9]++)(?:e[-+]?[0-9]++)?+ ) )
        (?: [ \t]?-?(?P<unit>{"|".join(sorted(_UNIT_SCALES, key=len, reverse=True))})(?![a-z_]) )?+
        (?: (?<!\.)(?P<tail>(?!to[0-9])[a-z_][a-z0-9_]*+) )?+ )    # 2nd, 720p, 3x: not a time. But 5to9 is two.
  | (?P<word>       to(?=[0-9]) | [a-z_][a-z0-9_]*+(?:\.[0-9]++)*+ | [到至从和秒分] )
  | (?P<link>       -++> | => | ~++ | \.\.++ )
  | (?P<dash>       -++ )
  | (?P<sep>        [,;&] )
  | (?P<colon>      [:=] )
  | (?P<open>       [\[({{<] )
  | (?P<close>      [\])}}>] )
  | (?P<quote>      ["'] )
  | (?P<decoration> [*`$#|\\/] )
  | (?P<other>      \S )
    """,
    re.VERBOSE | re.MULTILINE,
)


@dataclass(slots=True)
class _Token:
    role: str
    text: str
    start: int
    end: int
    seconds: float = 0.0
    scale: float | None = None
    """Of a time: seconds per unit; None for a bare number."""
    quoted: bool = False
    """Inside a quotation of words of no known meaning: most likely the query, said again."""


def _tokenize(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    for match in _TOKEN.finditer(text):
        token = _Token(match.lastgroup or _OTHER, match[0], match.start(), match.end())
        if token.role == _TIME:
            _read_time(token, match)
        elif token.role == "word" or token.text in _UNIT_SCALES:
            token.role = _role(token.text)
        tokens.append(token)
    tokens = _attach_signs(_add_seconds_to_minutes(tokens))
    _mark_quotations(tokens, text)
    return tokens


def _role(word: str) -> str:
    """A word's part in naming a span. `start_time` and `t_end` take the part of the piece that has one."""
    roles = [_WORD_ROLES.get(piece, _UNKNOWN) for piece in (word, *word.split("_"))]
    return next((role for role in roles if role in (_START, _END)), roles[0])


def _read_time(token: _Token, match: re.Match[str]) -> None:
    """Fill in seconds and scale, or turn the token into a word: `1:75` is no clock, `3rd` no time."""
    if match["tail"]:
        token.role = _UNKNOWN
    elif match["clock"]:
        fields = match["clock"].split(":")
        if len(fields) > 3 or any(len(field.partition(".")[0]) > 2 or float(field) >= 60 for field in fields[1:]):
            token.role = _UNKNOWN
            return
        token.scale = 1.0  # "0:12 minutes" and "0:12 s" are the same clock
        for field in fields:
            token.seconds = 60 * token.seconds + float(field)
    else:
        token.scale = _UNIT_SCALES[match["unit"]] if match["unit"] else None
        token.seconds = float(match["number"]) * (token.scale or 1.0)


def _add_seconds_to_minutes(tokens: list[_Token]) -> list[_Token]:
    """`1 min 5 s`, `1m05`, `1 hour and 2 minutes`: one time each."""
    joined: list[_Token] = []
    for token in tokens:
        lies_between = bool(joined) and (joined[-1].role == _AND or joined[-1].text == ",")
        upper = joined[-2] if lies_between and len(joined) > 1 else joined[-1] if joined else None
        if token.role == _TIME and upper and upper.role == _TIME and (upper.scale or 0) > 1:
            bare_seconds = token.scale is None and upper.scale == 60 and not lies_between
            lower_unit = bool(token.scale) and (token.scale or 0) < (upper.scale or 0)
            if (bare_seconds or lower_unit) and token.seconds < (upper.scale or 0):
                upper.seconds += token.seconds
                upper.scale, upper.end = token.scale or 1.0, token.end
                del joined[len(joined) - lies_between :]
                continue
        joined.append(token)
    return joined


def _attach_signs(tokens: list[_Token]) -> list[_Token]:
    """Tell the minus of `-3.0` from the dash of `4.0 -9.0` and the hyphen of `step-3`."""
    kept: list[_Token] = []
    for token in tokens:
        if token.role == _TIME and kept and kept[-1].text == "-" and kept[-1].role == _DASH:
            dash = kept[-1]
            before = len(kept) - 2
            glued_to = kept[before] if before >= 0 and kept[before].end == dash.start else None
            while before >= 0 and kept[before].role in (_CLOSE, _QUOTE, _DECORATION):
                before -= 1
            if dash.end != token.start or (before >= 0 and kept[before].role == _TIME):
                pass  # a dash between two times, or one that stands apart
            elif glued_to and glued_to.text[-1].isalnum():
                token.role = _UNKNOWN if glued_to.role == _UNKNOWN else _TIME
            else:
                token.seconds = -token.seconds
                kept.pop()
        kept.append(token)
    return kept


def _mark_quotations(tokens: list[_Token], text: str) -> None:
    """Mark what stands inside quotation marks together with a word of no known meaning.

    The other quotations are JSON keys and values (`"start": "00:03"`) or quoted times. A mark opens after anything but
    a letter or digit, so the apostrophe of "person's" does not.
    """
    opened: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if token.role != _QUOTE:
            continue
        if token.text in opened:
            if token.text == "'" and text[token.end : token.end + 1].isalnum():
                continue
            inside = tokens[opened.pop(token.text) + 1 : index]
            if any(other.role == _UNKNOWN for other in inside):
                for other in inside:
                    other.quoted = True
        elif not text[max(token.start - 1, 0) : token.start].isalnum():
            opened[token.text] = index


# --- What stands between times ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Gap:
    """The tokens between two neighbouring times, before the first or after the last, boiled down."""

    linked: bool
    """`-`, `to`, `and ends at`: what comes before begins the span that what comes after ends."""
    listed: bool
    """Nothing, or a comma, or `and`: the two may be a span."""
    joins: bool
    """Spans on both sides belong to one enumeration."""
    label: str | None
    """`_START` or `_END`, whichever was said last."""
    cue: str | None
    """The role of the word that introduces the next time: `in`, `from`, `between`, a colon."""
    opens: str
    """The bracket right before the next time, or ""."""
    closes: bool
    """A bracket closes right after the previous time."""
    unit: float | None
    """Scale of a unit that follows the previous time at some distance: `[4, 9] seconds`."""
    foreign: bool
    """The next time is introduced as a frame number or a percentage."""


def _gaps(tokens: Sequence[_Token]) -> list[_Gap]:
    """One more gap than there are times: `gaps[i]` stands before time i."""
    borders = [-1, *(index for index, token in enumerate(tokens) if token.role == _TIME), len(tokens)]
    return [_gap(tokens[left + 1 : right]) for left, right in pairwise(borders)]


def _gap(tokens: Sequence[_Token]) -> _Gap:
    roles = {token.role for token in tokens}
    stopped = bool(roles & {_UNKNOWN, _BULLET})
    linked = not stopped and bool(roles & {_LINK, _DASH, _END})
    listed = not linked and roles <= {_SEPARATOR, _AND, _QUOTE, _DECORATION, _OPEN, _CLOSE, _UNIT, _FILLER}
    labels = [token.role for token in tokens if token.role in (_START, _END) and not token.quoted]
    after = _first(tokens, {_QUOTE, _DECORATION, _CLOSE})
    closing = _first(tokens, {_QUOTE, _DECORATION, _UNIT})
    before = tokens[::-1]
    bracket = _first(before, {_QUOTE, _DECORATION})
    cue = _first(before, {_QUOTE, _DECORATION, _OPEN, _FILLER})
    name = _first(before, {_QUOTE, _DECORATION, _OPEN, _FILLER, _COLON})
    return _Gap(
        linked=linked,
        listed=listed,
        joins=not roles or (bool(roles & {_SEPARATOR, _AND, _BULLET}) and not roles & {_UNKNOWN, _COLON, _OTHER}),
        label=labels[-1] if labels else None,
        cue=cue.role if cue and cue.role in (_CUE, _BETWEEN, _START, _COLON) else None,
        opens=bracket.text if bracket and bracket.role == _OPEN else "",
        closes=closing is not None and closing.role == _CLOSE,
        unit=_UNIT_SCALES.get(after.text) if after else None,
        foreign=name is not None and _UNIT_SCALES.get(name.text) == _FOREIGN,
    )


def _first(tokens: Sequence[_Token], skipped: set[str]) -> _Token | None:
    return next((token for token in tokens if token.role not in skipped), None)


# --- Pairs -----------------------------------------------------------------------------------------------------------


class _Evidence(IntEnum):
    """How well a pair is attested as a span of time, weakest first."""

    LISTED = 0
    LINKED = 1
    INTRODUCED = 2
    ATTESTED = 3


@dataclass(slots=True)
class _Pair:
    first: int
    """Index of the first of its two neighbouring times."""
    evidence: _Evidence


def _all_pairs(times: Sequence[_Token], gaps: Sequence[_Gap]) -> list[_Pair]:
    """Pair neighbours, the surest rule first, left to right, no time twice. In the order they were written."""
    evidence_at: dict[int, _Evidence] = {}
    taken = [False] * len(times)
    rules: tuple[Callable[[int, Sequence[_Gap]], _Evidence | None], ...] = (_framed, _linked, _listed)
    for rule in rules:
        for i in range(len(times) - 1):
            if taken[i] or taken[i + 1] or times[i].quoted != times[i + 1].quoted:
                continue
            evidence = rule(i, gaps)
            if evidence is None:
                continue
            if times[i].scale or times[i + 1].scale or gaps[i + 2].unit:
                evidence = _Evidence.LINKED if evidence == _Evidence.LISTED else _Evidence.ATTESTED
            evidence_at[i] = evidence
            taken[i] = taken[i + 1] = True
    return [_Pair(i, evidence_at[i]) for i in sorted(evidence_at)]


def _framed(i: int, gaps: Sequence[_Gap]) -> _Evidence | None:
    """`start: 4 … end: 9` (in either order), `[4, 9]`, `between 4 and 9`."""
    before, inside, behind = gaps[i : i + 3]
    if {before.label, inside.label} == {_START, _END}:
        return _Evidence.ATTESTED
    if inside.listed and before.opens and behind.closes:
        return _Evidence.LINKED if before.opens == "(" else _Evidence.ATTESTED
    return _Evidence.INTRODUCED if inside.listed and before.cue == _BETWEEN else None


def _linked(i: int, gaps: Sequence[_Gap]) -> _Evidence | None:
    if not gaps[i + 1].linked:
        return None
    if gaps[i].opens not in ("", "("):
        return _Evidence.ATTESTED
    return _Evidence.INTRODUCED if gaps[i].cue else _Evidence.LINKED


def _listed(i: int, gaps: Sequence[_Gap]) -> _Evidence | None:
    return _Evidence.LISTED if gaps[i + 1].listed else None


def _best(pairs: Sequence[_Pair], times: Sequence[_Token], gaps: Sequence[_Gap]) -> list[_Pair]:
    """The best-attested pairs; those inside a quotation of the query only where there are no others."""
    unquoted = [pair for pair in pairs if not times[pair.first].quoted]
    candidates = unquoted or list(pairs)
    # In "4 - 9, 12 - 15 seconds" the unit attests the whole enumeration: pass it back, then on.
    for one, other in [*pairwise(candidates[::-1]), *pairwise(candidates)]:
        left, right = sorted((one, other), key=lambda pair: pair.first)
        adjacent = right.first == left.first + 2 and gaps[right.first].joins
        if adjacent and min(one.evidence, other.evidence) > _Evidence.LISTED:
            other.evidence = max(one.evidence, other.evidence)
    best = max((pair.evidence for pair in candidates), default=None)
    return [pair for pair in candidates if pair.evidence == best]


# --- Spans, or why not -----------------------------------------------------------------------------------------------


def _span(pair: _Pair, times: Sequence[_Token], gaps: Sequence[_Gap], fractions: bool) -> Span | Reason:
    """The pair in seconds. A bare number takes the unit of its partner: `1 - 2 minutes`, `25 - 75%`."""
    i = pair.first
    second_scale = gaps[i + 2].unit if times[i + 1].scale is None else times[i + 1].scale
    first_scale = second_scale if times[i].scale is None else times[i].scale
    bare = first_scale is None and second_scale is None
    if _FOREIGN in (first_scale, second_scale) or gaps[i].foreign or (bare and fractions):
        return Reason.NOT_SECONDS
    start_s, end_s = _seconds(times[i], first_scale), _seconds(times[i + 1], second_scale)
    if gaps[i].label == _END and gaps[i + 1].label == _START:
        start_s, end_s = end_s, start_s
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        return Reason.NOT_FINITE
    if start_s < 0 or end_s < 0:
        return Reason.NEGATIVE
    return Span(start_s, end_s) if end_s >= start_s else Reason.REVERSED


def _seconds(time: _Token, shared_scale: float | None) -> float:
    factor = (shared_scale or 1.0) if time.scale is None else 1.0  # with a unit of its own it is in seconds already
    return time.seconds * factor + 0.0  # + 0.0: no minus zero


_NEGATION = re.compile(r"\b(?:not|never|none|no|null|cannot)\b|n't\b")


def _reason_without_pairs(text: str, tokens: Sequence[_Token], times: Sequence[_Token]) -> Reason:
    if not any(character.isalnum() for token in tokens for character in token.text):
        return Reason.EMPTY
    if len(times) < 2 and _NEGATION.search(text):
        return Reason.ABSENT
    if times and all(time.scale == _FOREIGN for time in times):
        return Reason.NOT_SECONDS
    return (Reason.NO_NUMBERS, Reason.ONE_TIME, Reason.NO_PAIR)[min(len(times), 2)]
