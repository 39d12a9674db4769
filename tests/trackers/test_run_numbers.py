"""The numbers of a run folder: their names, their order, and what is new."""

from __future__ import annotations

import json

import pytest

from trackers.tracked_runs import add_evaluation, add_rows, make_run
from video_opd.errors import DataError
from video_opd.files.journal import truncate_journal
from video_opd.runs.directory import RunDirectory
from video_opd.trackers.run_numbers import RunNumbers

EVERYTHING = {"after_step": 0, "without": (), "is_ended": True}


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def read(numbers: RunNumbers, **how) -> list[str]:
    found = numbers.read_new(**{"after_step": 0, "without": (), "is_ended": False} | how)
    return [f"{each.step} {each.evaluation or 'row'}" for each in found]


def test_every_number_has_a_name_that_all_trackers_take(run):
    row = {"loss": None, "note": "text", "flag": True, "a": {"b c": {"d@1": 2}}, "list": [1], "step": 5}
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    found = RunNumbers(run=RunDirectory(run)).read_new(**EVERYTHING)
    numbers = {(each.step, each.evaluation): each.numbers for each in found}
    assert numbers[1, ""] == {"train/loss": 0.5, "train/seconds_by_phase/teacher_change": 1.0}
    assert numbers[2, "validation-000002"]["evaluation/validation/miou"] == 0.3
    assert numbers[5, "student-after"] == {
        "evaluation/student-after/miou": 0.4, "evaluation/student-after/r1_0.5": 1.0,
        "evaluation/student-after/num_queries": 4.0, "evaluation/student-after/side_questions": 0.5,
    }  # fmt: skip
    assert numbers[5, ""] == {"train/a/b_c/d_1": 2.0}


def test_they_come_in_the_order_of_steps_and_once(run):
    numbers = RunNumbers(run=RunDirectory(run))
    assert read(numbers) == [
        "0 student-before", "0 validation-000000", "1 row", "2 row", "2 validation-000002", "3 row", "4 row",
        "4 student-after",
    ]  # fmt: skip
    add_rows(run, 5, 6)
    known = ("student-before", "student-after", "validation-000000", "validation-000002")
    assert read(numbers, without=known) == ["5 row", "6 row"]


def test_an_evaluation_waits_for_the_rows_before_it(run):
    """It may have been written between the look at the journal and that at the evaluations."""
    add_evaluation(run, "validation-000006", 0.6)
    numbers = RunNumbers(run=RunDirectory(run))
    assert "6 validation-000006" not in read(numbers)
    add_rows(run, 5, 6)
    assert read(numbers, without=("student-before", "student-after", "validation-000000", "validation-000002")) == [
        "5 row", "6 row", "6 validation-000006"
    ]  # fmt: skip
    assert "6 validation-000006" in read(RunNumbers(run=RunDirectory(run)), is_ended=True)


def test_a_journal_that_was_written_anew_is_read_anew(run):
    numbers = RunNumbers(run=RunDirectory(run))
    read(numbers)
    truncate_journal(run / "metrics.jsonl", after_step=2)
    add_rows(run, 3, 4, 5)
    assert [each for each in read(numbers, after_step=2) if "row" in each] == ["3 row", "4 row", "5 row"]


def test_a_line_that_is_not_complete_waits(run):
    numbers = RunNumbers(run=RunDirectory(run))
    read(numbers)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"loss": 1, "st')
    assert "5 row" not in read(numbers)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('ep": 5}\n')
    assert "5 row" in read(numbers)


def test_damage_is_told(run):
    (run / "evaluation" / "validation-000002.json").write_text("{")
    (run / "evaluation" / "mine.json").write_text("not of a run")
    numbers = RunNumbers(run=RunDirectory(run))
    assert "2 validation-000002" not in read(numbers)
    assert [*numbers.unreadable] == ["validation-000002"]
    with (run / "metrics.jsonl").open("a") as file:
        file.write("broken\n")
    add_rows(run, 6)
    with pytest.raises(DataError, match="line 5 is broken"):
        read(numbers)
