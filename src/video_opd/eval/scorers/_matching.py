"""Whose answer is it: the rows of a result file find their examples, by id or by video, query and span."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from video_opd.data.query_words import timelens as clean_query
from video_opd.errors import DataError
from video_opd.eval.scorers import RESULT_FORMATS
from video_opd.eval.scorers._answers_by_key import find_by_words, is_same_span, is_within
from video_opd.eval.scorers._example_finder import ExampleFinder
from video_opd.eval.scorers._keys import SEPARATOR
from video_opd.eval.scorers._packed_answers import PackedAnswers
from video_opd.eval.scorers._result_files import find_format, read_results, read_rows
from video_opd.eval.scorers._result_rows import ResultRow
from video_opd.eval.scorers._scorer_types import Answers, GroundTruth, ResultAnswer
from video_opd.files.records import json_any
from video_opd.grounding.packed_examples import PackedExamples
from video_opd.grounding.predictions import AnswerReader
from video_opd.grounding.time_units import (
    Unit,
    UnitEvidence,
    find_bare_spans,
    find_likely_unit,
    likely_unit,
    read_spans_without_units,
    seconds_per_unit,
)
from video_opd.types import Example, Span


def read_matched(
    path: Path,
    truth: GroundTruth,
    format: str | None = None,
    *,
    unit: Unit | None = None,
    fps: float | None = None,
) -> Answers:
    """Read a result file and match it to annotations. Of two rows for one query the last counts.

    A key matches whatever the case of its query. Where its span is not the annotated one, video and query decide if no
    other row and no other example has them. A format
    says in `matched_by` how rows without a key are found.

    Args:
        unit: of the predicted times; None: that of the format, most often seconds.
        fps: of frames.

    Raises:
        DataError: as `read_results`; or an id of the file is that of several examples, or of one about another video;
            or the unit needs a duration that the annotations do not have.
    """
    found = find_format(path, format)
    if found == "ours":
        return _convert_to_seconds(_match_ids(path, truth), truth, unit or "seconds", fps)
    rows = read_rows(path, found)
    answers = _match_rows(path, truth, found, rows)
    format_found = RESULT_FORMATS[found]
    if format_found.others and (others := sum(1 for _ in json_any(path)) - len(rows)):
        told = f"{others} {format_found.others}: skipped."
        answers = replace(answers, notes=(*answers.notes, told))
    return _convert_to_seconds(answers, truth, unit or RESULT_FORMATS[found].own_unit, fps)


def read_with_truth(
    path: Path, format: str | None = None, *, unit: Unit | None = None, fps: float | None = None
) -> tuple[GroundTruth, Answers]:
    """Read a result file that carries its annotations, in its keys or rows.

    Args:
        path: the file.
        format: key of `RESULT_FORMATS`; None: told by the first record.
        unit: of the predicted times; None: that of the format, most often seconds.
        fps: of frames.

    Raises:
        DataError: as `read_matched`; or its format carries none, or one of its rows.
    """
    found, rows = read_results(path, format)
    if not any(row.truth for row in rows):
        raise DataError(
            f"{path}: predictions in the format {found}",
            reason="the file does not contain the annotations",
            remedy="give the annotations with --ground-truth",
        )
    examples: dict[str, Example] = {}
    by_id: dict[str, list[ResultAnswer]] = {}
    last: Counter[str] = Counter()  # so that a thousand of one name are not all tried again
    for row in rows:
        if not row.truth:
            raise DataError(
                f"{path}: the row {row.written[:80]!r}",
                reason="it has no annotated span, as other rows of the file do",
                remedy="give the annotations with --ground-truth, or correct the row",
            )
        id_ = row.written
        if not row.own_ids:  # a video and a query, which may come again with another span
            while id_ in examples:
                last[row.written] += 1
                id_ = f"{row.written}#{last[row.written] + 1}"
        key = row.key
        video, query = (key.video, key.query) if key else (row.video or row.written, row.query or row.written)
        examples[id_] = Example(id=id_, video=video, query=query, spans=row.truth, duration=row.duration)
        by_id.setdefault(id_, []).append(row.answer)
    notes = ["The annotations are those of the file itself: queries without a row in it are not known."]
    if repeated := sum(len(given) - 1 for given in by_id.values()):
        notes.append(_describe_collapsed(repeated))
    truth = GroundTruth(examples=tuple(examples.values()))
    answers = Answers(
        file=str(path),
        format=found,
        num_rows=len(rows),
        by_id={id_: given[-1] for id_, given in by_id.items()},
        repeated={id_: tuple(given) for id_, given in by_id.items() if len(given) > 1},
        notes=tuple(notes),
    )
    return truth, _convert_to_seconds(answers, truth, unit or RESULT_FORMATS[found].own_unit, fps)


def find_unit_evidence(truth: GroundTruth, answers: Answers, *, heeds_units: bool = True) -> UnitEvidence | None:
    """Whether the answers are very likely in another unit than they are taken for.

    Args:
        heeds_units: whether the scorer's parser does, `Convention.is_unit_aware`; one that does not takes milliseconds
            for seconds also where the text says what they are.
    """
    if heeds_units and isinstance(answers.by_id, PackedAnswers):
        return find_likely_unit(answers.by_id.find_first_bare_spans(), answers.by_id.examples)
    read = find_bare_spans if heeds_units else read_spans_without_units
    first: dict[str, Span] = {}
    for id_, answer in answers.by_id.items():
        spans = answer.spans if answer.text is None else answer.scale_spans(read(answer.text))
        if spans:
            first[id_] = spans[0]
    return likely_unit(first, truth.examples)


def _convert_to_seconds(answers: Answers, truth: GroundTruth, unit: Unit, fps: float | None) -> Answers:
    if unit == "seconds":
        return answers
    factors: dict[str, float] = {}
    for example in truth.examples:
        if example.id in answers.by_id:
            by = seconds_per_unit(unit, example.duration, fps)
            if by is None:
                raise DataError(
                    f"{answers.file}: times in {unit}, and {example.id} has no duration",
                    reason="they are shares of the video's length, which is unknown",
                    remedy="give annotations with durations",
                )
            factors[example.id] = by

    def convert(id_: str, answer: ResultAnswer) -> ResultAnswer:
        return answer.convert_to_seconds(unit, factors[id_])

    at = f" at {fps:g} a second" if fps else ""
    return replace(
        answers,
        by_id={id_: convert(id_, answer) for id_, answer in answers.by_id.items()},
        repeated={id_: tuple(convert(id_, answer) for answer in given) for id_, given in answers.repeated.items()},
        notes=(*answers.notes, f"The predicted times are taken as {unit}{at} and made seconds."),
    )


def _describe_collapsed(count: int) -> str:
    return (
        f"{count} rows of the file are for a query that another row is for: the last one counts, unless "
        "the scorer says otherwise."
    )


def _match_ids(path: Path, truth: GroundTruth) -> Answers:
    """Match a file of our own format, whose rows name their examples by the very id, while it is read."""
    reader, examples = AnswerReader(path), PackedExamples.of(truth.examples)
    answers, unknown = PackedAnswers(examples), dict[str, int]()
    for line, id_, answer in reader:
        place = examples.places.get(id_)
        first = unknown.get(id_) if place is None else answers.find_line(place)
        if first is not None:
            reader.refuse_repeated(line, id_, first)
        if place is None:
            unknown[id_] = line
        else:
            answers.add(place, line, answer)
    num_rows = len(answers) + len(unknown)
    return Answers(
        file=str(path),
        format="ours",
        num_rows=num_rows,
        by_id=answers,
        unknown=tuple(map(_printable, unknown)),
        notes=tuple(_note_unknown(len(unknown), num_rows)),
    )


def _note_unknown(num_unknown: int, num_rows: int) -> list[str]:
    if num_unknown * 2 <= num_rows:
        return []
    return [
        f"{num_unknown} of {num_rows} rows are about no annotated query and count nowhere: give the annotations "
        "that the predictions were made for, or were videos renamed or queries rewritten on import?"
    ]


def _match_rows(path: Path, truth: GroundTruth, found: str, rows: Sequence[ResultRow]) -> Answers:
    finder = ExampleFinder(path, truth)
    matched_by = RESULT_FORMATS[found].matched_by
    if matched_by == "words":
        ids_of_rows, num_moved = find_by_words(rows, truth), 0
    else:
        ids_of_rows, num_moved = finder.find_all(rows, whole=matched_by == "id")
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
        reason="none of them belongs to an annotated query",
        remedy="give the annotations that the predictions were made for",
    )


def _notes(
    rows: Sequence[ResultRow],
    ids_of_rows: Sequence[Sequence[str]],
    *,
    num_moved: int,
    num_collapsed: int,
    finder: ExampleFinder,
) -> list[str]:
    notes = []
    if num_collapsed:
        notes.append(_describe_collapsed(num_collapsed))
    if num_moved:
        notes.append(
            f"{num_moved} keys name another span than the manifest: matched by video and query; were spans clipped on "
            "import?"
        )
    if elsewhere := sum(
        row.key is None and bool(ids) and bool(row.truth) and not is_same_span(row.truth[0], finder.examples[ids[0]])
        for row, ids in zip(rows, ids_of_rows, strict=True)
    ):
        notes.append(f"{elsewhere} rows carry another annotated span than the ground truth given: that is what counts.")
    if reworded := sum(
        not is_within(row.query, finder.examples[ids[0]])
        and clean_query(row.query).casefold() != clean_query(finder.examples[ids[0]].query).casefold()
        for row, ids in zip(rows, ids_of_rows, strict=True)
        if ids and row.query is not None
    ):
        notes.append(f"{reworded} rows word their query otherwise than the annotations: matched by id and video.")
    notes += _note_unknown(sum(not ids for ids in ids_of_rows), len(rows))
    if split := sum(row.key is not None and row.written.count(SEPARATOR) > 2 for row in rows):
        notes.append(
            f"{split} keys have a `{SEPARATOR}` within the query: the official scorer crashes here; they are cut at "
            "the first and the last."
        )
    return notes


def _printable(text: str) -> str:
    """Without halves of surrogate pairs, which a terminal cannot show."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
