"""Policies and the account they leave: nothing is kept, cut or dropped without a count."""

from __future__ import annotations

import pytest
from annotation_rows import EVENT, lines

from video_opd.data.importers._account import Policies
from video_opd.data.importers._annotation import ReadOptions
from video_opd.data.importers._collector import Collector
from video_opd.data.importers._durations import read_durations
from video_opd.data.importers._read_annotations import read_annotations, read_video_list
from video_opd.data.importers._video_files import VideoFiles
from video_opd.data.video.video_io import write_video
from video_opd.data.video.video_names import video_name
from video_opd.errors import DataError


@pytest.fixture
def collect(tmp_path):
    def run(*rows, durations=None, videos=None, unit="seconds", **policies) -> Collector:
        path = tmp_path / "rows.jsonl"
        path.write_text(lines(*rows))
        collector = Collector(
            Policies(source="own", **policies), durations, None if videos is None else VideoFiles(videos)
        )
        collector.collect(read_annotations("jsonl", [path], ReadOptions(unit=unit)))
        return collector

    return run


ROW = {"video": "a.mp4", "query": "a cat", "spans": [[2, 4], [8, 12]], "duration": 10}
GOOD = ROW | {"spans": [[1, 2]]}


@pytest.mark.parametrize(
    ("beyond", "spans"), [("keep", ((2, 4), (8, 12))), ("clip", ((2, 4), (8, 10))), ("drop", ((2, 4),))]
)
def test_spans_beyond_the_video(collect, beyond, spans):
    collector = collect(ROW, beyond=beyond)
    assert collector.examples[0].spans == spans
    report = collector.report
    assert (report.spans_beyond, report.spans_beyond_tolerance, report.spans_off_scale) == (1, 1, 0)
    assert sum(report.spans_dropped.values()) == (beyond == "drop")


def test_a_span_that_begins_after_the_video_cannot_be_clipped(collect):
    collector = collect(ROW | {"spans": [[2, 4], [11, 12]]}, beyond="clip")
    assert collector.examples[0].spans == ((2, 4),)
    assert collector.report.spans_dropped == {"it begins after the video": 1}
    assert collector.report.spans_off_scale == 1


def test_rounding_is_not_beyond(collect):
    # 95.04 against 95.03999999999999, as ActivityNet Captions has it 129 times
    collector = collect(ROW | {"spans": [[36.59, 95.04]], "duration": 95.03999999999999}, beyond="drop")
    assert collector.report.spans_beyond == 0
    assert collector.examples[0].spans == ((36.59, 95.04),)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW | {"query": "   "}, "the query is empty"),
        (ROW | {"duration": 0}, "the duration is not more than 0"),
        (ROW | {"duration": -3}, "the duration is not more than 0"),
        (ROW | {"spans": [[4, 2]]}, "no span is left"),
        (ROW | {"spans": [[-1, 2]]}, "no span is left"),
        (ROW | {"spans": []}, "no span is annotated"),
        (ROW | {"video": "../a.mp4"}, "the video's path is not one inside a folder"),
        (ROW | {"video": "https://x/a.mp4"}, "the video's path is not one inside a folder"),
        (ROW | {"query": "\ud800"}, "`query` holds half of a surrogate pair, which no file can store"),
    ],
)
def test_a_row_that_cannot_be_used_is_dropped_with_its_reason(collect, row, reason):
    report = collect(GOOD, row).report
    assert (report.rows_read, report.rows_kept, dict(report.dropped)) == (2, 1, {reason: 1})
    assert report.first[reason].endswith("rows.jsonl, line 2")


def test_a_bad_span_among_good_ones_is_dropped_alone(collect):
    collector = collect(ROW | {"spans": [[4, 2], [1, 3], [-1, 2]]})
    assert collector.examples[0].spans == ((1, 3),)
    assert collector.report.spans_dropped == {"it ends before it begins": 1, "it begins before 0 s": 1}


def test_a_point_is_a_span(collect):
    assert collect(ROW | {"spans": [[9.5, 9.5]]}).examples[0].spans == ((9.5, 9.5),)


def test_what_was_silent_is_counted(collect):
    report = collect(
        GOOD,
        GOOD | {"spans": [[9.5, 9.5], [1, 2]]},
        GOOD | {"clip": [5, 10], "duration": 30},
        GOOD | {"clip": [5, 10], "duration": 5.5},
        GOOD | {"query": "a \x1b[31mred\x1b[0m cat"},
    ).report
    assert (report.spans_without_length, report.clips_unlike_duration, report.control_characters) == (1, 1, 1)
    assert report.first["the clip is not as long as the duration"].endswith("line 3")
    assert report.first["control characters in the query"].endswith("line 5")
    assert report.to_dict()["spans"]["without_length"] == 1


@pytest.mark.parametrize("policy", ["trim", "timelens", "time-r1", "quoted"])
def test_control_characters_become_blanks(collect, policy):
    collector = collect(GOOD | {"query": "a\x00red\x1b[0m cat"}, queries=policy)
    assert collector.examples[0].query.split() == ["a", "red", "cat"]
    assert "\x00" not in collector.examples[0].query
    assert "\x1b" not in collector.examples[0].query
    assert collector.report.control_characters == 0


def test_blanks_around_a_name_are_none_of_it(collect):
    (example,) = collect(GOOD | {"video": " k/a.mp4 "}).examples
    assert (example.video, example.id) == ("k/a.mp4", "own/a/0")


# Durations


def test_the_durations_file_goes_before_the_annotation(collect):
    collector = collect(GOOD, durations={"a": 20.0})
    assert collector.examples[0].duration == 20
    assert collector.report.durations_from == {"durations file": 1}


@pytest.mark.parametrize("own", [{}, {"duration": 30}])
def test_a_durations_file_does_not_say_how_long_a_clip_is(collect, own):
    row = {"video": "a.mp4", "query": "a cat", "spans": [[0.1, 0.5]], "clip_start": 10, "clip_end": 40} | own
    collector = collect(row, durations={"a": 93.0}, unit="fraction")
    (example,) = collector.examples
    assert (example.duration, example.clip, example.spans) == (30, (10, 40), ((3, 15),))
    report = collector.report
    assert report.durations_from == {"annotation" if own else "clip": 1}
    assert (report.durations_disagree, report.clips_off) == (0, {})


@pytest.mark.parametrize(("whole", "off"), [(39.0, {}), (38.9, {"a.mp4": (40.0, 38.9)})])
def test_a_clip_is_held_to_the_durations_file(collect, whole, off):
    report = collect(GOOD | {"clip_start": 30, "clip_end": 40}, durations={"a": whole}).report
    assert report.clips_off == off
    assert report.to_dict()["videos"]["clip_ends_after_file"] == {name: list(pair) for name, pair in off.items()}


def test_unknown_durations_stop_the_import_or_drop_the_rows(collect):
    unknown = {key: value for key, value in GOOD.items() if key != "duration"} | {"video": "b.mp4"}
    with pytest.raises(DataError, match=r"line 2: the duration of video 'b.mp4' is unknown: the durations file has"):
        collect(GOOD, unknown, durations={"a": 20.0})
    report = collect(GOOD, unknown, durations={"a": 20.0}, without_duration="drop").report
    assert dict(report.dropped) == {"the video's duration is unknown": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.csv", "id,length\na,12.5\nb_1.0_2.0,3\n"),
        ("d.json", '{"a.mp4": 12.5, "b_1.0_2.0": {"duration": 3}}'),
        ("d.jsonl", '{"vid": "x/a.mp4", "duration": 12.5}\n{"vid": "b_1.0_2.0", "duration": "3"}\n'),
    ],
)
def test_durations_files(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_durations(tmp_path / name) == {"**/a": 12.5, "**/b_1.0_2.0": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,length\na,12\na,13\n", "line 3: 'a' lasts 13 s here and 12 s further up"),
        ("id,length\na,0\n", "line 2: the duration of 'a' is 0 s"),
        ("id,length\na,0:12\n", "line 2: `duration` is '0:12': a clock time"),
        ("id,size\na,12\n", "line 2: no column says its duration, of `id`, `size`"),
        ("id,length\n", "line 1: the file has no durations"),
    ],
)
def test_bad_durations_files(tmp_path, text, message):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DataError, match=r"d\.csv, ") as refusal:
        read_durations(tmp_path / "d.csv")
    assert message in str(refusal.value)


def test_a_dot_in_a_name_is_not_an_ending():
    assert video_name("x/NUsG9BgSes0_210.0_360.0") == "NUsG9BgSes0_210.0_360.0"
    assert video_name("x/NUsG9BgSes0_210.0_360.0.MP4") == "NUsG9BgSes0_210.0_360.0"


def test_a_path_tells_videos_of_one_name_apart(collect, tmp_path):
    (tmp_path / "d.csv").write_text("id,length\ngarage/0.mp4,40\n./kitchen/0.mp4,30\nx/1.mp4,20\ny/1.mp4,20\n")
    durations = read_durations(tmp_path / "d.csv")
    rows = [GOOD | {"video": name} for name in ("garage/0.mp4", "kitchen/0", "1")]
    assert [e.duration for e in collect(*rows, durations=durations).examples] == [40, 30, 20]
    (tmp_path / "d.csv").write_text("id,length\n0.mp4,10\nb/0.mp4,90\n")
    mixed = read_durations(tmp_path / "d.csv")
    rows = [GOOD | {"video": name, "duration": 50} for name in ("0.mp4", "b/0.mp4", "c/0.mp4")]
    assert [e.duration for e in collect(*rows, durations=mixed).examples] == [10, 90, 50], "0.mp4 is no other folder's"
    unknown = {key: value for key, value in GOOD.items() if key != "duration"} | {"video": "0.mp4"}
    with pytest.raises(DataError, match="the durations file has none, or several of that name"):
        collect(unknown, durations=durations)


def test_a_durations_file_that_disagrees_is_told_of(collect):
    report = collect(GOOD, GOOD | {"video": "b.mp4"}, durations={"a": 10.5, "b": 20.0}).report
    assert report.durations_disagree == 1
    assert report.first["another duration than the durations file"].endswith("line 2")


def test_durations_in_milliseconds_are_not_taken_for_seconds(collect):
    rows = [GOOD | {"video": f"{number}.mp4", "duration": 10_000 + number} for number in range(25)]
    with pytest.raises(DataError, match=r"all 25 spans end within the first 2% of their video"):
        collect(*rows)
    assert len(collect(*rows, GOOD | {"spans": [[8, 9]]}).examples) == 26


# Ids


@pytest.mark.parametrize("policy", [{"beyond": "drop"}, {"only_videos": frozenset(("a",))}, {"queries": "quoted"}])
def test_an_id_means_one_question_whatever_the_policies(collect, policy):
    rows = [
        GOOD | {"video": "a.mp4", "query": "first", "spans": [[8, 12]]},
        GOOD | {"video": "b.mp4", "query": "other"},
        GOOD | {"video": "a.mp4", "query": "  "},
        GOOD | {"video": "a.mp4", "query": "last"},
    ]
    every = {example.id: example.query for example in collect(*rows).examples}
    assert every == {"own/a/0": "first", "own/b/0": "other", "own/a/2": "last"}
    some = {example.id: example.query for example in collect(*rows, **policy).examples}
    assert some.items() <= every.items()


# Splits


def test_a_split_by_name_and_by_list(collect, tmp_path):
    rows = (GOOD | {"split": "train"}, GOOD | {"split": "val", "video": "b.mp4"})
    assert [e.video for e in collect(*rows, split="val").examples] == ["b.mp4"]
    (tmp_path / "list.txt").write_text("video-b\n\n")
    collector = collect(*rows, only_videos=read_video_list(tmp_path / "list.txt"))
    assert [e.video for e in collector.examples] == ["b.mp4"]
    assert dict(collector.report.dropped) == {"its video is not in the list": 1}


def test_a_split_that_is_not_there(collect):
    with pytest.raises(DataError, match=r"none of the 1 rows is left.*The splits are train"):
        collect(GOOD | {"split": "train"}, split="test")
    with pytest.raises(DataError, match="The annotations name no split"):
        collect(GOOD, split="test")


# Units


def test_frame_numbers_are_not_taken_for_seconds(collect):
    rows = [GOOD | {"spans": [[start, start + 90]]} for start in (30, 60, 90, 120, 150)]
    with pytest.raises(DataError, match=r"line 1: this and 4 more of 5 spans begin after their video has ended"):
        collect(*rows)


def test_mixed_units_are_noticed(collect):
    rows = [GOOD] * 60 + [GOOD | {"spans": [[3000, 4000]]}] * 4
    with pytest.raises(DataError, match=r"line 61: this and 3 more of 64 spans"):
        collect(*rows)


def test_one_stray_label_is_no_other_unit(collect):
    assert collect(*[GOOD] * 5, GOOD | {"spans": [[30, 40]]}).report.spans_off_scale == 1


def test_fractions_are_not_taken_for_seconds(collect):
    with pytest.raises(DataError, match="fractions of the video"):
        collect(*[GOOD | {"spans": [[0.1 * n, 0.1 * n + 0.2]]} for n in range(5)])


# Videos


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    import numpy as np

    folder = tmp_path_factory.mktemp("videos")
    frames = np.zeros((20, 32, 32, 3), dtype=np.uint8)
    for name in ("sub/a.mkv", "s30-d52-cam-002.mp4", "x/twice.mp4", "y/twice.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_video(folder / name, frames, fps=2)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def test_videos_are_found_wherever_they_lie(videos):
    files = VideoFiles(videos)
    assert files.find("a") == "sub/a.mkv"
    assert files.find("./elsewhere/sub/a.mkv") == "sub/a.mkv"
    assert files.find("s30-d52.avi") == "s30-d52-cam-002.mp4"
    assert files.find("twice") is None  # of two, neither is guessed
    assert files.find("data/y/twice.mp4") == "y/twice.mp4"
    assert files.find("nothing.mp4") is None


def test_durations_are_compared_with_the_files(collect, videos):
    collector = collect(
        GOOD,
        GOOD | {"video": "s30-d52.avi", "duration": 12},
        GOOD | {"video": "gone"},
        GOOD | {"video": "broken"},
        videos=videos,
    )
    report = collector.report
    assert [e.video for e in collector.examples] == ["sub/a.mkv", "s30-d52-cam-002.mp4", "gone.mp4", "broken.mp4"]
    assert report.durations_off == {"s30-d52-cam-002.mp4": (12.0, 10.0)}
    assert report.videos_missing == ["gone"]
    assert report.videos_ambiguous == {}
    assert list(report.videos_unreadable) == ["broken.mp4"]


def test_a_name_that_several_files_have_is_not_called_missing(collect, videos):
    report = collect(GOOD, GOOD | {"video": "twice"}, videos=videos).report
    assert report.videos_missing == []
    assert report.videos_ambiguous == {"twice": ["x/twice.mp4", "y/twice.mp4"]}


def test_rows_without_a_usable_video_can_be_dropped(collect, videos):
    collector = collect(
        GOOD, GOOD | {"video": "gone"}, GOOD | {"video": "broken"}, videos=videos, missing_videos="drop"
    )
    assert dict(collector.report.dropped) == {"the video is missing or cannot be read": 2}


def test_a_duration_can_come_from_the_file(collect, videos):
    unknown = {key: value for key, value in GOOD.items() if key != "duration"}
    collector = collect(unknown, videos=videos)
    assert collector.examples[0].duration == 10
    assert collector.report.durations_from == {"video": 1}


def test_a_clip_is_as_long_as_it_is(collect, videos):
    unknown = {key: value for key, value in GOOD.items() if key != "duration"} | {"clip_start": 2, "clip_end": 5}
    collector = collect(unknown, videos=videos)
    assert (collector.examples[0].duration, collector.examples[0].clip) == (3, (2, 5))
    assert collector.report.durations_from == {"clip": 1}


def test_a_path_from_here_is_no_other_path(collect):
    assert collect(GOOD | {"video": "./k/a.mp4"}).examples[0].video == "k/a.mp4"


def test_a_clip_is_held_to_its_file(collect, videos):
    collector = collect(GOOD | {"clip_start": 5, "clip_end": 15}, videos=videos)
    assert collector.report.clips_off == {"sub/a.mkv": (15.0, 10.0)}
    assert collector.report.durations_off == {}


def test_links_out_of_the_folder_are_told_of(collect, videos, tmp_path):
    folder = tmp_path / "linked"
    folder.mkdir()
    (folder / "a.mkv").symlink_to(videos / "sub" / "a.mkv")
    (folder / "b.mp4").write_bytes((videos / "s30-d52-cam-002.mp4").read_bytes())
    (folder / "c.mp4").symlink_to(folder / "b.mp4")
    rows = [GOOD, GOOD | {"video": "b"}, GOOD | {"video": "c"}]
    report = collect(*rows, videos=folder).report
    assert report.videos_outside == {"a.mkv": str((videos / "sub" / "a.mkv").resolve())}
    assert report.rows_kept == 3
    report = collect(*rows, videos=folder, missing_videos="drop").report
    assert dict(report.dropped) == {"the video lies outside the folder, behind a link": 1}


def test_an_event_without_a_folder_gets_the_usual_ending(tmp_path):
    (tmp_path / "e.jsonl").write_text(lines(EVENT, EVENT | {"vid": "b.webm"}))
    collector = Collector(Policies(source="own"))
    collector.collect(read_annotations("cosmo-cap", [tmp_path / "e.jsonl"], ReadOptions()))
    assert [e.video for e in collector.examples] == ["abcdefghijk.mp4", "b.webm"]
