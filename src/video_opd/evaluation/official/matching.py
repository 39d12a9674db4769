"""Whose answer is it: the rows of a result file find their examples, by id or by video, query and span."""

from __future__ import annotations

from pathlib import Path

from video_opd.errors import DataError
from video_opd.evaluation.official.keys import SEPARATOR, QueryKey, key_of_example
from video_opd.evaluation.official.nouns import Answers, Format, GroundTruth, ResultAnswer
from video_opd.evaluation.official.result_files import ResultRow, read_results


def read_matched(path: Path, truth: GroundTruth, format: Format | None = None) -> Answers:
    """Read a result file and match it to annotations. Of two rows for one query the last counts.

    Raises:
        DataError: as `read_results`; or an id of the file is that of several examples.
    """
    found, rows = read_results(path, format)
    finder = _Finder(path, truth)
    by_id: dict[str, ResultAnswer] = {}
    unknown: dict[str, None] = {}
    seen: set[str] = set()
    num_collapsed = 0
    for row in rows:
        ids = finder.find(row, whole=found == "ours")
        if not ids:
            unknown[row.written] = None
        num_collapsed += bool(ids) and ids[0] in seen
        for id_ in ids:
            seen.add(id_)
            by_id[id_] = row.answer
    notes = []
    if num_collapsed:
        notes.append(f"{num_collapsed} rows of the file are for a query that another row is for: the last one counts.")
    split = sum(row.key is not None and row.written.count(SEPARATOR) > 2 for row in rows)
    if split:
        notes.append(
            f"{split} keys have a `{SEPARATOR}` within the query: the official scorer crashes here; they are cut at "
            "the first and the last."
        )
    return Answers(
        file=str(path),
        format=found,
        num_rows=len(rows),
        by_id=by_id,
        unknown=tuple(map(_printable, unknown)),
        notes=tuple(notes),
    )


class _Finder:
    """Looks up examples by what files of results call them."""

    def __init__(self, path: Path, truth: GroundTruth) -> None:
        self.path = path
        self.ids = {example.id for example in truth.examples}
        self.by_end: dict[str, list[str]] = {}
        self.by_key: dict[QueryKey, list[str]] = {}
        for example in truth.examples:
            self.by_end.setdefault(example.id.rpartition("/")[2], []).append(example.id)
            self.by_key.setdefault(key_of_example(example), []).append(example.id)

    def find(self, row: ResultRow, *, whole: bool) -> list[str]:
        """Ids of the examples that a row answers; several where the annotations hold the same query twice."""
        if row.key is not None:
            return self.by_key.get(row.key, [])
        if whole:
            return [row.written] if row.written in self.ids else []
        ids = self.by_end.get(row.written, [])
        if len(ids) > 1:
            raise DataError(
                f"{self.path}, query {row.written!r}",
                reason=f"the annotations have it {len(ids)} times, as {ids[0]} and {ids[1]}",
                remedy="give a manifest of this data set alone",
            )
        return ids


def _printable(text: str) -> str:
    """Without halves of surrogate pairs, which a terminal cannot show."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
