"""`merge-scores`, `select`: choose the training examples by hand."""

from __future__ import annotations

import sys
from json import dumps
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from video_opd.cli.argument_types import Json, Whole
from video_opd.cli.asking import (
    require_writable,
)
from video_opd.cli.earlier_outputs import Kind
from video_opd.cli.path_roles import Reads, Writes
from video_opd.cli.record_flags import add_record_flags
from video_opd.curriculum.selection_rule import SelectionRule
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.terminal import show

if TYPE_CHECKING:
    pass


def merge_scores(scores: tuple[Reads, ...], /, *, out: Writes) -> int:
    """Merge all shards of one scoring into one file.

    Args:
        scores: all shards
        out: scores, JSON lines

    Example:
        video-opd merge-scores scores-0.jsonl scores-1.jsonl --out scores.jsonl
    """
    from video_opd.curriculum import read_scores, write_scores

    merged = read_scores(*scores)
    require_writable(out, Kind.SCORES)
    with explain_write_errors(out):
        write_scores(out, merged)
    show(f"{out}: {len(merged.rows)} examples", file=sys.stderr)
    return 0


Seed = Annotated[Whole, Parameter(help="seed for ties and random draws")]
Scores = Annotated[
    tuple[Reads, ...],
    Parameter(metavar="SCORES", help="file of scores, or all its shards"),
]


@add_record_flags
def select(
    *, teacher: Scores = (), student: Scores = (), rule: SelectionRule, seed: Seed = 0, out: Writes, json: Json = False
) -> int:
    """Choose what to train on from scores of teacher and student.

    Args:
        out: selection, JSON lines

    Example:
        video-opd select --teacher teacher.jsonl --student student.jsonl --strategy top-k --count 99 --out chosen.jsonl
    """
    from video_opd.curriculum import choose, read_scores, write_selection

    for asked, name, said in (
        (rule.is_teacher_asked, "teacher", teacher),
        (rule.is_student_asked, "student", student),
    ):
        if asked and not said:
            raise ConfigurationError(
                f"--strategy {rule.strategy} with --threshold {rule.threshold:g}",
                reason=f"it needs the {name}'s scores",
                remedy=f"give them with --{name}; `video-opd score` writes them"
                + ("" if name == "student" or rule.is_ranked_by_iou_gap else ", or give --threshold 0 for no filter"),
            )
    if not (teacher or student):
        raise ConfigurationError("no scores", reason="there is nothing to select from", remedy="give --teacher SCORES")
    of_teacher, of_student = (read_scores(*paths, keep_texts=False) if paths else None for paths in (teacher, student))
    choice = choose(of_teacher, of_student, rule, seed)
    require_writable(out, Kind.SELECTION)
    with explain_write_errors(out):
        write_selection(out, choice.selection)
    for warning in choice.warnings:
        show(f"video-opd: warning: {warning}", file=sys.stderr)
    if json:
        show(dumps({"out": str(out), **choice.facts, "warnings": choice.warnings}, indent=2))
    else:
        from video_opd.cli.result_tables import show_choice

        show_choice(choice, out)
    return 0
