"""Which times belong together: neighbours are paired by what stands around them, and the best-attested pairs win."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from video_opd.grounding.answer_tokens import (
    AND,
    BETWEEN,
    BULLET,
    CLOSE,
    COLON,
    CUE,
    DASH,
    DECORATION,
    END,
    FILLER,
    FOREIGN,
    LINK,
    OPEN,
    OTHER,
    QUOTE,
    SEPARATOR,
    START,
    TIME,
    UNIT,
    UNIT_SCALES,
    UNKNOWN,
    Token,
)


@dataclass(frozen=True, slots=True)
class Gap:
    """The tokens between two neighbouring times, before the first or after the last, boiled down."""

    linked: bool
    """`-`, `to`, `and ends at`: what comes before begins the span that what comes after ends."""
    listed: bool
    """Nothing, or a comma, or `and`: the two may be a span."""
    joins: bool
    """Spans on both sides belong to one enumeration."""
    label: str | None
    """`START` or `END`, whichever was said last."""
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


def gaps_between(tokens: Sequence[Token]) -> list[Gap]:
    """One more gap than there are times: `gaps[i]` stands before time i."""
    borders = [-1, *(index for index, token in enumerate(tokens) if token.role == TIME), len(tokens)]
    return [_gap(tokens[left + 1 : right]) for left, right in pairwise(borders)]


def _gap(tokens: Sequence[Token]) -> Gap:
    roles = {token.role for token in tokens}
    stopped = bool(roles & {UNKNOWN, BULLET})
    linked = not stopped and bool(roles & {LINK, DASH, END})
    listed = not linked and roles <= {SEPARATOR, AND, QUOTE, DECORATION, OPEN, CLOSE, UNIT, FILLER}
    labels = [token.role for token in tokens if token.role in (START, END) and not token.quoted]
    after = _first(tokens, {QUOTE, DECORATION, CLOSE})
    closing = _first(tokens, {QUOTE, DECORATION, UNIT})
    before = tokens[::-1]
    bracket = _first(before, {QUOTE, DECORATION})
    cue = _first(before, {QUOTE, DECORATION, OPEN, FILLER})
    name = _first(before, {QUOTE, DECORATION, OPEN, FILLER, COLON})
    return Gap(
        linked=linked,
        listed=listed,
        joins=not roles or (bool(roles & {SEPARATOR, AND, BULLET}) and not roles & {UNKNOWN, COLON, OTHER}),
        label=labels[-1] if labels else None,
        cue=cue.role if cue and cue.role in (CUE, BETWEEN, START, COLON) else None,
        opens=bracket.text if bracket and bracket.role == OPEN else "",
        closes=closing is not None and closing.role == CLOSE,
        unit=UNIT_SCALES.get(after.text) if after else None,
        foreign=name is not None and UNIT_SCALES.get(name.text) == FOREIGN,
    )


def _first(tokens: Sequence[Token], skipped: set[str]) -> Token | None:
    return next((token for token in tokens if token.role not in skipped), None)


class _Evidence(IntEnum):
    """How well a pair is attested as a span of time, weakest first."""

    LISTED = 0
    LINKED = 1
    INTRODUCED = 2
    ATTESTED = 3


@dataclass(slots=True)
class Pair:
    """Two neighbouring times that may be a span."""

    first: int
    """Index of the first of its two neighbouring times."""
    evidence: _Evidence


def all_pairs(times: Sequence[Token], gaps: Sequence[Gap]) -> list[Pair]:
    """Pair neighbours, the surest rule first, left to right, no time twice. In the order they were written."""
    evidence_at: dict[int, _Evidence] = {}
    taken = [False] * len(times)
    rules: tuple[Callable[[int, Sequence[Gap]], _Evidence | None], ...] = (_framed, _linked, _listed)
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
    return [Pair(i, evidence_at[i]) for i in sorted(evidence_at)]


def _framed(i: int, gaps: Sequence[Gap]) -> _Evidence | None:
    """`start: 4 … end: 9` (in either order), `[4, 9]`, `between 4 and 9`."""
    before, inside, behind = gaps[i : i + 3]
    if {before.label, inside.label} == {START, END}:
        return _Evidence.ATTESTED
    if inside.listed and before.opens and behind.closes:
        return _Evidence.LINKED if before.opens == "(" else _Evidence.ATTESTED
    return _Evidence.INTRODUCED if inside.listed and before.cue == BETWEEN else None


def _linked(i: int, gaps: Sequence[Gap]) -> _Evidence | None:
    if not gaps[i + 1].linked:
        return None
    if gaps[i].opens not in ("", "("):
        return _Evidence.ATTESTED
    return _Evidence.INTRODUCED if gaps[i].cue else _Evidence.LINKED


def _listed(i: int, gaps: Sequence[Gap]) -> _Evidence | None:
    return _Evidence.LISTED if gaps[i + 1].listed else None


def best_pairs(pairs: Sequence[Pair], times: Sequence[Token], gaps: Sequence[Gap]) -> list[Pair]:
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
