import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import manifests, row

from video_opd.cli import main
from video_opd.data.manifest import read_manifest, write_manifest
from video_opd.data.overlap import find_shared_rows
from video_opd.data.same_video import spans_in_source
from video_opd.grounding import temporal_iou
from video_opd.types import Span


def select_overlapping(shared, threshold):
    return list(shared.select_overlapping(threshold))


def found(a, b):
    """Id -> (IoU, id of the other row, same query)."""
    return {s.example.id: (pytest.approx(s.iou), s.other.id, s.same_query) for s in find_shared_rows(a, b)}


def test_the_best_of_all_pairs_of_spans_counts():
    a = [row("a", (0, 10), (50, 60))]
    b = [row("b", (9, 19), query="x"), row("c", (30, 40), (50, 58), query="y")]
    assert found(a, b) == {"a": (0.8, "c", False)}
    assert found(b, a) == {"b": (1 / 19, "a", False), "c": (0.8, "a", False)}


def test_other_videos_and_other_moments():
    a = [row("a", (0, 10)), row("b", (0, 10), video="other.mp4")]
    assert found(a, [row("c", (10, 20), query="x")]) == {"a": (0.0, "c", False)}


def test_where_no_span_overlaps_the_same_question_counts_before_the_first_row():
    others = [row("b", (20, 30), query="x"), row("c", (40, 50))]
    assert found([row("a", (0, 10))], others) == {"a": (0.0, "c", True)}


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("x/3MSZA.mp4", "y/z/3MSZA.mkv", True),
        ("3MSZA.mp4", "3MSZB.mp4", False),
        ("v_uqiMw7tQ1Cc.mp4", "uqiMw7tQ1Cc.mp4", True),
        ("s30-d52.avi", "s30-d52-cam-002.mp4", True),
        ("1@N0_2_a.3gp", "1@N0_2_a.mp4", True),
        ("1@N0_2_a.", "1@N0_2_a.mp4", True),
    ],
)
def test_one_video_by_several_names(one, other, shared):
    assert bool(find_shared_rows([row("a", video=one)], [row("b", video=other)])) is shared


def test_crops_are_held_against_one_another_in_seconds_of_the_whole_video():
    crop = row("a", (82, 150), video="NUsG9BgSes0_210.0_360.0.mp4")
    whole = row("b", (292, 360), video="youtube/NUsG9BgSes0.mp4", query="x")
    clipped = row("c", (0, 68), video="v_NUsG9BgSes0.mp4", query="x", clip=Span(292.0, 360.0))
    later = row("d", (82, 150), video="NUsG9BgSes0_360.0_510.0.mp4", query="x")
    assert found([crop], [whole]) == {"a": (1.0, "b", False)}
    assert found([crop], [clipped]) == {"a": (1.0, "c", False)}
    assert found([crop], [later]) == {"a": (0.0, "d", False)}


def test_a_name_in_two_folders_names_nothing_but_equal_paths_do():
    a = [row("a", video="kitchen/1.mp4"), row("b", video="garden/1.mp4"), row("c", video="garden/2.mp4")]
    b = [row("d", video="1.mp4"), row("e", video="garden/1.mp4"), row("f", video="2.mp4")]
    assert found(a, b) == {"b": (1.0, "e", True), "c": (1.0, "f", True)}
    assert found(b, a) == {"e": (1.0, "b", True), "f": (1.0, "c", True)}


def test_the_same_question_with_another_span_is_told_apart():
    a = [row("a", (0, 10), query="The man  sits.")]
    b = [row("b", (2, 12), query="x"), row("c", (50, 60), query=" the man sits")]
    assert found(a, b) == {"a": (8 / 12, "b", True)}
    assert found(a, b[1:]) == {"a": (0.0, "c", True)}


@pytest.mark.parametrize(
    ("video", "changes", "apart"),
    [
        ("1.mp4", {"duration": 105.1}, True),
        ("1.mp4", {"duration": 94.9}, True),
        ("1.mp4", {"duration": 105.0}, False),
        ("1.mp4", {"duration": 30.0, "clip": Span(0, 30)}, False),
        ("NUsG9BgSes0_0.0_150.0.mp4", {"duration": 150.0}, True),
        ("NUsG9BgSes0_60.0_210.0.mp4", {"duration": 150.0}, False),
    ],
)
def test_two_videos_of_one_name_are_suspected_by_their_durations(video, changes, apart):
    whole = row("a", video="NUsG9BgSes0.mp4" if video.startswith("N") else video, duration=100.0)
    (shared,) = find_shared_rows([whole], [row("b", video="x/" + video, **changes)])
    assert shared.has_other_duration is apart


def test_spans_without_length_overlap_only_their_equals():
    assert select_overlapping(find_shared_rows([row("a", (5, 5))], [row("b", (0, 10)), row("c", (5, 6))]), 0.0) == []
    (same,) = select_overlapping(find_shared_rows([row("a", (5, 5))], [row("b", (0, 10)), row("c", (5, 5))]), 0.5)
    assert (same.iou, same.other.id) == (1.0, "c")


def test_a_threshold_is_met_from_itself_on():
    shared = find_shared_rows([row("a", (0, 10)), row("b", (0, 4)), row("c", (60, 70))], [row("d", (0, 5))])
    assert [s.example.id for s in select_overlapping(shared, 0.5)] == ["a", "b"]
    assert [s.example.id for s in select_overlapping(shared, 0.51)] == ["b"]
    assert [s.example.id for s in select_overlapping(shared, 0.0)] == ["a", "b"]


@settings(deadline=None)
@given(manifests(), manifests(prefix="o"), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_overlap_is_symmetric_and_what_a_search_of_all_pairs_finds(a, b, threshold):
    def name(example):  # all videos of `manifests` but these lie in one folder
        return "youtube" if "NUsG9BgSes0" in example.video else example.video

    def expected(one, other):
        best = {
            x.id: max(
                (1.0 if s == t else temporal_iou(s, t) for y in other if name(x) == name(y)
                 for s in spans_in_source(x) for t in spans_in_source(y)), default=0.0,
            ) for x in one
        }  # fmt: skip
        return {id: iou for id, iou in best.items() if iou > 0 and iou >= threshold}

    forward, backward = (select_overlapping(find_shared_rows(*sets), threshold) for sets in ((a, b), (b, a)))
    assert {s.example.id: s.iou for s in forward} == expected(a, b)
    assert {s.example.id: s.iou for s in backward} == expected(b, a)
    assert bool(forward) == bool(backward)
    assert max((s.iou for s in forward), default=0) == max((s.iou for s in backward), default=0)


def test_a_set_overlaps_with_itself_and_its_cut_parts_do_not(shared_data):
    """On ActivityNet's own captions: 17,505 rows, a few of them about one moment in several words."""
    captions = json.loads((shared_data / "annotations" / "activitynet_captions_val_1.json").read_text())
    rows = [
        row(
            f"{name}-{n}",
            tuple(sorted(span)),
            video=f"{name}.mp4",
            query=sentence.strip() or "-",
            duration=d["duration"],
        )
        for name, d in captions.items()
        for n, (span, sentence) in enumerate(zip(d["timestamps"], d["sentences"], strict=True))
    ]
    even, odd = rows[::2], rows[1::2]
    one, other = (
        select_overlapping(find_shared_rows(even, odd), 0.0),
        select_overlapping(find_shared_rows(odd, even), 0.0),
    )
    assert {s.example.video for s in one} == {s.example.video for s in other}
    assert len(select_overlapping(find_shared_rows(rows, rows), 1.0)) == sum(
        r.spans[0].end_s > r.spans[0].start_s for r in rows
    )


# On the command line


@pytest.fixture
def sets(tmp_path):
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    videos = ["a.mp4", "a.mp4", "b.mp4", "b.mp4"]
    write_manifest(
        train, [row(f"r{n}", (10 * n, 10 * n + 10), video=video, query=f"{n}") for n, video in enumerate(videos)]
    )
    write_manifest(
        test, [row("t0", (0, 9), video="x/a.mp4", query="0."), row("t1", (27, 31), video="x/b.mp4", query="?")]
    )
    return train, test


def test_data_overlap_in_words(sets, tmp_path, capsys):
    assert main(["data", "overlap", *map(str, sets)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == ("1 row of train.jsonl (25.0%) asks about a moment that test.jsonl asks about too (IoU >= 0.5).")
    assert lines[2].startswith("1 row of test.jsonl (50.0%) asks about a moment that train.jsonl asks about too")
    assert "2 of its 2 videos are in both, with 4 rows" in lines[1]
    assert "3 overlap at all, 1 asks the same question" in lines[1]
    assert captured.err == ""


def test_videos_that_can_hardly_be_one_are_said(sets, tmp_path, capsys):
    other = tmp_path / "other.jsonl"
    write_manifest(other, [row("o", (0, 10), video="y/a.mp4", duration=30.0)])
    assert main(["data", "overlap", str(sets[0]), str(other)]) == 0
    assert (
        "2 rows of them ask about videos of one name whose durations differ by more than 5 s" in capsys.readouterr().out
    )


def test_data_overlap_in_json_and_files(sets, tmp_path, capsys):
    train, test = sets
    out, without = tmp_path / "new" / "pairs.jsonl", tmp_path / "clean.jsonl"
    files = ["--out", str(out), "--without", str(without)]
    assert main(["data", "overlap", str(train), str(test), "--threshold", "0", "--json", *files]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["a"] == {
        "manifest": str(train), "rows": 4, "videos": 2, "shared_videos": 2, "about_shared_videos": 4, "overlapping": 3,
        "at_threshold": 3, "same_query": 1, "durations_apart": 0,
    }  # fmt: skip
    assert (facts["b"]["rows"], facts["b"]["overlapping"]) == (2, 2)
    assert read_manifest(without) == [example for example in read_manifest(train) if example.id == "r1"]
    pairs = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(pair["id"], pair["other_id"], pair["same_query"]) for pair in pairs] == [
        ("r0", "t0", True),
        ("r2", "t1", False),
        ("r3", "t1", False),
    ]
    assert pairs[0]["iou"] == 0.9


def test_overlaps_that_are_refused(sets, tmp_path, refused):
    train, test = sets
    assert "is given twice" in refused("data", "overlap", train, train)
    assert "also uses" in refused("data", "overlap", train, test, "--without", test)
    assert "also uses" in refused("data", "overlap", train, test, "--out", train)
    twice = ("--out", tmp_path / "x", "--without", tmp_path / "x")
    assert "also uses" in refused("data", "overlap", train, test, *twice)
    assert "from 0 to 1" in refused("data", "overlap", train, test, "--threshold", 2)
    write_manifest(test, [row("t", (0, 100), video="a.mp4"), row("u", (0, 100), video="b.mp4")])
    without = tmp_path / "clean.jsonl"
    sentence = refused("data", "overlap", train, test, "--threshold", 0, "--without", without)
    assert "every row of" in sentence
    assert not without.exists()
