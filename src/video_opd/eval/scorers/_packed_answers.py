"""Answers of our own format beside the examples that they answer, packed: texts in one stretch of bytes, numbers in
arrays. A `ResultAnswer` is made when a scorer asks for it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from video_opd.eval.scorers._scorer_types import ResultAnswer
from video_opd.grounding import GivenAnswer, ParsedAnswer, Reason, parse_answer
from video_opd.grounding.first_spans import FirstSpans
from video_opd.grounding.packed_examples import PackedExamples
from video_opd.grounding.time_units import find_bare_spans
from video_opd.types import Span

_UNREAD = ParsedAnswer(reason=Reason.NO_PAIR)


class PackedAnswers(Mapping[str, ResultAnswer]):
    """Example id -> answer, in the order of the file.

    Args:
        examples: what was asked; ids are theirs.
    """

    def __init__(self, examples: PackedExamples) -> None:
        self.examples = examples
        self._row_of = array("i", [-1]) * len(examples)
        self._places, self._lines = array("I"), array("Q")
        self._texts, self._text_ends, self._has_text = bytearray(), array("Q", [0]), bytearray()
        self._spans, self._first_span = array("d"), array("Q", [0])
        self._choices: dict[int, str] = {}

    def add(self, place: int, line: int, answer: GivenAnswer) -> None:
        """Add the answer to an example that has none yet.

        Args:
            place: of the example.
            line: where the answer stands in its file.
            answer: text or spans.
        """
        row = self._row_of[place] = len(self._places)
        self._places.append(place)
        self._lines.append(line)
        self._has_text.append(answer.text is not None)
        if answer.text is not None:
            self._texts += answer.text.encode("utf-8", "surrogatepass")
        self._text_ends.append(len(self._texts))
        for span in answer.spans or ():
            self._spans.extend(span)
        self._first_span.append(len(self._spans) // 2)
        if answer.choice is not None:
            self._choices[row] = answer.choice

    def find_line(self, place: int) -> int | None:
        """Where in the file the answer to an example stands; None if there is none."""
        row = self._row_of[place]
        return None if row < 0 else self._lines[row]

    def __getitem__(self, id: str) -> ResultAnswer:
        if (row := self._row_of[self.examples.places[id]]) < 0:
            raise KeyError(id)
        choice = self._choices.get(row)
        if self._has_text[row]:
            return ResultAnswer(text=self._read_text(row), choice=choice)
        return ResultAnswer(spans=self._read_spans(row), choice=choice)

    def __contains__(self, id: object) -> bool:
        place = self.examples.places.get(id) if isinstance(id, str) else None
        return place is not None and self._row_of[place] >= 0

    def __iter__(self) -> Iterator[str]:
        return (self.examples.ids[place] for place in self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _read_text(self, row: int) -> str:
        return self._texts[self._text_ends[row] : self._text_ends[row + 1]].decode("utf-8", "surrogatepass")

    def _read_spans(self, row: int) -> tuple[Span, ...]:
        ends = self._spans[2 * self._first_span[row] : 2 * self._first_span[row + 1]]
        return tuple(map(Span, ends[::2], ends[1::2]))

    @cached_property
    def first_spans(self) -> FirstSpans:
        """By our rules. Every text is parsed once."""
        first = np.zeros((len(self.examples), 2))
        is_named = np.zeros(len(self.examples), dtype=bool)
        for row, place in enumerate(self._places):
            if spans := self._parse(row).spans:
                first[place], is_named[place] = spans[0], True
        return FirstSpans(spans_s=first, is_named=is_named, is_given=np.asarray(self._row_of) >= 0)

    def _parse(self, row: int) -> ParsedAnswer:
        if self._has_text[row]:
            return parse_answer(self._read_text(row))
        return GivenAnswer(spans=self._read_spans(row)).parse()

    def find_first_bare_spans(self) -> FirstSpans:
        """As `find_bare_spans` reads them. Spans that the file gives as numbers are taken as they stand."""
        parsed = self.first_spans
        first, is_named = parsed.spans_s.copy(), parsed.is_named.copy()
        for row, place in enumerate(self._places):
            if is_named[place] and self._has_text[row]:
                continue
            spans = find_bare_spans(self._read_text(row), _UNREAD) if self._has_text[row] else self._read_spans(row)
            is_named[place] = bool(spans)
            if spans:
                first[place] = spans[0]
        return replace(parsed, spans_s=first, is_named=is_named)
