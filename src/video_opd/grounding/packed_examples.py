"""The rows of a manifest, packed: numbers in arrays, and an example is made when it is asked for.

A million examples as objects take 700 MB. Here one takes its id, its query and about 50 bytes, and what is counted or
compared over all rows is done on the arrays.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np

from video_opd.types import Example, Span


class NumberedTexts:
    """Texts of which many are equal, each with a number from 0."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._number_of: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of a text, a new one for a new text."""
        number = self._number_of.get(text)
        if number is None:
            number = self._number_of[text] = len(self.texts)
            self.texts.append(text)
        return number


class PackedExamples(Sequence[Example]):
    """Examples in their order. They are only ever added."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.videos, self.sources = NumberedTexts(), NumberedTexts()
        self._video_of, self._source_of = array("I"), array("I")
        self._queries, self._query_ends = bytearray(), array("Q", [0])
        self._spans, self._first_span, self._durations = array("d"), array("Q", [0]), array("d")
        self.odd: dict[int, tuple[Span | None, float | None]] = {}
        """Place of a row -> its clip and its frame rate, where it has one of them."""

    @classmethod
    def of(cls, examples: Iterable[Example]) -> PackedExamples:
        """The examples packed, if they are not yet."""
        if isinstance(examples, PackedExamples):
            return examples
        packed = cls()
        for example in examples:
            packed.add(example)
        return packed

    def add(self, example: Example) -> None:
        """Add an example behind the others."""
        if example.clip is not None or example.frame_rate is not None:
            self.odd[len(self.ids)] = example.clip, example.frame_rate
        self.ids.append(example.id)
        self._video_of.append(self.videos.number(example.video))
        self._source_of.append(self.sources.number(example.source))
        self._queries += example.query.encode("utf-8", "surrogatepass")
        self._query_ends.append(len(self._queries))
        for span in example.spans:
            self._spans.extend(span)
        self._first_span.append(len(self._spans) // 2)
        self._durations.append(math.nan if example.duration is None else example.duration)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        id = self.ids[place]  # refuses a place that there is not
        place %= len(self.ids)
        ends = self._spans[2 * self._first_span[place] : 2 * self._first_span[place + 1]]
        duration = self._durations[place]
        clip, frame_rate = self.odd.get(place, (None, None))
        return Example(
            id=id,
            video=self.videos.texts[self._video_of[place]],
            query=self.read_query(place),
            spans=tuple(map(Span, ends[::2], ends[1::2])),
            duration=None if math.isnan(duration) else duration,
            source=self.sources.texts[self._source_of[place]],
            clip=clip,
            frame_rate=frame_rate,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Example]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether another sequence has the same examples."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it grows

    def read_query(self, place: int) -> str:
        """The query of a row."""
        query = self._queries[self._query_ends[place] : self._query_ends[place + 1]]
        return query.decode("utf-8", "surrogatepass")

    @cached_property
    def places(self) -> dict[str, int]:
        """Id -> place of its row; ask for it when all are added. Of a repeated id it is the last."""
        return {id: place for place, id in enumerate(self.ids)}

    @property
    def durations_s(self) -> np.ndarray:
        """(N,) seconds; NaN: not known."""
        return np.asarray(self._durations, dtype=np.float64)

    @property
    def spans_s(self) -> np.ndarray:
        """(S, 2) all annotated spans, row after row."""
        return np.asarray(self._spans, dtype=np.float64).reshape(-1, 2)

    @property
    def first_spans(self) -> np.ndarray:
        """(N + 1,) where the spans of each row begin in `spans_s`; at the end, their number."""
        return np.asarray(self._first_span).astype(np.int64)

    @property
    def rows_of_spans(self) -> np.ndarray:
        """(S,) the place of the row of each span."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.first_spans))

    @property
    def videos_of_rows(self) -> np.ndarray:
        """(N,) the number of each row's video in `videos`."""
        return np.asarray(self._video_of)

    @property
    def sources_of_rows(self) -> np.ndarray:
        """(N,) the number of each row's source in `sources`."""
        return np.asarray(self._source_of)


def reduce_rows(of_spans: np.ndarray, first_spans: np.ndarray, empty: float) -> np.ndarray:
    """The largest value among the spans of each row.

    Args:
        of_spans: (S,) a value of each span.
        first_spans: (N + 1,) where the spans of each row begin.
        empty: the value of a row without spans.

    Returns:
        (N,) values.
    """
    largest = np.full(len(first_spans) - 1, empty, dtype=np.float64)
    filled = np.flatnonzero(np.diff(first_spans))
    if filled.size:
        largest[filled] = np.maximum.reduceat(of_spans, first_spans[filled])
    return largest
