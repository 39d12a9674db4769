"""A file is told by its content, and what is wrong with a record is said in words."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile

import pytest
from pydantic import BaseModel

from video_opd.data.importers._annotation import Spans, Times
from video_opd.data.manifest import read_manifest
from video_opd.errors import DataError
from video_opd.files.records import Record, json_any, read_text, table_rows


def zipped(raw: bytes) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("a.json", raw)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (gzip.compress(b"{}"), r"packed \(gzip\).*\. Unpack it, such as with `gunzip`"),
        (zipped(bytes(range(256))), r"packed \(a zip archive\).*\. Unpack it, such as with `unzip`"),
        # The time of day in an archive may be a line break, and all before it is UTF-8.
        (b"PK\x03\x04\x14\x00\x00\x00\x00\x00\n" + bytes(range(256)), r"packed \(a zip archive\)"),
        (b"PK\x03\x04\x14\x00\x00\x00 all of it is UTF-8", r"packed \(a zip archive\)"),
        (bz2.compress(b"{}"), r"packed \(bzip2\)"),
        (lzma.compress(b"{}"), r"packed \(xz\)"),
        (b"\x00\x00\x00\x20ftypisom\x00\x00\xff\xff", "the file is binary"),
        ("a café".encode("latin-1"), "is not UTF-8"),
    ],
    # Archives hold the time of day: two workers that collect the tests would give them two names.
    ids=["gzip", "zip", "zip with a line break", "zip that is UTF-8", "bzip2", "xz", "mp4", "latin-1"],
)
def test_what_is_no_text_is_called_that(tmp_path, raw, said):
    (tmp_path / "a.jsonl").write_bytes(raw)
    for read in (read_text, read_manifest):
        with pytest.raises(DataError, match=said) as refusal:
            read(tmp_path / "a.jsonl")
        assert ("iconv" in str(refusal.value)) == (read is read_text and b"caf" in raw)


ROWS = [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('[{"a": 1}, {"a": 2}]', ROWS),
        ('[\n {"a": 1},\n {"a": 2}\n]\n', ROWS),
        ('{"a": 1}\n{"a": 2}\n', ROWS),
        ('{\n "a": 1,\n "b": 2\n}', [1, 2]),
        ("[1]\n[2]\n", [[1], [2]]),
    ],
)
def test_json_is_told_by_its_content(tmp_path, name, text, values):
    (tmp_path / name).write_text(text)
    assert [record.value for record in json_any(tmp_path / name)] == values


def test_one_object_on_one_line_is_told_by_the_name(tmp_path):
    for name, value in (("a.json", 1), ("a.jsonl", {"a": 1})):
        (tmp_path / name).write_text('{"a": 1}\n')
        assert [record.value for record in json_any(tmp_path / name)] == [value]


def test_a_broken_line_is_not_taken_for_something_else(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1\n{"a": 2}\n')
    with pytest.raises(DataError, match=r"line 1: the JSON ends too early"):
        list(json_any(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_cells_may_be_separated_otherwise(tmp_path, sign):
    (tmp_path / "a.csv").write_text(f'video{sign}query\na.mp4{sign}"one{sign} two"\n')
    assert [record.value for record in table_rows(tmp_path / "a.csv")] == [
        {"video": "a.mp4", "query": f"one{sign} two"}
    ]


def test_a_semicolon_within_a_header_of_commas_is_a_name(tmp_path):
    (tmp_path / "a.csv").write_text("video;x,query\n1,2\n")
    assert [record.value for record in table_rows(tmp_path / "a.csv")] == [{"video;x": "1", "query": "2"}]


class _Row(BaseModel):
    qid: int | str = 0
    span: Times = (0, 1)
    spans: Spans = []
    words: list[str] = []
    name: str = ""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"span": [1, 2, 3]}, r"`span` is \[1, 2, 3\]: it has 3 values, where 2 were expected"),
        ({"span": [1]}, "`span` has 1 value, where a pair was expected"),
        ({"span": 4}, "`span` is 4: a pair was expected"),
        ({"spans": [[1, 2], []]}, r"`spans\.1` has 0 values, where a pair was expected"),
        ({"spans": "x"}, "`spans` is 'x': a list was expected"),
        ({"words": 4}, "`words` is 4: a list was expected"),
        ({"name": 4}, "`name` is 4: a text was expected"),
        ({"qid": []}, r"`qid` is \[\]: a number or a text was expected"),
    ],
)
def test_faults_are_in_words(tmp_path, value, said):
    with pytest.raises(DataError, match=said):
        Record(tmp_path / "a", 1, value).read_as(_Row)


def test_a_fault_is_called_as_the_file_calls_it(tmp_path):
    with pytest.raises(DataError, match="`begin` is 'x': a number of seconds was expected"):
        Record(tmp_path / "a", 1, {"span": ["x", 1]}).read_as(_Row, called={"span.0": "begin"})
