"""Whose answer is it, in files of projects that number or name queries in their own way.

In this order: by video and query, where the row has them; by its id; by its number among the queries of its video; by
its number in the annotations, in the order of the manifest or with the queries of each video together, whichever agrees
with more rows. A number is believed only where the row's video or annotated span is that of the example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from video_opd.data.query_words import normalise
from video_opd.data.video.video_names import video_name
from video_opd.eval.scorers._result_rows import ResultRow
from video_opd.eval.scorers._scorer_types import GroundTruth
from video_opd.grounding import SpanLike
from video_opd.types import Example

_SAME_S = 0.051
"""Data sets are rounded to tenths on their way."""
_SHORTEST_QUERY = 4
"""Characters; a shorter one is found in any instruction."""
_AGREEING = 0.9
"""Share of rows that must bear out a numbering before rows that can say nothing are found by it."""


def find_by_words(rows: Sequence[ResultRow], truth: GroundTruth) -> list[list[str]]:
    """The ids of the examples that each row answers: one, or none."""
    finder = _KeyFinder(truth)
    found = [finder.find_by_query(row) or finder.find_by_id(row) or finder.find_by_place_in_video(row) for row in rows]
    left = [number for number, example in enumerate(found) if example is None and rows[number].place is not None]
    for number, example in zip(left, finder.find_by_place([rows[number] for number in left]), strict=True):
        found[number] = example
    return [[example.id] if example else [] for example in found]


def is_same_span(span: SpanLike, example: Example) -> bool:
    """Whether it is the example's first span, to a tenth of a second."""
    return all(abs(one - other) <= _SAME_S for one, other in zip(span, example.spans[0], strict=True))


def is_within(text: str, example: Example) -> bool:
    """Whether an instruction holds the example's query."""
    query = normalise(example.query)
    return len(query) >= _SHORTEST_QUERY and query in normalise(text)


class _KeyFinder:
    def __init__(self, truth: GroundTruth) -> None:
        self.examples = truth.examples
        self.of_id = {example.id: example for example in truth.examples}
        self.of_video: dict[str, list[Example]] = {}
        self.of_end: dict[str, list[Example]] = {}
        for example in truth.examples:
            self.of_video.setdefault(video_name(example.video), []).append(example)
            self.of_end.setdefault(example.id.rpartition("/")[2], []).append(example)
        self.asked: Counter[tuple[str, str]] = Counter()

    def find_by_query(self, row: ResultRow) -> Example | None:
        """Of several with the same words the one with the row's span, else the next in turn."""
        if row.video is None or row.query is None:
            return None
        of_video, query = self.of_video.get(video_name(row.video), []), normalise(row.query)
        found = [example for example in of_video if normalise(example.query) == query]
        if not found and (held := [example for example in of_video if is_within(row.query, example)]):
            longest = max(len(normalise(example.query)) for example in held)
            found = [example for example in held if len(normalise(example.query)) == longest]
        if len(found) > 1 and row.truth:
            found = [example for example in found if is_same_span(row.truth[0], example)] or found
        if not found:
            return None
        turn = self.asked[(found[0].id, query)]
        self.asked[(found[0].id, query)] += 1
        return found[turn % len(found)]

    def find_by_id(self, row: ResultRow) -> Example | None:
        if not row.own_ids:
            return None
        found = [self.of_id[row.written]] if row.written in self.of_id else self.of_end.get(row.written, [])
        found = [example for example in found if _is_consistent(row, example) is not False]
        return found[0] if len(found) == 1 else None

    def find_by_place_in_video(self, row: ResultRow) -> Example | None:
        if row.video is None or row.place_in_video is None:
            return None
        found = self.of_video.get(video_name(row.video), [])
        return found[row.place_in_video] if 0 <= row.place_in_video < len(found) else None

    def find_by_place(self, rows: Sequence[ResultRow]) -> list[Example | None]:
        together = [example for of_video in self.of_video.values() for example in of_video]
        best: list[Example | None] = [None] * len(rows)
        most = 0
        for order in (self.examples, together):
            at = [order[row.place] if row.place is not None and row.place < len(order) else None for row in rows]
            agree = [
                None if example is None else _is_consistent(row, example) for row, example in zip(rows, at, strict=True)
            ]
            told = sum(said is not None for said in agree)
            if (count := sum(said is True for said in agree)) > most:
                most = count
                sure = count >= _AGREEING * told
                best = [
                    example if said or (said is None and sure) else None
                    for example, said in zip(at, agree, strict=True)
                ]
        return best


def _is_consistent(row: ResultRow, example: Example) -> bool | None:
    """Whether what a row says beside its number is true of an example; None: it says nothing."""
    said = []
    if row.video is not None:
        said.append(video_name(row.video) == video_name(example.video))
    if row.truth:
        said.append(is_same_span(row.truth[0], example))
    return all(said) if said else None
