"""Finds examples by what files of results call them: an id, the end of one, or a key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from video_opd.data.query_words import normalise
from video_opd.data.query_words import timelens as clean_query
from video_opd.data.video.video_names import video_name
from video_opd.errors import DataError
from video_opd.eval.scorers._keys import SEPARATOR, QueryKey, key_of_example
from video_opd.eval.scorers._result_rows import ResultRow
from video_opd.eval.scorers._scorer_types import GroundTruth
from video_opd.types import Example


def list_names_in_result_files(example: Example) -> set[str]:
    """What a file may call an example instead of its id: the end of that (`2579` of `qvhighlights/VID/2579`, `VID/6` of
    `nextgqa/VID/6`, `tvg/qvhighlights/0` of `et-bench/tvg/qvhighlights/0`), or video and query."""
    parts = example.id.split("/")
    asked = SEPARATOR.join((video_name(example.video), clean_query(example.query).casefold()))
    return {"/".join(parts[-count:]) for count in (1, 2, 3)} | {asked}


class ExampleFinder:
    """Looks up examples by what files of results call them."""

    def __init__(self, path: Path, truth: GroundTruth) -> None:
        self.path = path
        self.examples: dict[str, Example] = {example.id: example for example in truth.examples}
        self.by_end: dict[str, list[str]] = {}
        self.by_key: dict[QueryKey, list[str]] = {}
        self.by_question: dict[tuple[str, str], list[str]] = {}
        for example in truth.examples:
            key = key_of_example(example)
            for name in list_names_in_result_files(example):
                self.by_end.setdefault(name, []).append(example.id)
            self.by_key.setdefault(key, []).append(example.id)
            self.by_question.setdefault(key.question, []).append(example.id)

    def find_all(self, rows: Sequence[ResultRow], *, whole: bool) -> tuple[list[list[str]], int]:
        """Ids of the examples that each row answers, and how many rows were matched without their span.

        Several ids where the annotations hold the same query twice.
        """
        found = [self._find_by_key(row.key) if row.key else self._find_by_id(row, whole=whole) for row in rows]
        askers = Counter(key.question for key in {row.key for row in rows if row.key})
        num_moved = 0
        for place, row in enumerate(rows):
            if row.key and not found[place] and askers[row.key.question] == 1:
                ids = self.by_question.get(row.key.question, [])
                if len(ids) == 1:
                    found[place] = ids
                    num_moved += 1
        return found, num_moved

    def _find_by_key(self, key: QueryKey) -> list[str]:
        """With the query as it is written, else in any case."""
        return self.by_key.get(key) or [
            id_ for id_ in self.by_question.get(key.question, []) if self.examples[id_].spans[0] == key.span
        ]

    def _find_by_id(self, row: ResultRow, *, whole: bool) -> list[str]:
        exact = [row.written] if row.written in self.examples else []
        if whole:
            return exact
        ids = exact or self.by_end.get(row.written, [])
        if len(ids) > 1 and row.video is not None:
            ids = [id_ for id_ in ids if video_name(self.examples[id_].video) == video_name(row.video)] or ids
        if len(ids) > 1 and row.query is not None:
            ids = [id_ for id_ in ids if normalise(self.examples[id_].query) == normalise(row.query)] or ids
        if len(ids) > 1:
            raise DataError(
                f"{self.path}, query {row.written!r}",
                reason=f"the annotations have it {len(ids)} times, as {ids[0]} and {ids[1]}",
                remedy="give a manifest of this data set only",
            )
        if ids and row.video is not None:
            annotated = video_name(self.examples[ids[0]].video)
            if video_name(row.video) != annotated:
                raise DataError(
                    f"{self.path}: query id {row.written} is about video {row.video} in the file and {annotated} in "
                    "the annotations",
                    reason="the answers belong to the queries of another file",
                    remedy="give the annotations that the predictions were made for",
                )
        return ids
