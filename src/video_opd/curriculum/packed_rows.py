"""The rows of a file of scores, packed: numbers in arrays, and an example is made when it is asked for.

A million examples of four answers as objects take gigabytes. Here an answer takes 45 bytes and its text, and an example
its id and about 60 bytes.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import compress, pairwise
from sys import intern
from typing import Any

from video_opd.curriculum.signals import Draws, ScoredAnswer, ScoredExample
from video_opd.types import Span

_NUMBERS = 5
"""Of an answer: start and end of its span, IoU, log-prob, reverse KL. NaN: there is none."""
_KEYS = frozenset(("text", "span", "iou", "logprob", "num_tokens", "sampled"))
_NAN = math.nan


class PackedRows(Mapping[str, ScoredExample]):
    """Example id -> its scores, in the order in which they were added.

    Args:
        keep_texts: keep the texts of the answers; without them an answer's text is empty.
    """

    def __init__(self, *, keep_texts: bool = True) -> None:
        self._places: dict[str, int] = {}
        self._first_answer, self._first_span = array("Q", [0]), array("Q", [0])
        self._spans, self._durations = array("d"), array("d")
        self._sources, self._numbers_of_names, self._names = array("I"), dict[str, int](), list[str]()
        self._numbers, self._num_tokens, self._sampled = array("d"), array("Q"), bytearray()
        self._texts, self._text_ends = bytearray(), array("Q", [0]) if keep_texts else None
        self._unscored: dict[int, str] = {}

    @classmethod
    def of(cls, rows: Mapping[str, ScoredExample]) -> PackedRows:
        """Pack the rows of another mapping, whose keys are the ids."""
        if isinstance(rows, PackedRows):
            return rows
        packed = cls()
        for row in rows.values():
            packed.add(row)
        return packed

    def add(self, example: ScoredExample) -> None:
        """Add an example that is not there yet."""
        answers = (
            {name: getattr(answer, name) for name in (*_KEYS, "reverse_kl")} for answer in example.answers
        )  # fmt: skip
        self.add_row({"id": example.id, "answers": answers, "spans": example.spans, "duration": example.duration,
                      "source": example.source, "unscored": example.unscored})  # fmt: skip

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Add an example that is not there yet, from a line of a file.

        Raises:
            AttributeError, KeyError, OverflowError, TypeError, ValueError: the line is not valid, or an IoU or a
                log-prob is not a number. Nothing was added.
        """
        sizes = len(self._numbers), len(self._num_tokens), len(self._sampled), len(self._texts), len(self._spans)
        ends = len(self._text_ends) if self._text_ends is not None else 0
        try:
            self._add_answers(row.get("answers", ()))
            for start, end in row["spans"]:
                self._spans.append(start)
                self._spans.append(end)
            id, source, duration = row["id"], row["source"], row["duration"]
            if not isinstance(id, str) or not isinstance(source, str):
                raise ValueError("an id or a source that is no text")
            self._durations.append(_NAN if duration is None else duration)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            parts: tuple[Any, ...] = self._numbers, self._num_tokens, self._sampled, self._texts, self._spans
            for part, size in zip(parts, sizes, strict=True):
                del part[size:]
            if self._text_ends is not None:
                del self._text_ends[ends:]
            raise
        place = len(self._places)
        self._places[intern(id)] = place
        if source not in self._numbers_of_names:
            self._numbers_of_names[source] = len(self._names)
            self._names.append(source)
        self._sources.append(self._numbers_of_names[source])
        self._first_answer.append(len(self._sampled))
        self._first_span.append(len(self._spans) // 2)
        if why := row.get("unscored"):
            self._unscored[place] = why

    def _add_answers(self, answers: Any) -> None:
        for answer in answers:
            kl = answer.get("reverse_kl")
            if not answer.keys() >= _KEYS or len(answer) != len(_KEYS) + ("reverse_kl" in answer):
                raise KeyError(", ".join(sorted(_KEYS ^ (answer.keys() - {"reverse_kl"}))))
            start, end = answer["span"] or (_NAN, _NAN)
            numbers = (start, end, answer["iou"], answer["logprob"], _NAN if kl is None else kl)
            if not math.isfinite(numbers[2] + numbers[3] + (kl or 0.0)):
                raise ValueError("an IoU or a log-prob that is not a number")
            if answer["num_tokens"] < 1:
                raise ValueError("an id that is no text, or an answer without tokens")
            self._numbers.extend(numbers)
            self._num_tokens.append(answer["num_tokens"])
            self._sampled.append(bool(answer["sampled"]))
            if self._text_ends is not None:
                self._texts += answer["text"].encode("utf-8", "surrogatepass")
                self._text_ends.append(len(self._texts))

    def __getitem__(self, id: str) -> ScoredExample:
        place = self._places[id]
        answers = map(self._make_answer, range(self._first_answer[place], self._first_answer[place + 1]))
        return self._make_example(id, tuple(answers))

    def _make_example(self, id: str, answers: tuple[ScoredAnswer, ...] = ()) -> ScoredExample:
        place = self._places[id]
        spans = self._spans[2 * self._first_span[place] : 2 * self._first_span[place + 1]]
        duration = self._durations[place]
        return ScoredExample(
            id=id,
            spans=tuple(map(Span, spans[::2], spans[1::2])),
            duration=None if math.isnan(duration) else duration,
            source=self._names[self._sources[place]],
            answers=answers,
            unscored=self._unscored.get(place, ""),
        )

    def _make_answer(self, number: int) -> ScoredAnswer:
        start, end, iou, logprob, kl = self._numbers[_NUMBERS * number : _NUMBERS * (number + 1)]
        text = ""
        if self._text_ends is not None:
            text = self._texts[self._text_ends[number] : self._text_ends[number + 1]].decode("utf-8", "surrogatepass")
        return ScoredAnswer(
            text=text,
            span=None if math.isnan(start) else Span(start, end),
            iou=iou,
            logprob=logprob,
            num_tokens=self._num_tokens[number],
            sampled=bool(self._sampled[number]),
            reverse_kl=None if math.isnan(kl) else kl,
        )

    def __contains__(self, id: object) -> bool:
        return id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def is_scored(self, id: str) -> bool:
        """Whether the example is there and has answers."""
        place = self._places.get(id)
        return place is not None and self._first_answer[place] < self._first_answer[place + 1]

    def iterate_draws(self, ids: Iterable[str]) -> Iterator[Draws]:
        """The IoUs of the sampled answers of some examples, faster than by the examples themselves.

        Args:
            ids: those of examples that are there.
        """
        for id in ids:
            place = self._places[id]
            first, last = self._first_answer[place], self._first_answer[place + 1]
            ious = self._numbers[_NUMBERS * first + 2 : _NUMBERS * last : _NUMBERS]
            yield Draws(list(compress(ious, self._sampled[first:last])), last - first)

    def iterate_annotations(self, ids: Iterable[str]) -> Iterator[ScoredExample]:
        """Some examples without their answers.

        Args:
            ids: those of examples that are there.
        """
        return map(self._make_example, ids)

    def compute_mean_ious(self) -> dict[str, float]:
        """Of the scored examples; see `ScoredExample.mean_iou`."""
        ious = self._numbers[2::_NUMBERS]
        bounds = pairwise(self._first_answer)
        return {
            id: math.fsum(ious[first:last]) / (last - first)
            for id, (first, last) in zip(self._places, bounds, strict=True)
            if first < last
        }

    def drop_answers(self, lost: Mapping[str, str]) -> PackedRows:
        """The same rows, some of them without their answers.

        Args:
            lost: by id: why.
        """
        rows = PackedRows(keep_texts=self._text_ends is not None)
        for id, row in self.items():
            rows.add(replace(row, answers=(), unscored=lost[id]) if id in lost else row)
        return rows


class ScoredRows(Mapping[str, ScoredExample]):
    """Those of packed rows that have answers."""

    def __init__(self, rows: PackedRows) -> None:
        self._rows = rows

    def __getitem__(self, id: str) -> ScoredExample:
        if id not in self:
            raise KeyError(id)
        return self._rows[id]

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self._rows.is_scored(id)

    def __iter__(self) -> Iterator[str]:
        return filter(self._rows.is_scored, self._rows)

    def __len__(self) -> int:
        return sum(1 for _ in self)
