"""A row that is read quickly is the row that is read with all checks."""

import json
import random

import pytest

from video_opd.data.manifest import check_manifest
from video_opd.data.manifest_rows import Fault, example_from_row, row_from_example, row_from_line
from video_opd.data.plain_rows import read_plain_row
from video_opd.types import Example

ROW = {
    "id": "q1",
    "video": "kitchen/a.mp4",
    "query": "the fridge opens",
    "spans": [[2.0, 4.5]],
    "duration": 31.2,
    "source": "charades",
    "clip": None,
}
VALUES = (
    None, True, 0, -1, 2, 3.5, 31.5, 1e400, float("nan"), 2**70, "", " ", "a", "a\\b", "../a", "C:a", "a\"b",
    "a\u2028b", "a\x07b", "a\x7fb", "a\x85b", "a\ud800b",
    "<|im_end|> opens", "[INST]", "opens <|im_end|>", "opens [INST]", "é opens", "x" * 2001, [], [1], [1, 2],
    [[1, 2]], [[2, 1]], [[1, 1]], {},
    [[1, 2], [3, 4]], [[1, True]], ["ab"], [[1, 31.9]], [[1, 99]], {"a": 1}, [[1, 2, 3]], [None], "...", "1st",
)  # fmt: skip


def read_slowly(raw: bytes) -> tuple[Example | None, bool]:
    """The row, and whether there is anything to say about it."""
    row = row_from_line(raw, 0, first=False)
    if row is None or isinstance(row, Fault):
        return None, True
    example, faults = example_from_row(row)
    return example, bool(faults)


def compare(raw: bytes) -> bool:
    """Whether a line is read quickly; if it is, it is read alike."""
    quickly = read_plain_row(raw)
    if quickly is not None:
        example, is_odd = read_slowly(raw)
        assert not is_odd, raw
        assert repr(quickly) == repr(example), raw  # an integer is not a float
    return quickly is not None


@pytest.mark.parametrize("leave_out", [(), ("clip",), ("source", "clip"), ("duration", "source", "clip")])
def test_usual_rows_are_read_quickly(leave_out: tuple[str, ...]) -> None:
    row = {key: value for key, value in ROW.items() if key not in leave_out}
    assert compare(json.dumps(row).encode() + b"\n")
    assert compare(
        json.dumps(row | {"query": "die Tür geht auf", "spans": [[1, 2], [3, 4.5]]}, ensure_ascii=False).encode()
    )


@pytest.mark.parametrize("key", [*ROW, "frame_rate", "unknown"])
def test_any_value_under_any_key(key: str) -> None:
    for value in VALUES:
        for ascii_only in (True, False):
            compare(json.dumps(ROW | {key: value}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
        written = json.dumps(ROW)[:-1]
        compare(f"{written}, {json.dumps(key)}: {json.dumps(value)}}}".encode())  # the key is there twice


def test_damaged_lines() -> None:
    draw = random.Random(0)
    good = json.dumps(ROW).encode()
    for _ in range(4000):
        line = bytearray(good)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(line))
            line[at : at + draw.randint(0, 2)] = bytes(
                draw.choices(b'"{}[],:.-019eNa\\ \xc3\xa9\xff', k=draw.randint(0, 2))
            )
        compare(bytes(line))


def test_a_key_that_is_there_twice_is_told(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "a", "id": "b", "video": "a.mp4", "query": "it opens", "spans": [[1, 2]], "source": 5}')
    (problem,) = check_manifest(path)
    assert "the key `id` is there twice" in problem.message


def test_backslashes_before_quotation_marks_hide_no_key() -> None:
    ends = {key: f"{key}\\" for key in ("id", "query", "source")}
    written = json.dumps(ROW | ends)[:-1]
    assert read_plain_row(f'{written}, "id": "q2\\\\"}}'.encode()) is None


def test_an_id_that_is_there_twice_is_told(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{json.dumps(ROW)}\n")
    (problem,) = check_manifest(path)
    assert (problem.line, problem.id, problem.message) == (2, "q1", "the id is already that of line 1")
    assert read_plain_row(json.dumps(row_from_example(read_plain_row(json.dumps(ROW).encode()))).encode()) is not None
