"""Whose answer is it: the rows of a result file find their examples, by id or by video, query and span."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from video_opd.data.queries import timelens as clean_query
from video_opd.data.video_names import video_name
from video_opd.errors import DataError
from video_opd.evaluation.official.keys import SEPARATOR, QueryKey, key_of_example
from video_opd.evaluation.official.nouns import Answers, Format, GroundTruth, ResultAnswer
from video_opd.evaluation.official.result_files import ResultRow, read_results
from video_opd.vocabulary import Example


def read_matched(path: Path, truth: GroundTruth, format: Format | None = None) -> Answers:
    """Read a result file and match it to annotations. Of two rows for one query the last counts.

    A key matches whatever the case of its query. Where its span is not the annotated one, video and query decide if no
    other row and no other example has them.

    Raises:
        DataError: as `read_results`; or an id of the file is that of several examples, or of one about another video.
    """
    found, rows = read_results(path, format)
    finder = _Finder(path, truth)
    ids_of_rows, num_moved = finder.find_all(rows, whole=found == "ours")
    by_id: dict[str, ResultAnswer] = {}
    unknown: dict[str, None] = {}
    all_of: dict[str, list[ResultAnswer]] = {}
    num_collapsed = 0
    for row, ids in zip(rows, ids_of_rows, strict=True):
        if not ids:
            unknown[row.written] = None
        num_collapsed += bool(ids) and ids[0] in all_of
        for id_ in ids:
            all_of.setdefault(id_, []).append(row.answer)
            by_id[id_] = row.answer
    return Answers(
        file=str(path),
        format=found,
        num_rows=len(rows),
        by_id=by_id,
        repeated={id_: tuple(given) for id_, given in all_of.items() if len(given) > 1},
        unknown=tuple(map(_printable, unknown)),
        notes=tuple(_notes(rows, ids_of_rows, num_moved=num_moved, num_collapsed=num_collapsed, finder=finder)),
    )


def require_matched(answers: Answers) -> None:
    """Refuse a file that has nothing to do with the annotations.

    Raises:
        DataError: no answer is about an annotated query.
    """
    if answers.by_id:
        return
    such = f", such as {answers.unknown[0][:80]!r}" if answers.unknown else ""
    raise DataError(
        f"{answers.file}: {answers.num_rows} predictions{such}",
        reason="none of them is about an annotated query",
        remedy="give the annotations that the predictions were made for",
    )


def _notes(
    rows: Sequence[ResultRow],
    ids_of_rows: Sequence[Sequence[str]],
    *,
    num_moved: int,
    num_collapsed: int,
    finder: _Finder,
) -> list[str]:
    notes = []
    if num_collapsed:
        notes.append(
            f"{num_collapsed} rows of the file are for a query that another row is for: the last one counts, unless "
            "the scorer says otherwise."
        )
    if num_moved:
        notes.append(
            f"{num_moved} keys name another span than the manifest: matched by video and query; were spans clipped on "
            "import?"
        )
    if reworded := sum(
        clean_query(row.query).casefold() != clean_query(finder.examples[ids[0]].query).casefold()
        for row, ids in zip(rows, ids_of_rows, strict=True)
        if ids and row.query is not None
    ):
        notes.append(f"{reworded} rows word their query otherwise than the annotations: matched by id and video.")
    num_unknown = sum(not ids for ids in ids_of_rows)
    if num_unknown * 2 > len(rows):
        notes.append(
            f"{num_unknown} of {len(rows)} rows are about no annotated query and count nowhere: give the annotations "
            "that the predictions were made for, or were videos renamed or queries rewritten on import?"
        )
    if split := sum(row.key is not None and row.written.count(SEPARATOR) > 2 for row in rows):
        notes.append(
            f"{split} keys have a `{SEPARATOR}` within the query: the official scorer crashes here; they are cut at "
            "the first and the last."
        )
    return notes


def names_in_result_files(example: Example) -> set[str]:
    """What a file may call an example instead of its id: the end of that (`2579` of `qvhighlights/VID/2579`, `VID/6` of
    `nextgqa/VID/6`, `tvg/qvhighlights/0` of `et-bench/tvg/qvhighlights/0`), or video and query."""
    parts = example.id.split("/")
    asked = SEPARATOR.join((video_name(example.video), clean_query(example.query).casefold()))
    return {"/".join(parts[-count:]) for count in (1, 2, 3)} | {asked}


class _Finder:
    """Looks up examples by what files of results call them."""

    def __init__(self, path: Path, truth: GroundTruth) -> None:
        self.path = path
        self.examples: dict[str, Example] = {example.id: example for example in truth.examples}
        self.by_end: dict[str, list[str]] = {}
        self.by_key: dict[QueryKey, list[str]] = {}
        self.by_question: dict[tuple[str, str], list[str]] = {}
        for example in truth.examples:
            key = key_of_example(example)
            for name in names_in_result_files(example):
                self.by_end.setdefault(name, []).append(example.id)
            self.by_key.setdefault(key, []).append(example.id)
            self.by_question.setdefault(key.question, []).append(example.id)

    def find_all(self, rows: Sequence[ResultRow], *, whole: bool) -> tuple[list[list[str]], int]:
        """Ids of the examples that each row answers, and how many rows were matched without their span.

        Several ids where the annotations hold the same query twice.
        """
        found = [self._by_key(row.key) if row.key else self._by_id(row, whole=whole) for row in rows]
        askers = Counter(key.question for key in {row.key for row in rows if row.key})
        num_moved = 0
        for place, row in enumerate(rows):
            if row.key and not found[place] and askers[row.key.question] == 1:
                ids = self.by_question.get(row.key.question, [])
                if len(ids) == 1:
                    found[place] = ids
                    num_moved += 1
        return found, num_moved

    def _by_key(self, key: QueryKey) -> list[str]:
        """With the query as it is written, else in any case."""
        return self.by_key.get(key) or [
            id_ for id_ in self.by_question.get(key.question, []) if self.examples[id_].spans[0] == key.span
        ]

    def _by_id(self, row: ResultRow, *, whole: bool) -> list[str]:
        exact = [row.written] if row.written in self.examples else []
        if whole:
            return exact
        ids = exact or self.by_end.get(row.written, [])
        if len(ids) > 1:
            raise DataError(
                f"{self.path}, query {row.written!r}",
                reason=f"the annotations have it {len(ids)} times, as {ids[0]} and {ids[1]}",
                remedy="give a manifest of this data set alone",
            )
        if ids and row.video is not None:
            annotated = video_name(self.examples[ids[0]].video)
            if video_name(row.video) != annotated:
                raise DataError(
                    f"{self.path}: query id {row.written} is about video {row.video} in the file and {annotated} in "
                    "the annotations",
                    reason="the answers are to the queries of another file",
                    remedy="give the annotations that the predictions were made for",
                )
        return ids


def _printable(text: str) -> str:
    """Without halves of surrogate pairs, which a terminal cannot show."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
