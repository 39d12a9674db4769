"""A line of predictions that is decoded quickly is decoded as strictly as any other."""

import random

import pytest

from video_opd.errors import DataError
from video_opd.files.strict_json import decode
from video_opd.grounding.predictions import _decode_plain, read_predictions

LINES = (
    '{"id": "a1", "answer": "From 4.0 to 9.0 s.", "spans": [[4.0, 9.0]]}',
    '{"id": "a1", "spans": [[4, 9], [-0.0, 1e3]], "choice": null}',
    '{"id": "a\\"1", "answer": "\\u00e9 \\ud800 [4, 9]"}',
)
PIECES = (
    '"', "\\", "\\\\", "{", "}", "[", "]", ",", ":", " ", "\t", "\r", "\x0b", "\x1c", "\x85", "\xa0", "\u2028",
    "\ufeff", "0", "-", "e9", "1e400", "NaN", "Infinity", "null", "true", "{}", "[[]]", "[" * 120 + "]" * 120,
    '"id": "b", ',
)  # fmt: skip


def test_damaged_lines() -> None:
    draw = random.Random(0)
    num_plain = 0
    for _ in range(6000):
        line = draw.choice(LINES)
        for _ in range(draw.randint(0, 2)):
            at = draw.choice((0, len(line), draw.randrange(len(line))))
            line = line[:at] + draw.choice(PIECES) + line[at + draw.randint(0, 2) :]
        raw = f"{line}\n".encode()
        if (row := _decode_plain(raw)) is not None:
            assert repr(decode(raw)) == repr(row), raw
            num_plain += 1
    assert num_plain > 2000


@pytest.mark.parametrize("blank", ["\xa0", "\x0b", "\x1c", "\x85", "\u2028"])
def test_what_json_does_not_call_blank_is_refused(blank: str, tmp_path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(f'{LINES[0]}{blank}\n{{"id": "a2", "answer": ""}}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 1 is not a prediction"):
        read_predictions(path)
