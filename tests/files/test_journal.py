import errno
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_opd.errors import DataError, EngineError
from video_opd.files.older_names import RENAMED
from video_opd.runs import Journal, read_journal, truncate_journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def write(path: Path, steps: range) -> None:
    with Journal(path) as journal:
        for step in steps:
            journal.append({"step": step, "loss": 1 / step})


def steps(path: Path) -> list[int]:
    return [row["step"] for row in read_journal(path)]


def test_rows_come_back_in_order_and_across_openings(path: Path) -> None:
    assert read_journal(path) == []
    write(path, range(1, 3))
    write(path, range(3, 5))
    assert read_journal(path)[0] == {"step": 1, "loss": 1.0}
    assert steps(path) == [1, 2, 3, 4]


def test_a_row_is_one_line_and_on_the_disk_when_append_returns(path: Path) -> None:
    with Journal(path) as journal:
        journal.append({"answer": "two\nlines\u2028and\rmore 第二 \ud800"})
        assert path.read_bytes().count(b"\n") == 1
        assert read_journal(path) == [{"answer": "two\nlines\u2028and\rmore 第二 \ud800"}]


def test_numbers_json_cannot_say_become_null(path: Path) -> None:
    with Journal(path) as journal:
        journal.append({"loss": math.nan, "seconds_by_phase": {"read": math.inf}, "advantage": (1.0, -math.inf)})
    assert path.read_text() == '{"loss": null, "seconds_by_phase": {"read": null}, "advantage": [1.0, null]}\n'


def test_a_value_without_a_word_in_json_leaves_the_file_alone(path: Path) -> None:
    with Journal(path) as journal:
        journal.append({"step": 1})
        with pytest.raises(TypeError):
            journal.append({"step": 2, "loss": object()})
    assert steps(path) == [1]


def test_cut_at_any_byte_the_whole_rows_remain_and_the_journal_goes_on(path: Path) -> None:
    write(path, range(1, 4))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        num_whole = whole[:length].count(b"\n")
        assert steps(path) == list(range(1, num_whole + 1))
        write(path, range(9, 10))
        assert steps(path) == [*range(1, num_whole + 1), 9]


def test_a_last_line_of_garbage_is_torn_too(path: Path) -> None:
    write(path, range(1, 3))
    path.write_bytes(path.read_bytes() + b"\0\0\0\0\n")
    assert steps(path) == [1, 2]
    write(path, range(3, 4))
    assert steps(path) == [1, 2, 3]


@pytest.mark.parametrize("broken", [b'{"step": 2', b"", b"[1]", b"\xff\xfe"])
def test_a_broken_line_in_the_middle_is_named(path: Path, broken: bytes) -> None:
    path.write_bytes(b'{"step": 1}\n' + broken + b'\n{"step": 3}\n')
    for use in (read_journal, Journal, lambda path: truncate_journal(path, after_step=1)):
        with pytest.raises(DataError, match=r"metrics\.jsonl line 2 is broken"):
            use(path)


def test_truncation_drops_later_steps_wherever_they_stand(path: Path) -> None:
    path.write_bytes(
        b'{"step":1, "note": "kept to the byte"}\n{"step": 7}\n{"event": "resumed"}\n{"step": 2}\n{"step": 3, "lo'
    )
    assert truncate_journal(path, after_step=2) == 1
    assert path.read_bytes() == b'{"step":1, "note": "kept to the byte"}\n{"event": "resumed"}\n{"step": 2}\n'
    assert truncate_journal(path, after_step=2) == 0
    assert truncate_journal(path.with_name("absent.jsonl"), after_step=2) == 0
    assert not path.with_name("absent.jsonl").exists()
    path.write_bytes(b'{"st')
    assert truncate_journal(path, after_step=2) == 0
    assert path.read_bytes() == b""


def test_truncation_is_atomic(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, range(1, 5))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(EngineError, match="No space left"):
                truncate_journal(path, after_step=2)
        assert path.read_bytes() == before
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_row_that_the_disk_refuses_leaves_no_trace(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(path) as journal:
        journal.append({"step": 1})

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(EngineError, match="No space left"):
                journal.append({"step": 2})
        journal.append({"step": 3})
    assert steps(path) == [1, 3]


KEYS = st.text().filter(lambda key: key not in RENAMED)  # those are read under their present names
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.dictionaries(KEYS, JSON, max_size=3), max_size=4))
def test_any_json_comes_back_unchanged(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]) -> None:
    path = tmp_path_factory.mktemp("journal") / "answers.jsonl"
    with Journal(path) as journal:
        for row in rows:
            journal.append(row)
    assert read_journal(path) == rows


def test_keys_of_an_earlier_version_are_read_under_todays_names(tmp_path: Path) -> None:
    """And stay in the file as they are."""
    path = tmp_path / "j.jsonl"
    path.write_text('{"step": 1, "format_rate": 0.5}\n{"step": 2, "deep": {"format_rate": 1, "format": 2}}\n')
    before = path.read_bytes()
    assert read_journal(path) == [
        {"step": 1, "output_format_rate": 0.5},
        {"step": 2, "deep": {"output_format_rate": 1, "format": 2}},
    ]
    truncate_journal(path, after_step=2)
    assert path.read_bytes() == before
