"""A file of scores is of one model, one manifest and one way of asking; nothing in it is lost, doubled or guessed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from video_opd.curriculum import ScoredAnswer, ScoredExample, ScoreFile, ScoreHeader, read_scores, write_scores
from video_opd.curriculum.score_file import join_sha256, merge_teachers
from video_opd.curriculum.score_rows import make_row
from video_opd.errors import DataError
from video_opd.types import Span

HEADER = ScoreHeader(
    model="m", model_sha256="model", manifest_sha256="manifest", settings={"num_answers": 2, "seed": 0}, num_examples=5
)


def example(number: int, *ious: float, why: str = "") -> ScoredExample:
    return ScoredExample(
        id=f"e{number}", spans=(Span(1.0, 2.5),), duration=8.0, source="s", unscored=why,
        answers=tuple(
            ScoredAnswer(text=f"{iou} s", span=Span(1, 2) if iou else None, iou=iou, logprob=-0.5, num_tokens=3,
                         sampled=place > 0, reverse_kl=1.5 if place else None)
            for place, iou in enumerate(ious)
        ),
    )  # fmt: skip


ROWS = [example(0, 0.9, 0.8), example(1, 0.0, 0.1), example(2, why="no such file"), example(3, 1.0, 1.0), example(4, 0.5, 0.6)]  # fmt: skip  # noqa: E501


def put(path, rows=ROWS, header=HEADER, **more):
    lines = [header.to_row(), *(make_row(row, seconds=2.0, cpu_seconds=1.0) for row in rows)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_what_is_written_is_what_is_read(tmp_path):
    scores = read_scores(put(tmp_path / "a"))
    assert list(scores.rows.values()) == ROWS
    assert scores.header == HEADER
    assert scores.mean_iou() == pytest.approx({"e0": 0.85, "e1": 0.05, "e3": 1.0, "e4": 0.55})
    assert scores.list_unscored() == {"e2": "no such file"}
    assert (scores.seconds, scores.cpu_seconds) == (10.0, 5.0)
    write_scores(tmp_path / "b", scores)
    again = read_scores(tmp_path / "b")
    assert (again.header, list(again.rows.items())) == (scores.header, list(scores.rows.items()))
    assert (again.seconds, again.cpu_seconds) == pytest.approx((10.0, 5.0))
    summary = json.loads((tmp_path / "b").read_text().splitlines()[-1])["summary"]
    assert (summary["num_scored"], summary["num_unscored"]) == (4, 1)
    assert "split_half_reliability" in summary
    row = json.loads((tmp_path / "a").read_text().splitlines()[1])
    assert (row["mean_iou"], row["reverse_kl"], row["reverse_kl_per_token"]) == (pytest.approx(0.85), 1.5, 0.5)


def test_a_torn_last_line_is_a_kill_and_a_broken_one_in_the_middle_is_not(tmp_path):
    path = put(tmp_path / "a")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"has 4 of 5 examples.*goes on where it was"):
        read_scores(path)
    assert len(read_scores(path, partial=True).rows) == 4
    lines = path.read_text().splitlines()
    lines[2] = lines[2][:-9]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="line 3 is broken"):
        read_scores(path, partial=True)


def test_shards_in_any_order_are_the_whole_in_manifest_order(tmp_path):
    shards = [
        put(tmp_path / str(i), ROWS[i::2], replace(HEADER, num_examples=len(ROWS[i::2]), shard=(i, 2))) for i in (0, 1)
    ]
    whole, merged = read_scores(put(tmp_path / "whole")), read_scores(*reversed(shards))
    assert list(merged.rows.values()) == ROWS
    assert merged.header == whole.header
    assert merged.seconds == whole.seconds


def test_what_does_not_belong_together_is_refused(tmp_path):
    half = replace(HEADER, num_examples=3, shard=(0, 2))
    first = put(tmp_path / "first", ROWS[0::2], half)

    def second(**changes):
        header = replace(HEADER, **({"num_examples": 2, "shard": (1, 2)} | changes))
        return put(tmp_path / "second", ROWS[1::2], header)

    assert len(read_scores(first, second()).rows) == 5
    for changes, message in (
        ({"model_sha256": "x"}, "their model differ"),
        ({"manifest_sha256": "x"}, "their manifest differ"),
        ({"settings": {"num_answers": 4, "seed": 0}}, r"settings \(num_answers: 2 and 4\)"),
        ({"shard": (1, 3)}, "scores of different models, manifests or settings"),
        ({"shard": (0, 2)}, "every shard is needed exactly once"),
    ):
        with pytest.raises(DataError, match=message):
            read_scores(first, second(**changes))
    with pytest.raises(DataError, match="shards 0 of 2"):
        read_scores(first)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"mean_iou": 1.0, "id": "e0"}, "the scores of 'e0' cannot be used: the key `duration` is missing"),
        (make_row(example(0, float("nan"))), "not a number"),
        (make_row(ROWS[1]), "'e1' is there twice"),
        (make_row(ROWS[0]) | {"answers": [make_row(ROWS[0])["answers"][0] | {"num_tokens": 2**70}]}, "has 1180591620"),
        (make_row(ROWS[0]) | {"answers": [{"iou": 1}]}, "'e0' cannot be used"),
    ],
)
def test_a_bad_row_is_refused(tmp_path, line, message):
    path = put(tmp_path / "a", ROWS[1:])
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(DataError, match=message):
        read_scores(path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"scores": {"format": 1, "model": "m"}}\n',
        '{"id": "a"}\n',
        '{"scores": {"format": 9}}\n',
        '{"scores": 1}\n',
    ],
)
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "a").write_text(content)
    with pytest.raises(DataError, match="not a file of scores"):
        read_scores(tmp_path / "a")
    with pytest.raises(DataError, match="no such file"):
        read_scores(tmp_path / "b")


def test_several_teachers_speak_as_one():
    one = ScoreFile(header=HEADER, rows={row.id: row for row in ROWS[:2]}, seconds=1.0)
    other = ScoreFile(header=replace(HEADER, model="n", model_sha256="n"), rows={"e1": example(1, 1.0)}, seconds=2.0)
    both = merge_teachers([one, other], ["model", "n"])
    assert both.rows["e1"].answers == ROWS[1].answers + example(1, 1.0).answers
    assert both.seconds == 3.0
    assert both.header.model_sha256 == join_sha256(["model", "n"]) != "model"
    assert merge_teachers([one], ["model"]) is one
