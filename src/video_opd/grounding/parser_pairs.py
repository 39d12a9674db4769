"""Which times belong together: times are paired by what stands around them, and the best-attested pairs win."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

from video_opd.grounding.parser_gaps import Gap
from video_opd.grounding.parser_rows import find_span_columns
from video_opd.grounding.parser_tokens import COLON, ParserToken
from video_opd.grounding.parser_words import BETWEEN, END, START


class _Evidence(IntEnum):
    """How well a pair is attested as a span of time, weakest first."""

    LISTED = 0
    LINKED = 1
    INTRODUCED = 2
    ATTESTED = 3


@dataclass(slots=True)
class TimePair:
    """Two times that may be a span."""

    first: int
    """Index of the time that was written first."""
    second: int
    evidence: _Evidence
    end_first: bool = False
    """The one written first was labelled as the end."""


@dataclass(slots=True)
class Pairing:
    """The times of an answer while they are being paired: the surest rule first, left to right, no time twice."""

    times: Sequence[ParserToken]
    gaps: Sequence[Gap]
    pairs: list[TimePair] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    """Times that are paired, or must not be: it is not clear with which."""
    unclear: bool = False
    """Some times could be paired in more than one way, and were not."""

    def run(self) -> Pairing:
        """TimePair, and keep the best-attested pairs in the order they were written."""
        self._leave_alternatives()
        self._pair_labelled()
        self._pair_rows(in_brackets=True)
        self._pair_between()
        self._pair_linked()
        self._pair_rows(in_brackets=False)
        if not self.pairs:
            self._pair_at_with_end()
        self.pairs.sort(key=lambda pair: pair.first)
        self.pairs = _choose_best_pairs(self.pairs, self.times, self.gaps)
        return self

    def _add(self, first: int, second: int, evidence: _Evidence, *, end_first: bool = False) -> None:
        if self.times[first].quoted != self.times[second].quoted:
            return
        if self.times[first].scale or self.times[second].scale or self.gaps[second + 1].unit:
            evidence = _Evidence.LINKED if evidence == _Evidence.LISTED else _Evidence.ATTESTED
        self.pairs.append(TimePair(first, second, evidence, end_first))
        self.used |= {first, second}

    def _leave_open(self, times: Sequence[int]) -> None:
        self.used |= set(times)
        self.unclear = True

    def _leave_alternatives(self) -> None:
        """`4 or 9`; but `4 - 9 or 12 - 15` are two spans."""
        for i in range(1, len(self.times)):
            if self.gaps[i].alternative and not (self.gaps[i - 1].tied and self.gaps[i + 1].tied):
                self._leave_open([i - 1, i])

    # Labels: `start: 4 … end: 9`, in either order, whatever stands between

    def _pair_labelled(self) -> None:
        labelled = self._list_labelled()
        labels = [label for _, label in labelled]
        ends_first = labels[::2] == [END] * (len(labels) // 2) and labels[1::2] == [START] * (len(labels) // 2)
        if ends_first:
            for (end, _), (start, _) in zip(labelled[::2], labelled[1::2], strict=True):
                self._add_labelled(end, start, end_first=True)
            return
        taken: set[int] = set()
        for position, ((start, _), (end, _)) in enumerate(pairwise(labelled)):
            if labels[position : position + 2] != [START, END]:
                continue
            before = labelled[position - 1] if position and position - 1 not in taken else None
            behind = labelled[position + 2] if position + 2 < len(labelled) else None
            taken.add(position + 1)
            rivals = [rival for rival in (before, behind) if rival and self._is_rival(rival, start, end, behind)]
            if rivals:
                self._leave_open([start, end, *(time for time, _ in rivals)])
            else:
                self._add_labelled(start, end)

    def _list_labelled(self) -> list[tuple[int, str]]:
        """The times said to be a start or an end. Where the label comes behind the first and the last time, `5秒开始,
        9秒结束`, it does so behind all."""
        gaps, count = self.gaps, len(self.times)
        behind = count > 1 and not gaps[0].label and bool(gaps[1].label_behind) and bool(gaps[-1].label_behind)
        labels = [gaps[i + 1].label_behind if behind else gaps[i].label for i in range(count)]
        in_clauses = [gaps[i + 1].label_in_clause for i in range(count)]
        if count > 1 and not gaps[0].label and all(in_clauses) and all(map(self._is_point, range(count))):
            labels, behind = in_clauses, True  # At 5.0 s the event begins, and at 9.0 s it ends.
        for i in range(count - 1):
            if gaps[i + 1].numbers and self.times[i].is_bare and not behind:
                labels[i], labels[i + 1] = None, labels[i]  # Start of event 1: 4.0
        for i in range(2, count):
            inserted = gaps[i - 1].breaks_off and gaps[i].resumes and not gaps[i - 1].listed
            if inserted and labels[i - 2 : i + 1] == [START, None, None]:
                labels[i] = END  # from 4.0, with the peak at 6.5, to 9.0
        free = [i for i in range(count) if i not in self.used and not self.times[i].quoted]
        return [(i, label) for i in free if (label := labels[i])]

    def _is_rival(self, rival: tuple[int, str], start: int, end: int, behind: tuple[int, str] | None) -> bool:
        """Whether another labelled time in the same sentence has the same claim to the start or the end."""
        time, label = rival
        if rival == behind:  # start, end, and another end
            if label != END or any(self.gaps[i].stops for i in range(end + 1, time + 1)):
                return False
            return not self._is_tied(time) and abs(self.times[time].seconds - self.times[end].seconds) >= 1
        stops = any(self.gaps[i].stops for i in range(time + 1, start + 1))
        if label == END:  # end, start, end
            return not stops or any(self.gaps[i].stops for i in range(start + 1, end + 1))
        return not stops and not self._is_tied(time) and abs(self.times[time].seconds - self.times[start].seconds) >= 1

    def _is_tied(self, time: int) -> bool:
        """Whether the time has a partner beside it anyway: `from 4 - 9`."""
        return any(self.gaps[i].tied or (self.gaps[i].listed and i > 0) for i in (time + 1,) if i < len(self.times))

    def _add_labelled(self, first: int, second: int, *, end_first: bool = False) -> None:
        """Not if a label holds two times: `starts: [4, 12], ends: [9, 15]`, `start between 4 and 5`, `start 4 - 6`."""
        if self.gaps[first].introduces_span and self._is_tied_on(first):
            return  # from 4 - 6 s; it ends at 9
        several = [time for time in (first, second) if self._is_tied_on(time) or self._is_listed_on(time, first)]
        if several:
            self._leave_open([*range(first, second + 1), *(time + 1 for time in several)])
        else:
            self._add(first, second, _Evidence.ATTESTED, end_first=end_first)

    def _is_tied_on(self, i: int) -> bool:
        """Whether a link leads on from a labelled time to another without a label."""
        gap = self.gaps[i + 1]
        if i + 1 == len(self.times) or not gap.tied or gap.label or gap.resumes or gap.stops:
            return False
        return self.times[i + 1].seconds > self.times[i].seconds  # or a score or a length, `19.0 s - 7.0 s in total`

    def _is_listed_on(self, i: int, first: int) -> bool:
        before, gap = self.gaps[i : i + 2]
        if i + 1 == len(self.times) or not gap.listed or gap.brackets or gap.on_new_line:
            return False
        return before.opens == "[" or before.cue == BETWEEN or (i == first and self._is_point(i + 1))

    def _is_point(self, i: int) -> bool:
        """A time, not a count: `9 dogs`."""
        return bool(self.times[i].scale) or "." in self.times[i].text or not self.gaps[i + 1].word_follows

    # Lists: `[4, 9]`, `[[4, 9, 0.93], …]`, `4, 9`

    def _pair_rows(self, *, in_brackets: bool) -> None:
        by_width: dict[int, list[list[int]]] = defaultdict(list)
        for row in self._find_rows():
            if (bool(self.gaps[row[0]].opens) and self.gaps[row[-1] + 1].closes) == in_brackets:
                by_width[len(row)].append(row)
        for rows in by_width.values():
            head = self.gaps[rows[0][0]].columns
            columns = find_span_columns([[self.times[i] for i in row] for row in rows], head, in_brackets=in_brackets)
            for row in rows:
                if columns is None:
                    self._leave_open(row)
                for start, end in columns or ():
                    self._pair_in_row(row[start], row[end], row, framed=in_brackets and len(columns or ()) == 1)

    def _pair_in_row(self, first: int, second: int, row: Sequence[int], *, framed: bool) -> None:
        evidence = _Evidence.LISTED
        if framed:
            evidence = _Evidence.LINKED if self.gaps[row[0]].opens == "(" else _Evidence.ATTESTED
        elif self.times[first].scale and self.times[second].is_bare and self.gaps[second + 1].word_follows:
            return  # "At 5 seconds, 9 people appear."
        self._add(first, second, evidence)

    def _find_rows(self) -> Iterator[list[int]]:
        """Times in one list: nothing but commas between them, no bracket. A table has a row a line."""
        run: list[int] = []
        for i in range(len(self.times) + 1):
            free = i < len(self.times) and i not in self.used
            joined = free and bool(run) and self.gaps[i].listed and not self.gaps[i].brackets
            if run and not (joined and self.times[run[-1]].quoted == self.times[i].quoted):
                yield from self._split_into_lines(run)
                run = []
            if free:
                run.append(i)

    def _split_into_lines(self, run: list[int]) -> Iterator[list[int]]:
        lines: list[list[int]] = []
        for i in run:
            if not lines or self.gaps[i].on_new_line:
                lines.append([])
            lines[-1].append(i)
        table = len({len(line) for line in lines}) == 1 and len(lines[0]) > 1
        yield from (line for line in (lines if table else [run]) if len(line) > 1)

    def _pair_between(self) -> None:
        for i, (before, inside) in enumerate(pairwise(self.gaps[:-1])):
            if before.cue == BETWEEN and inside.listed and not {i, i + 1} & self.used:
                self._add(i, i + 1, _Evidence.INTRODUCED)

    # Links: `4 - 9`, `4 to 9`, `4 until 9`

    def _pair_linked(self) -> None:
        for chain in self._find_chains():
            with_unit = [i for i in chain if self.times[i].scale]
            if len(chain) % 2 == 0:
                for first, second in zip(chain[::2], chain[1::2], strict=True):
                    self._add_linked(first, second)
            elif len(with_unit) == 2 and len(chain) == 3 and with_unit[1] == with_unit[0] + 1:
                self._add_linked(*with_unit)
            else:
                self._leave_open(chain)  # 2024-05-09
        for i in range(len(self.times) - 1):
            if self.gaps[i + 1].linked and not {i, i + 1} & self.used:
                self._add_linked(i, i + 1)

    def _find_chains(self) -> Iterator[list[int]]:
        chain: list[int] = []
        for i in range(len(self.times) + 1):
            free = i < len(self.times) and i not in self.used
            tied = free and bool(chain) and self.gaps[i].tied and self.times[i].quoted == self.times[chain[-1]].quoted
            if chain and not tied:
                if len(chain) > 1:
                    yield chain
                chain = []
            if free:
                chain.append(i)

    def _add_linked(self, first: int, second: int) -> None:
        if self.times[first].scale and self.times[second].is_bare and self.gaps[second + 1].is_counted:
            return  # 4秒から9人
        before, inside = self.gaps[first], self.gaps[second]
        if not inside.tied and before.named_otherwise and (not before.cue or before.cue == inside.cue == COLON):
            return  # it takes 7 s and ends at 19 s; peak: 15, end: 19
        if self.gaps[first].opens not in ("", "("):
            evidence = _Evidence.ATTESTED
        else:
            evidence = _Evidence.INTRODUCED if self.gaps[first].cue else _Evidence.LINKED
        self._add(first, second, evidence)

    def _pair_at_with_end(self) -> None:
        """`At 4.0 the person opens the door and finishes at 9.0`; in two sentences if the first says `starts`."""
        for i in range(len(self.times) - 1):
            before, inside = self.gaps[i : i + 2]
            whole = not inside.stops or inside.label_in_clause == START
            said = before.at and not before.label and whole and inside.label == END
            if said and self._is_point(i) and not {i, i + 1} & self.used:
                self._add(i, i + 1, _Evidence.INTRODUCED)


def _choose_best_pairs(pairs: Sequence[TimePair], times: Sequence[ParserToken], gaps: Sequence[Gap]) -> list[TimePair]:
    """The best-attested pairs; those inside a quotation of the query only where there are no others."""
    unquoted = [pair for pair in pairs if not times[pair.first].quoted]
    candidates = unquoted or list(pairs)
    # In "4 - 9, 12 - 15 seconds" the unit attests the whole enumeration: pass it back, then on.
    for one, other in [*pairwise(candidates[::-1]), *pairwise(candidates)]:
        left, right = sorted((one, other), key=lambda pair: pair.first)
        adjacent = right.first == left.second + 1 and gaps[right.first].joins
        if adjacent and min(one.evidence, other.evidence) > _Evidence.LISTED:
            other.evidence = max(one.evidence, other.evidence)
    best = max((pair.evidence for pair in candidates), default=None)
    return [pair for pair in candidates if pair.evidence == best]
