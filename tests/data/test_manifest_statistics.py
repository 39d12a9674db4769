import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from manifests import manifests, row

from video_opd.cli import main
from video_opd.cli.statistics_text import show_statistics
from video_opd.data.manifest import write_manifest
from video_opd.data.manifest_statistics import BINS, SECONDS, Histogram, Summary, describe
from video_opd.data.rows_to_measure import RowsToMeasure, covered_share
from video_opd.errors import DataError
from video_opd.grounding import best_constant_answer, best_iou
from video_opd.grounding.packed_examples import PackedExamples
from video_opd.report.manifest.manifest_facts import list_facts, write_sentences
from video_opd.types import Span

ROWS = [
    row("a", (0, 5), video="a.mp4", query="one two three", duration=10.0, source="x"),
    row("b", (2.5, 10.5), (0, 1), video="a.mp4", query="one", duration=10.0, source="x"),
    row("c", (0, 96), video="b.mp4", query="one two", duration=100.0, source="y"),
    row("d", (50, 50), (90, 102), (3, 4), video="b.mp4", query="one two", duration=100.0, source="x"),
]


def test_the_cover_of_many_rows_is_that_of_each():
    rows = [*ROWS, row("e", (5, 12), duration=10.0), row("f", (11, 12), duration=10.0)]
    assert RowsToMeasure.of(PackedExamples.of(rows)).covered.tolist() == [covered_share(each) for each in rows]


def test_counts():
    found = describe(ROWS)
    assert (found.rows, found.videos, found.sources) == (4, 2, {"x": 3, "y": 1})
    assert found.hours == pytest.approx(110 / 3600)
    assert found.spans_per_row == {1: 2, 2: 1, 3: 1}
    assert (found.multi_span, found.near_whole) == (0.5, 0.25)
    assert (found.past_end, found.past_end_by_a_second, found.points) == (2, 1, 1)
    assert (found.repeated, found.two_durations) == (1, 0)
    assert found.whole_seconds == pytest.approx(12 / 14)
    assert found.words == Summary.from_values([3, 1, 2, 2])
    assert found.queries_per_video.mean == 2
    assert found.span_s == Summary.from_values([5, 8, 1, 96, 0, 12, 1])
    assert found.span_share.maximum == 0.96


def test_positions():
    found = describe(ROWS)
    assert sum(map(sum, found.positions)) == 7
    assert found.positions[0][10] == 1, "0 to 0.5"
    assert found.positions[5][19] == 1, "0.25 to past the end"
    assert found.positions[10][10] == 1, "a point"
    assert [sum(histogram.counts) for histogram in (found.starts, found.centres, found.ends)] == [7] * 3
    assert found.starts.counts[0] == 4
    assert found.ends.counts[19] == 3
    assert found.centres.counts[5] == 1, "0.25, between 0 and 0.5"


def test_a_bin_reaches_from_its_edge_up_to_the_next():
    found = Histogram.from_values([0, 2.99, 3, 4.99, 5, 7200, 1e6], SECONDS)
    assert dict(zip(found.edges, found.counts, strict=True)) == {
        **dict.fromkeys(SECONDS, 0), 0: 1, 2: 1, 3: 2, 5: 1, 7200: 2,
    }  # fmt: skip
    assert (found.occupied[0], found.occupied[-1]) == (0, len(SECONDS) - 1)
    shares = Histogram.from_values([0.05 * step for step in range(21)], BINS)
    assert shares.counts[-1] == 2, "what is at the end or past it is in the last bin"
    assert Histogram.from_values([45 / 150, 30 / 100], BINS).counts[6] == 2


def test_clips_of_one_video_count_their_own_time_once():
    clips = [Span(0.0, 60.0), Span(60.0, 100.0)]
    rows = [row(f"{n}", duration=clips[n % 2].end_s - clips[n % 2].start_s, clip=clips[n % 2]) for n in range(6)]
    found = describe(rows)
    assert (found.videos, found.hours, found.duration_s.minimum) == (1, 100 / 3600, 40)
    assert found.repeated == 4
    assert describe([*rows, replace(rows[0], id="x", duration=61.0)]).two_durations == 1


@pytest.mark.parametrize(
    ("spans", "share"),
    [
        ([(0, 10)], 0.1),
        ([(0, 10), (5, 20)], 0.2),
        ([(30, 40), (0, 10), (32, 35)], 0.2),
        ([(0, 50), (10, 20), (15, 30)], 0.5),
        ([(90, 200)], 0.1),
        ([(100, 200), (0, 1)], 0.01),
        ([(5, 5)], 0.0),
    ],
)
def test_overlapping_spans_cover_their_union(spans, share):
    assert covered_share(row("a", *spans)) == pytest.approx(share)


@settings(deadline=None)
@given(manifests())
def test_numbers_belong_together(examples):
    found = describe(examples)
    spans = [span for example in examples for span in example.spans]
    assert found.rows == sum(found.spans_per_row.values()) == sum(found.sources.values()) == len(examples)
    for histogram in (found.span_lengths, found.span_shares, found.starts, found.centres, found.ends):
        assert sum(histogram.counts) == len(spans)
    assert [sum(starts) for starts in found.positions] == list(found.starts.counts)
    assert [sum(ends) for ends in zip(*found.positions, strict=True)] == list(found.ends.counts)
    assert found.past_end_by_a_second <= found.past_end <= len(spans)
    if len(found.sources) > 1:
        assert set(found.by_source) == set(found.sources)
        assert sum(of.rows for of in found.by_source.values()) == found.rows
        assert all(not of.by_source for of in found.by_source.values())
    else:
        assert found.by_source == {}
    json.dumps(found.to_dict(), allow_nan=False)


@settings(deadline=None)
@given(manifests())
def test_the_constants_are_what_they_say(examples):
    found = describe(examples)
    if not any(span.end_s for example in examples for span in example.spans):
        assert found.best_constant is found.best_share is None
        return
    if all(span.end_s <= 300 for example in examples for span in example.spans):
        expected = best_constant_answer(examples, resolution_s=0.5)
        longest_s = max(example.duration for example in examples)
        if max(span.end_s for example in examples for span in example.spans) <= longest_s:
            assert (found.best_constant.span, found.best_constant.step) == (expected[0], 0.5)
            assert found.best_constant.miou == pytest.approx(expected[1])
    span = found.best_share.span
    miou = [best_iou(Span(*(end * e.duration for end in span)), e.spans) for e in examples]
    assert found.best_share.miou == pytest.approx(sum(miou) / len(miou))


def test_a_share_of_the_video_beats_seconds_where_durations_differ():
    rows = [row(f"{n}", (0, duration / 2), duration=float(duration)) for n, duration in enumerate((10, 100, 1000))]
    found = describe(rows)
    assert (found.best_share.span, found.best_share.miou) == ((0, 0.5), pytest.approx(1.0))
    assert found.best_constant.miou < 0.5


def test_one_wrong_end_does_not_coarsen_the_search():
    rows = [row(f"{n}", (20, 33), duration=60.0) for n in range(99)] + [row("wrong", (20, 900_000_000), duration=60.0)]
    found = describe(rows)
    assert (found.best_constant.span, found.best_constant.step) == ((20, 33), 0.5)
    assert found.best_constant.miou == pytest.approx(0.99, abs=1e-6)


def test_a_set_of_hours_is_searched_on_a_coarser_grid():
    rows = [row(f"{n}", (100 * n, 100 * n + 50), duration=1e6) for n in range(10_000)]
    assert describe(rows).best_constant.step > 60


@pytest.mark.parametrize("change", [{"duration": 1e300}, {"duration": 1e-320}, {"spans": (Span(0.0, 1e200),)}])
def test_times_that_no_video_has(change):
    with pytest.raises(DataError, match=r"row 'odd' .*All times are seconds|no video is like that"):
        describe([*ROWS, replace(row("odd"), **change)])


def test_nothing_cannot_be_measured():
    with pytest.raises(DataError, match="no examples"):
        describe([])


def test_what_is_published_about_charades_sta(shared_data):
    """FIELD: 3,720 queries about 1,334 videos, 562 ends after the video, 228 of them by more than a second."""
    folder = shared_data / "annotations"
    header, *lines = (folder / "Charades_v1_test.csv").read_text().splitlines()
    assert header.endswith(",length")
    lengths = {line.split(",")[0]: float(line.rpartition(",")[2]) for line in lines if line.count(",") > 5}
    rows = []
    for number, line in enumerate((folder / "charades_sta_test.txt").read_text().splitlines()):
        (video, start, end), query = line.split("##")[0].split(), line.split("##")[1]
        rows.append(
            row(f"{number}", (float(start), float(end)), video=f"{video}.mp4", query=query, duration=lengths[video])
        )
    found = describe(rows)
    assert (found.rows, found.videos, found.past_end, found.past_end_by_a_second) == (3720, 1334, 562, 228)
    assert found.best_constant.span == (0, 13)
    assert found.best_constant.miou == pytest.approx(0.300, abs=0.0005)


# In the terminal


def test_the_terminal_needs_80_columns_and_no_colour(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    wide = [row(f"w{n}", (n * 7, n * 9 + 1), duration=7000.0, source="a data set with a long name") for n in range(700)]
    show_statistics({"train.jsonl": describe([*ROWS, *wide]), "[red]test.jsonl": describe(ROWS)})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert "[red]test.jsonl" in out
    assert "▏" in out


def test_the_longest_bar_is_the_fullest_bin(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [row(f"{n}", (0, 4), duration=50.0, video=f"{n}") for n in range(20)]
    rows += [row(f"x{n}", (40, 47), duration=50.0, video=f"x{n}") for n in range(10)]
    show_statistics({"m": describe(rows)})
    lines = capsys.readouterr().out.splitlines()
    bars = {name: next(line.split(name)[1] for line in lines if name in line) for name in (" 3 - 5 ", " 7 - 10 ")}
    assert [bar.count("█") for bar in bars.values()] == [18, 9]
    top = next(lines[number + 1] for number, line in enumerate(lines) if "start / duration" in line)
    assert top[0] == "█"
    assert top[1:20].strip() == ""


def test_a_terminal_that_knows_only_ascii(tmp_path):
    manifest = tmp_path / "m.jsonl"
    write_manifest(manifest, ROWS)
    command = [sys.executable, "-m", "video_opd.cli", "data", "stats", str(manifest)]
    done = subprocess.run(command, capture_output=True, timeout=60, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert "###" in done.stdout.decode("ascii")


@pytest.mark.parametrize("spans", [[(0.0, 0.0)], [(100.0, 100.0)], [(0.0, 100.0)]])
def test_odd_sets_are_shown(spans, capsys):
    show_statistics({"m": describe([row("a", *spans)])})
    assert "1 " in capsys.readouterr().out


def test_data_stats_in_json(tmp_path, capsys):
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    write_manifest(files[0], ROWS)
    write_manifest(files[1], ROWS[:1])
    assert main(["data", "stats", *map(str, files), "--json"]) == 0
    one, other = json.loads(capsys.readouterr().out)["manifests"]
    assert (one["manifest"], one["rows"], set(one["by_source"])) == (str(files[0]), 4, {"x", "y"})
    assert one["span_s"]["maximum"] == 96
    assert other["best_constant"] == {"span": [0, 5], "miou": 1, "step": 0.5}


def test_what_cannot_be_measured(tmp_path, refused):
    manifest = tmp_path / "m.jsonl"
    write_manifest(manifest, ROWS)
    before = manifest.read_bytes()
    assert "is given twice" in refused("data", "stats", manifest, tmp_path / "." / "m.jsonl")
    assert ".svg or .html" in refused("data", "stats", manifest, "--picture", tmp_path / "x.png")
    picture = tmp_path / "m.svg"
    picture.symlink_to(manifest)
    assert "also uses" in refused("data", "stats", manifest, "--picture", picture)
    assert "cannot be written" in refused("data", "stats", manifest, "--picture", manifest / "x.svg")
    assert "No such file" in refused("data", "stats", tmp_path / "none.jsonl")
    assert manifest.read_bytes() == before


@pytest.mark.parametrize(("rows", "said"), [(1, True), (29, True), (30, False)])
def test_of_few_rows_it_is_said_that_they_are_few(rows, said):
    few = describe(
        [row(str(n), (n % 3, 5), video="a.mp4", query="one", duration=10.0, source="x") for n in range(rows)]
    )
    assert ("what a data set is like" in list_facts(few)) == said
    assert any("too few rows to describe a data set" in sentence for sentence in write_sentences(few)) == said
