"""How examples flow through a curriculum: by both models, with the reasons, and from the pool to the update."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pages import text_of
from test_curriculum_report import counted, page_of, run, selection, write_lines, write_round

__all__ = ["run"]


def test_the_teacher_stands_against_the_student(run: Path) -> None:
    page = page_of(run)
    (image,) = re.findall(r'aria-label="Teacher’s IoU against the student’s, round 1">(.*?)</svg>', page)
    circles = re.findall(r'<circle class="(\w+)" .*? r="([\d.]+)"><title>(.*?)</title>', image)
    assert [(style, told) for style, _, told in circles] == [
        ("pool", "teacher 0.825, student 0.625: 0 of 3 kept"),
        ("pool", "teacher 0.925, student 0.225: 1 of 1 kept"),
        ("pool", "teacher 0.975, student 0.025: 1 of 1 kept"),
        ("kept", "teacher 0.925, student 0.225: 1 of 1 kept"),
        ("kept", "teacher 0.975, student 0.025: 1 of 1 kept"),
    ]
    three, one = float(circles[0][1]), float(circles[1][1])
    assert abs((three / one) ** 2 - 3) < 0.15, "areas are proportional to the counts"
    assert "Kept: 2 of the 5 that both models were asked about." in text_of(page)


def test_reasons_are_counted_without_the_numbers_of_the_one(run: Path) -> None:
    rows = [row | {"why": f"the teacher's IoU 0.{row['id'][1]}00 is below 0.7"} if row["id"][0] == "d" else row
            for row in selection()]  # fmt: skip
    write_lines(run / "rounds" / "2" / "selection.jsonl", rows)
    text = text_of(page_of(run))
    assert "Why examples were not kept round 1 round 2" in text
    assert "the teacher&#39;s IoU is below 0.7 – 2" in text
    assert "not scored 3 3" in text
    assert "of 2 chosen" not in text, "of those that were kept nothing is said here"


def test_many_reasons_are_summed_up(run: Path) -> None:
    rows: list[dict[str, Any]] = [{"id": str(n), "kept": False, "why": f"reason {n % 12}"} for n in range(36)]
    for number in ("1", "2"):
        write_lines(run / "rounds" / number / "selection.jsonl", rows)
    text = text_of(page_of(run))
    assert "reason 7 3 3 other reasons 12 12" in text


def test_the_flow_goes_from_the_pool_to_the_update(run: Path) -> None:
    assert "From the pool to the update" not in page_of(run)
    write_lines(run / "metrics.jsonl", [counted(step, 3, 5, 1) for step in range(1, 11)])
    assert "From the pool to the update" not in page_of(run), "this curriculum tells no kinds apart"
    write_round(run, 1, kinds={"anchor": 1, "frontier": 1})
    text = text_of(page_of(run))
    for row in (
        "In the pool 10 examples The teacher is right 5 examples Kept as anchor 1 example Kept as frontier 1 example",
        "Asked in training 80 times Suspended: already right 50 times Trained on 30 times",
        "of these after a suspension 10 times",
    ):
        assert row in text
