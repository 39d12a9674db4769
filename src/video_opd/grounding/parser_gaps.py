"""Describes what stands between the times of an answer, and drops numbers that are named as something else."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from video_opd.grounding.parser_tokens import (
    BULLET,
    CLOSE,
    COLON,
    DASH,
    DECORATION,
    OPEN,
    OTHER,
    QUOTE,
    SEPARATOR,
    TIME,
    ParserToken,
)
from video_opd.grounding.parser_words import (
    AND,
    BETWEEN,
    CUE,
    END,
    FIELD,
    FILLER,
    FOREIGN,
    FROM_WORDS,
    LABELLED_THINGS,
    LENGTH_WORDS,
    LINK,
    NEUTRAL,
    OR,
    SPACELESS,
    START,
    UNIT,
    UNIT_SCALES,
    UNKNOWN,
    VIDEO_WORDS,
)


@dataclass(frozen=True, slots=True)
class Gap:
    """The tokens between two neighbouring times, before the first or after the last, boiled down."""

    linked: bool
    """`-`, `to`, `and ends at`: what comes before begins the span that what comes after ends."""
    tied: bool
    """Linked by more than the word `end`."""
    listed: bool
    """Nothing, or a comma, or `and`: the two may be a span."""
    numbers: bool
    """Just a colon: `1: 4.0`."""
    joins: bool
    """Spans on both sides belong to one enumeration."""
    label: str | None
    """`START` or `END`, whichever was said last of the next time."""
    label_behind: str | None
    """`START` or `END` right behind the previous time: `5秒开始`."""
    label_in_clause: str | None
    """`START` or `END` in a clause about the previous time: `At 5.0 s the event begins, …`."""
    alternative: bool
    """Nothing but `or`, or a slash: the times on both sides are one, and it is not said which."""
    at: bool
    """The next time is introduced by `at`."""
    introduces_span: bool
    """The next time is introduced by `from`, which may begin a whole span: `from 4 - 9`."""
    columns: tuple[str, ...]
    """The roles of the words that may be the head of a table: `START`, `END`, `FIELD`."""
    cue: str | None
    """The role of the word that introduces the next time: `in`, `from`, `between`, a colon."""
    named_otherwise: bool
    """A word of no known meaning right before the next time, or before its colon: `takes 7 s`, `peak: 15`."""
    opens: str
    """The bracket right before the next time, or ""."""
    closes: bool
    """A bracket closes right after the previous time."""
    brackets: bool
    """There is a bracket anywhere."""
    unit: float | None
    """Scale of a unit that follows the previous time at some distance: `[4, 9] seconds`."""
    word_follows: bool
    """A word of no known meaning follows the previous time: `9 people`."""
    is_counted: bool
    """In a script without blanks: `9人`."""
    breaks_off: bool
    """A comma or a bracket that opens, and no link: an insertion may begin."""
    resumes: bool
    """A comma or a bracket that closes, then a word that links: an insertion may end, `, to 9.0`."""
    stops: bool
    """A sentence, a line or an object ends."""
    on_new_line: bool


def find_gaps(tokens: Sequence[ParserToken]) -> list[Gap]:
    """One more gap than there are times: `gaps[i]` stands before time i."""
    borders = [-1, *(index for index, token in enumerate(tokens) if token.role == TIME), len(tokens)]
    around = [tokens[index] if 0 <= index < len(tokens) else None for index in borders]
    return [
        _make_gap(tokens[left + 1 : right], *times)
        for (left, right), times in zip(pairwise(borders), pairwise(around), strict=True)
    ]


def _make_gap(tokens: Sequence[ParserToken], previous: ParserToken | None, time: ParserToken | None) -> Gap:
    roles = {token.role for token in tokens}
    stopped = bool(roles & {UNKNOWN, FIELD, BULLET})
    tied = not stopped and bool(roles & {LINK, DASH})
    numbered = previous is not None and previous.text.endswith(".")
    linked = tied or (not stopped and END in roles and not numbered)  # "2. It ends at 9.0"
    listed = not linked and roles <= {SEPARATOR, AND, QUOTE, DECORATION, OPEN, CLOSE, UNIT, FILLER}
    before = tokens[::-1]
    behind = _find_first(tokens, {QUOTE, DECORATION, CLOSE, OPEN, COLON, FILLER, NEUTRAL, CUE})
    after = _find_first(tokens, {QUOTE, DECORATION, CLOSE})
    after_unit = _find_first(tokens, {QUOTE, DECORATION, UNIT})
    following = _find_first(tokens, {QUOTE, DECORATION})
    bracket = _find_first(before, {QUOTE, DECORATION})
    cue = _find_first(before, {QUOTE, DECORATION, OPEN, FILLER} | ({UNIT} if UNIT in roles else set()))
    name = _find_first(before, {QUOTE, DECORATION, OPEN, FILLER, COLON})
    return Gap(
        linked=linked,
        tied=tied,
        listed=listed,
        numbers=roles == {COLON},
        joins=not roles
        or (bool(roles & {SEPARATOR, AND, OR, BULLET}) and not roles & {UNKNOWN, FIELD, NEUTRAL, COLON, OTHER}),
        label=_find_label(tokens, time),
        label_behind=behind.role if behind and behind.role in (START, END) and not behind.quoted else None,
        label_in_clause=_find_label_in_clause(tokens, closed=time is None or time.on_new_line),
        alternative=OR in roles and roles <= {OR, UNIT, FILLER, NEUTRAL, QUOTE, DECORATION, CUE, SEPARATOR},
        at=cue is not None and cue.text in ("at", "@"),
        introduces_span=cue is not None and cue.text in FROM_WORDS,
        columns=tuple(token.role for token in tokens if token.role in (START, END, FIELD) and not token.quoted),
        cue=cue.role if cue and cue.role in (CUE, BETWEEN, START, COLON) else None,
        named_otherwise=name is not None and name.role == UNKNOWN and not name.quoted,
        opens=bracket.text if bracket and bracket.role == OPEN else "",
        closes=after_unit is not None and after_unit.role == CLOSE,
        brackets=bool(roles & {OPEN, CLOSE}),
        unit=after.scale if after and after.role == UNIT else UNIT_SCALES.get(after.text) if after else None,
        is_counted=following is not None
        and following.role == UNKNOWN
        and re.match(f"[{SPACELESS}]", following.text) is not None,
        word_follows=following is not None and following.role == UNKNOWN,
        breaks_off=not tied and bool(roles & {SEPARATOR, OPEN}),
        resumes=tied and LINK in roles and after_unit is not None and after_unit.role in (SEPARATOR, CLOSE),
        stops=any(map(_is_stop, tokens)) or (time is not None and time.on_new_line),
        on_new_line=any(token.on_new_line for token in [*tokens, *([time] if time else [])]),
    )


def _find_first(tokens: Sequence[ParserToken], skipped: Collection[str]) -> ParserToken | None:
    return next((token for token in tokens if token.role not in skipped), None)


def _is_stop(token: ParserToken) -> bool:
    return token.text in ".!?。}" or token.on_new_line


def _find_label_in_clause(tokens: Sequence[ParserToken], *, closed: bool) -> str | None:
    """The one label up to the next comma, stop or `and`; None if there is none before the next time."""
    labels: set[str] = set()
    begun = False
    for index, token in enumerate(tokens):
        if begun and (token.role in (SEPARATOR, AND) or _is_stop(token)):
            closed = True
            break
        begun = begun or token.role in (UNKNOWN, FILLER, CUE, START, END)
        beside = {other.text for other in tokens[max(index - 1, 0) : index + 2]}
        if token.role in (START, END) and not token.quoted and not beside & VIDEO_WORDS:
            labels.add(token.role)
    return labels.pop() if closed and len(labels) == 1 else None


def _find_label(tokens: Sequence[ParserToken], time: ParserToken | None) -> str | None:
    """What the next time is said to be.

    Not the end of the video, and not where a word of no known meaning comes between the label and a bare number: it
    "starts when 2 people come in".
    """
    if time is None:
        return None
    skipped = {QUOTE, DECORATION, OPEN, FILLER, NEUTRAL}
    nearest = next((t for t in reversed(tokens) if t.role not in skipped and t.text not in LABELLED_THINGS), None)
    if nearest is not None and nearest.role in (UNKNOWN, FIELD) and time.is_bare:
        return None
    follower, other_words = "", False
    for index in range(len(tokens) - 1, -1, -1):
        token = tokens[index]
        if token.role in (START, END) and not token.quoted:
            of_video = {follower, tokens[index - 1].text if index else ""} & VIDEO_WORDS
            if token.role == START or not of_video:
                apart = other_words and nearest is not None and nearest.role == SEPARATOR
                return None if apart else token.role
        other_words = other_words or token.role == UNKNOWN
        if token.role not in (FILLER, NEUTRAL, QUOTE):
            follower = token.text
    return None


def drop_asides(tokens: Sequence[ParserToken]) -> list[ParserToken]:
    """Drop the numbers that are named as something else: `"score": 0.9`, `Duration: 5.0 s`, `(90%)`, `frame 12`.

    A number that a link leads on from is kept, `Duration: 4.0 - 9.0`. So are shares of the video and frame numbers
    where there is nothing else: then they are the answer, and not in seconds.
    """
    kept: list[ParserToken] = []
    index = 0
    while index < len(tokens):
        behind = _find_end_of_named_number(tokens, index) if tokens[index].role == FIELD else 0
        if not behind and _is_length(tokens, index):
            behind = index + 1
        if not behind:
            kept.append(tokens[index])
        index = max(behind, index + 1)
    return _drop_foreign(kept)


def _is_length(tokens: Sequence[ParserToken], index: int) -> bool:
    """`5 seconds later`; but a dash leads on to a time, `4 - 9 seconds long`."""
    token, before, behind = tokens[index], tokens[max(index - 1, 0)], tokens[index + 1 : index + 2]
    if token.role != TIME or not token.scale or before.role == DASH or (before.role == LINK and before.text == "~"):
        return False
    return token.unit in LENGTH_WORDS or (bool(behind) and behind[0].text in LENGTH_WORDS)


def _find_end_of_named_number(tokens: Sequence[ParserToken], name: int) -> int:
    """Where the number ends that the name names; 0 if it names none."""
    if name > 1 and tokens[name - 1].role in (SEPARATOR, DECORATION) and tokens[name - 2].role in (START, END, FIELD):
        return 0  # the head of a table: `start, end, score`
    at = name + 1
    while (
        at < len(tokens)
        and not tokens[at].on_new_line
        and (tokens[at].role in _BETWEEN_NAME_AND_VALUE or tokens[at].text in _ASSIGNS)
    ):
        at += 1
    if at < len(tokens) and tokens[at].text == "[":
        return _find_end_of_score_list(tokens, at + 1)
    if at >= len(tokens) or tokens[at].role != TIME or tokens[at].quoted or tokens[at].on_new_line:
        return 0
    leads_on = next((token for token in tokens[at + 1 : at + 3] if token.role not in (QUOTE, DECORATION)), None)
    onward = leads_on is not None and (leads_on.role in (LINK, DASH) or leads_on.text in ("until", "till"))
    if onward and tokens[name].text[0] not in "±+":
        return 0
    out_of = [token.role for token in tokens[at + 1 : at + 3]] == [OR, TIME]  # 8/10
    return at + 3 if out_of else at + 1


def _find_end_of_score_list(tokens: Sequence[ParserToken], at: int) -> int:
    """`"scores": [0.93, 0.5]`; but `duration: [4.0, 9.0]` is a span."""
    while at < len(tokens) and (
        tokens[at].role == SEPARATOR or (tokens[at].role == TIME and tokens[at].is_bare and tokens[at].seconds <= 1)
    ):
        at += 1
    return at + 1 if at < len(tokens) and tokens[at].role == CLOSE else 0


_ASSIGNS = ("is", "为", "は", ">")
_BETWEEN_NAME_AND_VALUE = {QUOTE, DECORATION, COLON, FILLER, NEUTRAL}


def _drop_foreign(tokens: Sequence[ParserToken]) -> list[ParserToken]:
    times = [index for index, token in enumerate(tokens) if token.role == TIME]
    if all(tokens[index].scale != FOREIGN for index in times):
        return list(tokens)
    foreign = {index for index in times if tokens[index].scale == FOREIGN}
    for left, right in [*pairwise(times), *((b, a) for a, b in pairwise(times[::-1]))]:
        roles = {token.role for token in tokens[left + 1 : right]}
        if roles & {LINK, DASH, AND} and not roles & {OPEN, CLOSE, UNKNOWN, SEPARATOR}:
            # `25 - 75%`, `frames 12 to 18`: the bare number takes the unit of its partner.
            foreign |= {index for index in (left, right) if tokens[index].is_bare and {left, right} & foreign}
    if len(times) - len(foreign) < 2:
        return list(tokens)
    return [token for index, token in enumerate(tokens) if index not in foreign]
