"""Times that are no seconds: refused where that is certain however few the rows, else warned about."""

from __future__ import annotations

import json

import pytest
from annotation_rows import lines

from video_opd.cli import main
from video_opd.data.importers._account import Policies
from video_opd.data.importers._annotation import ReadOptions
from video_opd.data.importers._collector import Collector
from video_opd.data.importers._read_annotations import read_annotations
from video_opd.errors import DataError


@pytest.fixture
def collect(tmp_path):
    def run(spans, *, duration, unit="seconds", fps=None, **policies) -> Collector:
        path = tmp_path / "rows.jsonl"
        path.write_text(
            lines(*({"video": f"{n}.mp4", "query": "a cat", "spans": [s], "duration": duration} for n, s in spans))
        )
        collector = Collector(Policies(source="own", **policies))
        collector.collect(read_annotations("jsonl", [path], ReadOptions(unit=unit, fps=fps)))
        return collector

    return lambda *spans, **more: run(list(enumerate(spans)), **more)


@pytest.mark.parametrize("count", [1, 3, 30])
@pytest.mark.parametrize("beyond", ["keep", "clip", "drop"])
def test_percentages_as_seconds(collect, count, beyond):
    with pytest.raises(DataError, match=rf"this and {count - 1} more of {count} spans end long after their video"):
        collect(*[(10, 50)] * count, duration=30, beyond=beyond)


@pytest.mark.parametrize("count", [1, 3, 100])
def test_milliseconds_as_seconds(collect, count):
    with pytest.raises(DataError, match=rf"this and {count - 1} more of {count} spans begin after their video"):
        collect(*[(2000, 4000)] * count, duration=30)


def test_odd_rows_among_good_ones_are_kept(collect):
    report = collect(*[(1, 4)] * 3, (10, 50), (40, 50), duration=30).report
    assert (report.spans_beyond_tolerance, report.spans_off_scale, report.warnings) == (2, 1, [])
    # Ends may be sloppy; they are counted.
    assert collect(*[(10, 32)] * 5, duration=30).report.spans_beyond_tolerance == 5, "as all of some Charades videos"


@pytest.mark.parametrize(
    ("unit", "spans", "duration", "fps"),
    [
        ("frames", [(30, 150), (60, 240), (300, 890)], 900, 30.0),
        ("milliseconds", [(1000, 4000), (2000, 9000), (20_000, 29_000)], 30_000, None),
    ],
)
def test_durations_in_the_unit_of_the_spans_are_warned_about(collect, unit, spans, duration, fps):
    (warning,) = collect(*spans, duration=duration, unit=unit, fps=fps).report.warnings
    assert warning.startswith("all 3 spans end within the first 10% of their video: are the durations seconds?")
    assert collect(*spans, duration=30, unit=unit, fps=fps).report.warnings == []


def test_the_warning_is_on_stderr_and_in_json(tmp_path, capsys):
    row = {"video": "a.mp4", "query": "a cat", "duration": 900}
    (tmp_path / "a.jsonl").write_text(lines(*(row | {"spans": [[30 * n, 30 * n + 60]]} for n in range(4))))
    words = ["data", "import", "jsonl", str(tmp_path / "a.jsonl"), "--unit", "frames", "--fps", "30"]
    assert main([*words, "--out", str(tmp_path / "m.jsonl"), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("video-opd: warning: all 4 spans end within the first 10% of their video")
    assert len(json.loads(captured.out)["warnings"]) == 1


@pytest.mark.parametrize(
    ("row", "duration", "clip"),
    [
        ({"duration": "02:00"}, 120, None),
        ({"duration": 120.5}, 120.5, None),
        ({"clip_start": "1:00", "clip_end": "0:01:30"}, 30, (60, 90)),
        ({"clip": ["1:00", 90]}, 30, (60, 90)),
    ],
)
def test_all_times_of_a_row_may_be_clock_times(tmp_path, row, duration, clip):
    (tmp_path / "a.jsonl").write_text(lines({"video": "a.mp4", "query": "q", "start": "0:03", "end": "0:04.5"} | row))
    collector = Collector(Policies(source="own"))
    (example,) = collector.collect(read_annotations("jsonl", [tmp_path / "a.jsonl"], ReadOptions(unit="clock")))
    assert (example.spans, example.duration, example.clip) == (((3, 4.5),), duration, clip)
    if clip is None and isinstance(row["duration"], str):
        with pytest.raises(DataError, match="`start` is '0:03': a clock time, where seconds were expected"):
            read_annotations("jsonl", [tmp_path / "a.jsonl"], ReadOptions())
