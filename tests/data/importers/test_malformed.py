"""Malformed files, ten thousand in the long tests: whatever a file holds, an import ends in rows or in one sentence."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from annotation_rows import SAMPLES, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from video_opd.data.importers._account import Policies
from video_opd.data.importers._annotation import ReadOptions
from video_opd.data.importers._collector import Collector
from video_opd.data.importers._durations import read_durations
from video_opd.data.importers._formats import UNITS
from video_opd.data.importers._read_annotations import read_annotations
from video_opd.data.manifest_rows import example_from_row, row_from_example
from video_opd.errors import DataError

EXAMPLES = 10_500 // len(SAMPLES)
"""Of each of the samples."""

JUNK = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["null", "NaN", "Infinity", "1e999", "-1", "true", '"0:12"', '"25%"', '"3s"', "[]", "{}", "[[", "}}", '"', ",",
         "##", "\\ud800", "\x00", "\ufeff", "9" * 400, "[" * 300, "1e308", "1e-320", '"../x"', "\r", "\n\n", "2.5e3"]
    ),
)  # fmt: skip

VALUES = st.sampled_from(
    ["-1", "0", "3.5", "1e308", "1e-320", '"0:12"', '"25%"', '"7"', "null", "[]", '""', '"a b"', "1e5"]
)


@st.composite
def damaged(draw, text: bytes) -> bytes:
    """The text with a few things put in, taken out, swapped or cut off."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        to = min(len(text), at + draw(st.integers(0, 8)))
        values = [match.span() for match in re.finditer(rb'-?\d+(?:\.\d+)?|"[^"]*"|null|true', text)]
        kind = draw(st.sampled_from(["value", "value", "value", "value", "replace", "cut", "bytes", "repeat"]))
        junk = draw(JUNK).encode("utf-8", "surrogatepass")
        if kind == "value" and values:
            at, to = draw(st.sampled_from(values))
            junk = draw(VALUES).encode()
        if kind == "cut":
            text = text[:at]
        elif kind == "bytes":
            text = text[:at] + draw(st.binary(max_size=4)) + text[to:]
        elif kind == "repeat":
            text = text[:at] + text[at:to] * 2 + text[to:]
        else:
            text = text[:at] + junk + text[to:]
    return text


def take(sample, folder, durations, reading):
    collector = Collector(Policies(source="x", without_duration="keep"), durations)
    files, _ = write(sample, folder)
    try:
        examples = collector.collect(read_annotations(sample.format, files, reading))
    except DataError as refusal:
        return str(refusal)
    for example in examples:  # a manifest takes whatever an import let through
        assert all(fault.severity == "warning" for fault in example_from_row(row_from_example(example))[1])
    return collector.report


@pytest.mark.parametrize("count", [EXAMPLES // 2, pytest.param(EXAMPLES, marks=pytest.mark.long)])
@pytest.mark.parametrize("sample", SAMPLES, ids=[f"{number}-{s.format}" for number, s in enumerate(SAMPLES)])
def test_no_file_ends_in_a_traceback(sample, count, tmp_path):
    seen = {"rows": 0, "refused": 0}
    name = next(iter(sample.files))
    durations = {"ABC12": 30.5, "XYZ99": 12.0, "abcdefghijk": 4000.0, "abc": 30.0}

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def attack(data):
        content = sample.files[name]
        text = data.draw(damaged(content if isinstance(content, bytes) else content.encode()))
        reading = ReadOptions(unit=data.draw(st.sampled_from(UNITS)), fps=data.draw(st.sampled_from([None, 25.0])))
        report = take(sample._replace(files={**sample.files, name: text}), tmp_path, durations, reading)
        refused = isinstance(report, str)
        seen["refused" if refused else "rows"] += 1
        if refused:
            assert re.fullmatch(r"\S.*: \S.*\. [A-Z`(-].*\.", report, re.DOTALL), report
        else:
            assert report.rows_read == report.rows_kept + sum(report.dropped.values())

    attack()
    assert min(seen.values()) > count / 100, seen  # both ends were really reached


@settings(max_examples=300, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.sampled_from(["video", "query", "start", "end", "spans", "duration", "id", "fps", "clip_start", "clip_end"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
            max_leaves=5,
        ),
    ),
    st.sampled_from(UNITS),
)
def test_no_value_of_a_row_ends_in_a_traceback(tmp_path_factory, row, unit):
    folder = tmp_path_factory.mktemp("rows")
    (folder / "a.jsonl").write_text(json.dumps(row))
    with contextlib.suppress(DataError):
        annotations = read_annotations("jsonl", [folder / "a.jsonl"], ReadOptions(unit=unit, fps=25))
        Collector(Policies(source="x")).collect(annotations)


@settings(max_examples=500, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_durations_file_ends_in_a_traceback(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("durations")
    name, text = data.draw(
        st.sampled_from(
            [
                ("d.csv", b"id,length\na,12.5\nb,3\n"),
                ("d.json", b'{"a": 12.5, "b": {"duration": 3}}'),
                ("d.jsonl", b'{"vid": "a", "duration": 3}\n'),
            ]
        )
    )
    (folder / name).write_bytes(data.draw(damaged(text)))
    with contextlib.suppress(DataError):
        assert all(seconds > 0 for seconds in read_durations(folder / name).values())
