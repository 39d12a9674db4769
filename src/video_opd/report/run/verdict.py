"""What the numbers say, in a sentence, a few remarks and a table."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from video_opd.files.run_records import EvaluationReport
from video_opd.report.html_tables import Cell, Row, Table
from video_opd.report.run.run_contents import RunContents
from video_opd.sample_size import count_of, describe_shortage

_GIB = 1024**3
METRICS = {
    "miou": "mIoU",
    "r1@0.3": "R1@0.3",
    "r1@0.5": "R1@0.5",
    "r1@0.7": "R1@0.7",
    "output_format_rate": "output format rate",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The scores of all models on one set of queries: that of the student's newest evaluation."""

    before: EvaluationReport | None = None
    """The student before its first step."""
    after: EvaluationReport | None = None
    """The student at the end, or at its newest evaluation."""
    teachers: tuple[EvaluationReport, ...] = ()
    """One, `teacher`, or several, `teacher-1`, `teacher-2` …"""
    curve: tuple[EvaluationReport, ...] = ()
    """The student's by step, one a step, on whichever set of queries was asked most often while training."""

    @classmethod
    def sort_evaluations(cls, evaluations: list[EvaluationReport]) -> Self:
        """Sort evaluations into their parts. Those on other queries are not comparable, and left out."""
        named = {evaluation.name: evaluation for evaluation in evaluations}
        students = [
            evaluation for evaluation in evaluations if not _is_teacher(evaluation) and evaluation.step is not None
        ]
        teachers = sorted(filter(_is_teacher, evaluations), key=lambda found: (len(found.name), found.name))
        newest = named.get("student-after") or max(students, key=lambda student: student.step or 0, default=None)
        if newest is None:
            return cls(teachers=tuple(teachers))
        comparable = [
            found for found in evaluations if (found.split, found.num_queries) == (newest.split, newest.num_queries)
        ]
        curve = _choose_longest_curve(students)
        at_start = named.get("student-before") or next((s for s in comparable if s in students and s.step == 0), None)
        return cls(
            before=at_start if at_start in comparable else None,
            after=newest if newest is not at_start else None,
            teachers=tuple(teacher for teacher in teachers if teacher in comparable),
            curve=curve,
        )

    @property
    def is_curve_comparable(self) -> bool:
        """Whether the curve is on the queries of before, after and teacher."""
        return bool(self.curve) and all(
            _identify_queries(known) == _identify_queries(self.curve[-1]) for known in self.known
        )

    @property
    def teacher(self) -> EvaluationReport | None:
        """The best of them."""
        return max(self.teachers, key=lambda teacher: teacher.miou, default=None)

    @property
    def known(self) -> list[EvaluationReport]:
        """Whichever of before, after, teachers there are."""
        return [each for each in (self.before, self.after, *self.teachers) if each is not None]

    @property
    def floor(self) -> float | None:
        """mIoU of the best constant answer on these queries."""
        return next((found.constant_miou for found in self.known if found.constant_miou is not None), None)

    @property
    def convention(self) -> dict[str, str]:
        """How the numbers were computed."""
        return next((format_convention(found.convention) for found in self.known if found.convention), {})


def format_convention(convention: Mapping[str, object]) -> dict[str, str]:
    """A convention as it is shown."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in convention.items()}


def _is_teacher(evaluation: EvaluationReport) -> bool:
    return re.fullmatch(r"teacher(-[0-9]+)?", evaluation.name) is not None


def _identify_queries(evaluation: EvaluationReport) -> tuple[str | None, int | None]:
    return evaluation.split, evaluation.num_queries


def _choose_longest_curve(students: list[EvaluationReport]) -> tuple[EvaluationReport, ...]:
    """The evaluations of the set of queries that has most of them."""
    sets: dict[tuple[str | None, int | None], dict[int, EvaluationReport]] = {}
    # In the order of names, so that of one step student-… stands for validation-…, which is the same model.
    for student in reversed(students):
        sets.setdefault(_identify_queries(student), {})[student.step or 0] = student
    longest = max(sets.values(), key=len, default={})
    return tuple(longest[step] for step in sorted(longest))


def name_queries(evaluation: EvaluationReport, noun: str = "queries") -> str:
    """ "held-out queries", as far as the name of the split tells."""
    if not evaluation.split:
        return noun
    return f"{evaluation.split} {noun}" if evaluation.split.startswith(("train", "valid")) else f"held-out {noun}"


def measure_elapsed(contents: RunContents, until_step: float = math.inf) -> float:
    """Seconds of training, up to and with a step."""
    return max((seconds for step, seconds in contents.series("seconds") if step <= until_step), default=0.0)


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: 0.8 s, 11 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_memory(count: float | None) -> str:
    """Bytes as a person says them; nothing for 0, as which nothing measured is recorded."""
    if not count:
        return ""
    return f"{count / _GIB:.2f} GiB" if count >= _GIB else f"{count / 1024**2:.0f} MiB"


def write_headline(contents: RunContents, standing: Standing) -> str:
    """The run in one sentence."""
    before, after = standing.before, standing.after
    so_far = "no step has been taken yet"
    if contents.rows:
        so_far = f"{_format_steps(contents.rows[-1].step)} so far, in {format_duration(measure_elapsed(contents))}"
    if after is not None:
        step = after.step if after.step is not None else contents.rows[-1].step if contents.rows else 0
        taken = _format_steps(step) + (
            f" and {format_duration(measure_elapsed(contents, step))}" if contents.rows else ""
        )
        if before is not None:
            sentence = f"In {taken} the student {_write_change(before.miou, after.miou)} mIoU {_write_queries(after)}"
        else:
            sentence = f"After {taken} the student stands at {after.miou:.2f} mIoU {_write_queries(after)}"
    elif before is not None:
        sentence = f"Before training, the student stands at {before.miou:.2f} mIoU {_write_queries(before)}; {so_far}"
    else:
        opening = "" if contents.rows else "This run has only just begun: "
        return f"{opening}{so_far}, and nothing has been evaluated."
    return sentence + _write_teachers(standing.teachers) + "."


def _write_teachers(teachers: Sequence[EvaluationReport]) -> str:
    """Write the end of the headline: the scores of the teachers."""
    mious = [f"{teacher.miou:.2f}" for teacher in teachers]
    if not mious:
        return ""
    if len(mious) == 1:
        return f"; its teacher stands at {mious[0]}"
    if len(mious) == 2:
        return f"; its teachers stand at {mious[0]} and {mious[1]}"
    return f"; its {len(mious)} teachers stand between {min(mious)} and {max(mious)}"


def _format_steps(count: int) -> str:
    return f"{count:,} step" + ("" if count == 1 else "s")


def _write_change(before: float, after: float) -> str:
    old, new = f"{before:.2f}", f"{after:.2f}"
    if old == new:
        return f"stayed at {new}"
    return f"{'went' if after > before else 'fell'} from {old} to {new}"


def _write_queries(evaluation: EvaluationReport) -> str:
    if evaluation.num_queries is None:
        return f"on {name_queries(evaluation)}"
    one, many = (name_queries(evaluation, noun) for noun in ("query", "queries"))
    return f"on {count_of(evaluation.num_queries, one, many)}"


def write_remarks(contents: RunContents, standing: Standing) -> list[str]:
    """Write the remarks that qualify the headline."""
    newest = standing.after or standing.before
    if newest is not None and newest.is_small:
        one, many = (name_queries(newest, noun) for noun in ("query", "queries"))
        asked = "Whether the student improved" if standing.before and standing.after else "How good the student is"
        said = [describe_shortage(asked, newest.num_queries or 0, one, many)]
    else:
        said = [*_remark_on_gain(standing), *_remark_on_floor(standing)]
    broken = [row.step for row in contents.rows if row.is_broken]
    if broken:
        share = f"{len(broken)} of {len(contents.rows)} steps"
        said.append(f"The loss was not a finite number in {share}, first in step {broken[0]}.")
    return said + contents.notices


def _remark_on_gain(standing: Standing) -> list[str]:
    before, after, teacher = standing.before, standing.after, standing.teacher
    if before is None or after is None:
        return []
    said = []
    if teacher is not None and before.miou < min(teacher.miou, after.miou):
        closed = 100 * (after.miou - before.miou) / (teacher.miou - before.miou)
        best = "best " if len(standing.teachers) > 1 else ""
        said.append(f"It closed {closed:.0f} % of the distance to its {best}teacher.")
    interval, other = before.interval("miou"), after.interval("miou")
    if interval is not None and other is not None:
        (low, high), (other_low, other_high) = interval, other
        if before.miou == after.miou:
            pass  # the headline says so
        elif low <= other_high and other_low <= high:
            said.append(
                "The 95 % intervals before and after overlap, so the change may be chance: evaluate on more "
                "queries, or repeat the run with other seeds."
            )
        else:
            said.append("The 95 % intervals before and after do not overlap.")
    return said


def _remark_on_floor(standing: Standing) -> list[str]:
    after, floor = standing.after, standing.floor
    if after is None or floor is None or after.miou > floor:
        return []
    return [
        f"The student is no better than one constant answer to every query ({floor:.2f} mIoU): it may not use the "
        "videos at all."
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """The table of models and their scores."""

    table: Table
    num_queries: int | None
    has_intervals: bool
    is_small: bool
    """So few queries that the best constant answer is fitted to them."""


def build_score_table(standing: Standing) -> ScoreTable | None:
    """The floor, the student before and after, the teacher; None without an evaluation."""
    if not standing.known:
        return None
    keys = [key for key in METRICS if any(key in evaluation.scores for evaluation in standing.known)]
    asked = ["side questions"] if any(each.side_questions for each in standing.known) else []
    rows: list[Row] = []
    if standing.floor is not None:
        constants = [found.best_constant for found in standing.known if found.best_constant is not None]
        span = next((constant.span for constant in constants if constant.span is not None), None)
        note = f"always {span.start_s:g}–{span.end_s:g}\N{NO-BREAK SPACE}s" if span else "one span for all"
        cells = [Cell(f"{standing.floor:.3f}" if key == "miou" else "") for key in (*keys, *asked)]
        rows.append(Row("Best constant answer", cells, note=note))
    for who, evaluation in (
        ("Student before", standing.before),
        ("Student after", standing.after),
        *((teacher.name.capitalize().replace("-", " "), teacher) for teacher in standing.teachers),
    ):
        if evaluation is not None:
            note = "" if evaluation.step is None else f"step {evaluation.step}"
            cells = [build_score_cell(evaluation, key) for key in keys]
            rows.append(Row(who, cells + [_build_side_cell(evaluation) for _ in asked], note=note))
    return ScoreTable(
        table=Table(columns=[*(METRICS[key] for key in keys), *asked], rows=rows),
        num_queries=standing.known[0].num_queries,
        has_intervals=any(cell.notes for row in rows for cell in row.cells),
        is_small=standing.known[0].is_small,
    )


def _build_side_cell(evaluation: EvaluationReport) -> Cell:
    """The share of side questions answered right: what a model forgets shows there."""
    found = evaluation.side_questions
    if found is None:
        return Cell("")
    return Cell(f"{found.accuracy:.3f}", () if found.interval is None else (format_interval(found.interval),))


def build_score_cell(evaluation: EvaluationReport, key: str) -> Cell:
    """A score with its interval, as far as they are known."""
    value, interval = evaluation.scores.get(key), evaluation.interval(key)
    return Cell("" if value is None else f"{value:.3f}", () if interval is None else (format_interval(interval),))


def format_interval(interval: tuple[float, float]) -> str:
    """From where to where, as scores."""
    return f"{interval[0]:.3f}–{interval[1]:.3f}"
