"""Every format on made-up rows, and on the field's own files where they are."""

from __future__ import annotations

import json
import pickle

import pytest
from annotation_rows import DIDEMO, EVENT, SAMPLES, TIMER1, TVG, by_video, lines, write

from video_opd.data.importers._account import Policies
from video_opd.data.importers._annotation import ReadOptions
from video_opd.data.importers._collector import Collector
from video_opd.data.importers._durations import read_durations
from video_opd.data.importers._formats import ANNOTATORS, FORMATS, QUERIES, UNITS
from video_opd.data.importers._read_annotations import load_importer, read_annotations
from video_opd.data.importers._video_files import VideoFiles
from video_opd.data.importers.didemo import combine_segments
from video_opd.data.manifest import read_manifest, write_manifest
from video_opd.data.query_words import QUERY_POLICIES, extract_quoted, normalise
from video_opd.errors import ConfigurationError, DataError
from video_opd.types import Example, Span

NAMES = [f"{number}-{sample.format}" for number, sample in enumerate(SAMPLES)]


def collect(format, files, durations=None, *, reading=None, **policies) -> Collector:
    collector = Collector(
        Policies(source=format, **policies), read_durations(durations) if durations is not None else None
    )
    collector.collect(read_annotations(format, files, reading or ReadOptions()))
    return collector


def imported(tmp_path, format, text, name="a.jsonl", **options) -> list[Example]:
    (tmp_path / name).write_text(text)
    return collect(format, [tmp_path / name], **options).examples


def test_every_format_has_a_sample_and_an_importer():
    assert {sample.format for sample in SAMPLES} == FORMATS.keys()
    assert all(callable(load_importer(format)) for format in FORMATS)
    assert QUERY_POLICIES.keys() == set(QUERIES)


@pytest.mark.parametrize("sample", SAMPLES, ids=NAMES)
def test_made_up_rows(sample, tmp_path):
    files, durations = write(sample, tmp_path)
    examples = collect(sample.format, files, durations).examples
    assert {key: getattr(examples[0], key) for key in sample.first} == sample.first
    assert len(examples) == sample.count
    write_manifest(tmp_path / "manifest.jsonl", examples)
    assert read_manifest(tmp_path / "manifest.jsonl") == examples


@pytest.mark.parametrize("sample", SAMPLES, ids=NAMES)
def test_the_same_files_give_the_same_ids(sample, tmp_path):
    files, durations = write(sample, tmp_path)
    ids = [[example.id for example in collect(sample.format, files, durations).examples] for _ in range(2)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == len(ids[0])


FIELD = [
    # format, file, rows, rows with several spans, ends after the video, by more than a second
    ("charades-sta", "charades_sta_test.txt", 3720, 0, 562, 228),
    ("charades-sta", "charades_sta_novel_word.json", 695, 0, 109, 45),
    ("charades-sta", "charades_test_lighthouse.jsonl", 3720, 0, 0, 0),
    # FIELD counts 134: all but five of them by less than 1e-9 s, the float of 95.04 against 95.03999999999999
    ("activitynet-captions", "activitynet_captions_val_1.json", 17505, 0, 5, 0),
    ("qvhighlights", "highlight_val_release.jsonl", 1550, 530, 0, 0),
    ("tacos", "tacos_test_2dtan.json", 4001, 0, 5, 0),
    ("tacos", "tacos_test_lighthouse.jsonl", 4001, 0, 0, 0),
    ("didemo", "didemo_val_data.json", 4180, 0, 0, 0),
    ("hirest", "hirest_all_data_val.json", 193, 0, 0, 0),
    ("hirest-steps", "hirest_all_data_val.json", 606, 0, 0, 0),
    ("time-r1", "timer1_train_2k5.json", 2500, 0, 34, 29),
    ("tvgbench", "timer1_tvgbench.json", 800, 0, 27, 10),
    ("vue-tr", "vue_tr_v2_ground_truth.json", 1600, 337, 0, 0),
]


@pytest.mark.parametrize(
    ("format", "file", "rows", "several", "beyond", "by_a_second"), FIELD, ids=[f[1] for f in FIELD]
)
def test_the_fields_own_files(shared_data, format, file, rows, several, beyond, by_a_second):
    annotations = shared_data / "annotations"
    durations = annotations / "Charades_v1_test.csv" if file.endswith(".txt") else None
    report = collect(format, [annotations / file], durations).report
    skipped = report.dropped.total()
    assert (report.rows_read - skipped, report.rows_kept, report.several_spans) == (rows, rows, several)
    assert dict(report.dropped) == (
        {"the video is not marked as having the moment": skipped} if format.startswith("hirest") else {}
    )
    assert (report.spans_beyond, report.spans_beyond_tolerance) == (beyond, by_a_second)


def test_charades_text_and_lighthouse_agree_where_lighthouse_did_not_clip(shared_data):
    annotations = shared_data / "annotations"
    text = collect(
        "charades-sta", [annotations / "charades_sta_test.txt"], annotations / "Charades_v1_test.csv", beyond="clip"
    ).examples
    house = collect("charades-sta", [annotations / "charades_test_lighthouse.jsonl"]).examples
    assert [(e.video, e.query, e.spans, e.duration) for e in text] == [
        (e.video, e.query, e.spans, e.duration) for e in house
    ]


def test_tacos_in_frames_and_in_seconds_agree(shared_data):
    annotations = shared_data / "annotations"
    frames = collect("tacos", [annotations / "tacos_test_2dtan.json"], beyond="clip").examples
    seconds = collect("tacos", [annotations / "tacos_test_lighthouse.jsonl"]).examples
    for a, b in zip(frames, seconds, strict=True):
        assert a.spans[0] == pytest.approx(b.spans[0], abs=1e-6)
        assert a.duration == pytest.approx(b.duration)


# DiDeMo


def test_didemo_chunks_are_five_seconds_and_the_last_one_counts():
    segments = [(0.0, 5.0), (5.0, 10.0), (5.0, 10.0), (0.0, 30.0)]
    assert combine_segments(segments, 6, "all") == ((0, 5), (5, 10), (0, 30))
    assert combine_segments(segments, 6, "majority") == ((5, 10),)
    # Best three of four: (5,10) has 1, 1, 1/6; (0,10) has 1/2, 1/2, 1/2; (0,5) has 1, 1/6, 0.
    assert combine_segments(segments, 6, "consensus") == ((5, 10),)
    # A fourth is not heard: both segments have three that agree wholly, and the earlier one is taken.
    assert combine_segments([(0.0, 5.0)] * 3 + [(5.0, 30.0)] * 4, 6, "consensus") == ((0, 5),)
    # In seconds: starts 0, 5, 5, 0 -> 2.5 -> 2 (half to even); ends 5, 10, 10, 30 -> 13.75 -> 14.
    assert combine_segments(segments, 6, "mean") == ((2, 14),)


def test_didemo_consensus_can_be_a_segment_that_nobody_named():
    # 15-30 has 1/2, 2/3 and 2/3, in the mean 11/18; 0-30 has 1, 1/3 and 1/3, 20-30 has 1, 1/3 and 1/3: 5/9.
    assert combine_segments([(0.0, 30.0), (15.0, 25.0), (20.0, 30.0)], 6, "consensus") == ((15, 30),)


def test_of_equals_the_earliest_then_shortest_is_the_consensus():
    # 0-5, 5-10 and 0-10 have 1/2 in the mean of two.
    assert combine_segments([(5.0, 10.0), (0.0, 5.0)], 6, "consensus") == ((0, 5),)
    # 5-15 has 0, 1 and 1/5, 5-30 has 0, 2/5 and 4/5: as much, but for the sixteenth digit.
    assert combine_segments([(0.0, 5.0), (5.0, 15.0), (10.0, 30.0)], 6, "consensus") == ((5, 15),)


def test_annotators_by_a_rule_that_there_is_not():
    with pytest.raises(ConfigurationError, match="--annotators median: no rule has that name"):
        combine_segments([(0.0, 5.0)], 6, "median")


def test_a_mean_of_didemo_is_in_whole_seconds():
    # What VideoMind makes of the first row of the validation set: starts 5, 5, 5, 0 -> 3.75, ends -> 8.75.
    assert combine_segments([(5.0, 10.0)] * 3 + [(0.0, 5.0)], 6, "mean") == ((4, 9),)


def test_names_of_didemo_with_unusual_endings(tmp_path):
    rows = [
        DIDEMO | {"times": [[0, 0]], "video": name, "annotation_id": number}
        for number, name in enumerate(("1_a.3gp", "1_b.", "1_c.MOV"))
    ]
    examples = imported(tmp_path, "didemo", json.dumps(rows), "a.json")
    assert [example.video for example in examples] == ["1_a.3gp", "1_b.mp4", "1_c.MOV"]
    assert [example.id for example in examples] == ["didemo/1_a/0", "didemo/1_b/1", "didemo/1_c/2"]


@pytest.mark.parametrize("times", [[1, 9], [6, 6], [3, 2], [-1, 2]])
def test_a_chunk_that_is_not_there_drops_its_description(tmp_path, times):
    rows = [DIDEMO | {"times": [[0, 0], times]}, DIDEMO | {"times": [[0, 5]], "annotation_id": 7}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found = collect("didemo", [tmp_path / "a.json"])
    assert [example.id.rpartition("/")[2] for example in found.examples] == ["7"]
    assert found.report.dropped == {"an annotator names a chunk that the video has not": 1}


@pytest.mark.parametrize("annotators", ANNOTATORS)
def test_didemo_never_leaves_the_video_and_never_collapses(annotators):
    for start, end in combine_segments([(25.0, 30.0)] * 3 + [(0.0, 5.0)], 6, annotators):
        assert 0 <= start < end <= 30


# Crops


def test_a_crop_becomes_a_clip_unless_the_file_is_the_crop(tmp_path):
    rows = [
        TIMER1 | {"video_start": 39.0, "video_end": 84.7, "duration": 45.7},
        TIMER1 | {"video": "v/a_00:00:39:000_00:01:24:700.mp4", "video_start": 39.0, "video_end": 84.7},
    ]
    whole, cropped = imported(tmp_path, "time-r1", json.dumps(rows), "a.json")
    assert whole.clip == (39.0, 84.7)
    assert (cropped.clip, cropped.video) == (None, "a_00:00:39:000_00:01:24:700.mp4")


def test_tvgbench_answers_count_from_the_start_of_the_crop(tmp_path):
    (row,) = imported(
        tmp_path, "tvgbench", json.dumps([TVG | {"duration": 99.4, "start": 53.0, "end": 152.4}]), "a.json"
    )
    assert (row.clip, row.spans, row.source) == ((53.0, 152.4), ((13.4, 28.1),), "tvgbench/ego4d")


@pytest.mark.parametrize(
    ("format", "row"),
    [
        ("tvgbench", TVG | {"duration": 99.4, "start": 53.0}),
        ("tvgbench", TVG | {"duration": 99.4, "end": 53.0}),
        ("time-r1", TIMER1 | {"video_start": 39.0}),
        ("time-r1", TIMER1 | {"video_end": 84.7}),
        ("jsonl", {"video": "a.mp4", "query": "a cat", "spans": [[1, 2]], "clip_start": 3}),
        ("jsonl", {"video": "a.mp4", "query": "a cat", "spans": [[1, 2]], "clip_end": 3}),
    ],
)
def test_half_a_clip_is_not_the_whole_video(tmp_path, format, row):
    with pytest.raises(DataError, match=r"line 1: it has only one end of a clip"):
        imported(tmp_path, format, lines(row))


# csv and jsonl


def test_columns_by_name(tmp_path):
    text = "file\tcaption\tbegin\tfinish\tlength\na.mp4\ta cat\t1\t2\t30\n"
    columns = (("video", "file"), ("query", "caption"), ("start", "begin"), ("end", "finish"), ("duration", "length"))
    (row,) = imported(tmp_path, "csv", text, "own.tsv", reading=ReadOptions(columns=columns))
    assert (row.video, row.query, row.spans, row.duration) == ("a.mp4", "a cat", ((1, 2),), 30)


@pytest.mark.parametrize(
    ("unit", "start", "end", "fps"),
    [
        ("seconds", "3", "4.5", None),
        ("milliseconds", "3000", "4500", None),
        ("frames", "75", "112.5", 25.0),
        ("percent", "10", "15", None),
        ("fraction", "0.1", "0.15", None),
        ("clock", "0:03", "00:00:04.5", None),
    ],
)
def test_units(tmp_path, unit, start, end, fps):
    text = f"video,query,start,end,duration\na.mp4,a cat,{start},{end},30\n"
    (row,) = imported(tmp_path, "csv", text, "own.csv", reading=ReadOptions(unit=unit, fps=fps))
    assert row.spans[0] == pytest.approx((3, 4.5))
    assert unit in UNITS


def test_hours_on_a_clock(tmp_path):
    text = "video,query,start,end,duration\na.mp4,a cat,1:02:03,1:02:04.5,7200\n"
    assert imported(tmp_path, "csv", text, "own.csv", reading=ReadOptions(unit="clock"))[0].spans == ((3723, 3724.5),)


def test_spans_of_a_table_as_json(tmp_path):
    text = 'video,query,spans,duration\na.mp4,a cat,"[[1, 2], [3, 4]]",30\n'
    (row,) = imported(tmp_path, "csv", text, "own.csv")
    assert row.spans == ((1, 2), (3, 4))


def test_a_clip_of_a_table(tmp_path):
    text = "video,query,start,end,duration,clip_start,clip_end\na.mp4,a cat,1,2,10,20,30\n"
    assert imported(tmp_path, "csv", text, "own.csv")[0].clip == (20, 30)


def test_a_manifest_is_read_again_with_its_clips(tmp_path):
    rows = [
        Example(id="q1", video="a.mp4", query="a cat", spans=(Span(1, 2),), duration=10, clip=Span(20, 30)),
        Example(id="q2", video="a.mp4", query="a cat", spans=(Span(1, 2),), duration=10),
    ]
    write_manifest(tmp_path / "m.jsonl", rows)
    again = collect("jsonl", [tmp_path / "m.jsonl"]).examples
    assert [(row.spans, row.duration, row.clip) for row in again] == [(r.spans, r.duration, r.clip) for r in rows]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ('"[20, 30]",,', None),
        ("[all],,", r"`clip` is '\[all\]', not a pair such as"),
        ('"[20, 30]",20,30', "it has its clip twice"),
        ('"[20]",,', "`clip` has 1 value, where a pair was expected"),
    ],
)
def test_a_clip_in_one_cell(tmp_path, cell, said):
    text = f"video,query,start,end,clip,clip_start,clip_end\na.mp4,a cat,1,2,{cell}\n"
    if said is None:
        assert imported(tmp_path, "csv", text, "own.csv")[0].clip == (20, 30)
    else:
        with pytest.raises(DataError, match=said):
            imported(tmp_path, "csv", text, "own.csv")


def test_a_column_of_their_own_called_clip(tmp_path):
    """It is passed over, as any other they have; said to be the clip, it has to be one."""
    text = "video,query,start,end,duration,clip\na.mp4,a cat,1,2,30,a_012\n"
    assert imported(tmp_path, "csv", text, "own.csv")[0].clip is None
    with pytest.raises(DataError, match="`clip` is 'a_012', not a pair such as"):
        imported(tmp_path, "csv", text, "own.csv", reading=ReadOptions(columns=(("clip", "clip"),)))
    assert (
        imported(
            tmp_path, "jsonl", lines({"video": "a.mp4", "query": "q", "start": 1, "end": 2, "duration": 9, "clip": 7})
        )[0].clip
        is None
    )


def test_percent_with_its_sign(tmp_path):
    text = "video,query,start,end,duration\na.mp4,a cat,10%,15 %,30\n"
    assert imported(tmp_path, "csv", text, "own.csv", reading=ReadOptions(unit="percent"))[0].spans[0] == pytest.approx(
        (3, 4.5)
    )


def test_an_empty_query_is_counted_and_not_refused(tmp_path):
    (tmp_path / "own.csv").write_text("video,query,start,end,duration\na.mp4,,1,2,30\na.mp4,a cat,1,2,30\n")
    assert dict(collect("csv", [tmp_path / "own.csv"]).report.dropped) == {"the query is empty": 1}


# What is no row is counted


@pytest.mark.parametrize(
    ("format", "reason", "count"),
    [
        ("hirest", "the video is not marked as having the moment", 2),
        ("ego4d-nlq", "its text or its times are null", 1),
    ],
)
def test_what_an_importer_passes_over_is_counted(tmp_path, format, reason, count):
    sample = next(sample for sample in SAMPLES if sample.format == format)
    files, durations = write(sample, tmp_path)
    assert dict(collect(format, files, durations).report.dropped) == {reason: count}


def test_an_answer_without_times_is_counted(tmp_path):
    talk = {
        "id": "abcdefghijk",
        "conversations": [
            {"from": "human", "value": "What is it about?"},
            {"from": "gpt", "value": "A cat."},
            {"from": "gpt", "value": "From <s0> to <e0>, it sits."},
        ],
        "meta": {"duration": 9, "token": {"<s0>": 0, "<e0>": 4}},
    }
    (tmp_path / "a.json").write_text(json.dumps([talk]))
    report = collect("internvid-vtime", [tmp_path / "a.json"]).report
    assert (report.rows_kept, dict(report.dropped)) == (1, {"an answer without times": 1})


TOKEN = {"<s0>": 0, "<e0>": 9.4, "<s1>": 49.4, "<e1>": 53.2}
OTHER_FORM = "times in another form"


def talked(tmp_path, *turns):
    """What is read of the answers to the questions, and what is counted as dropped."""
    talk = {
        "id": "abcdefghijk",
        "conversations": [{"from": ("human", "gpt")[n % 2], "value": turn} for n, turn in enumerate(turns)],
        "meta": {"duration": 54.2, "split": [129.8, 184.0], "token": TOKEN},
    }
    (tmp_path / "a.json").write_text(json.dumps([talk, SPOKEN]))
    collector = collect("internvid-vtime", [tmp_path / "a.json"])
    return [(e.query, e.spans[0]) for e in collector.examples[:-1]], dict(collector.report.dropped)


SPOKEN = {
    "id": "bbbbbbbbbbb",
    "conversations": [{"from": "gpt", "value": "From <s0> to <e0>, it sits."}],
    "meta": {"duration": 54.2, "token": TOKEN},
}


@pytest.mark.parametrize(
    "answer",
    [
        "From <s0> to <e0>, a woman counts money. From <s1> to <e1>, two people shake hands.",
        "A woman counts money, from <s0> to <e0>. Two people shake hands, from <s1> to <e1>.",
        "a woman counts money from <s0> to <e0>. two people shake hands from <s1> to <e1>",
    ],
)
def test_events_of_a_conversation_with_their_own_times(tmp_path, answer):
    read, dropped = talked(tmp_path, "<video>\nWhat happens when?", answer)
    assert [(query.lower(), span) for query, span in read] == [
        ("a woman counts money", (0, 9.4)),
        ("two people shake hands", (49.4, 53.2)),
    ]
    assert dropped == {}


@pytest.mark.parametrize(
    "question",
    [
        "<video>\nCan you describe what occurred from <s1> to <e1> in the video?",
        "Describe what took place from <s1> to <e1> in the video.",
        "Tell me about the events from <s1> to <e1> in the video.",
        "What was going on from <s1> to <e1>?",
    ],
)
def test_the_event_is_the_answer_and_not_the_question_that_names_the_times(tmp_path, question):
    assert talked(tmp_path, question, "Two people shake hands.") == ([("Two people shake hands", (49.4, 53.2))], {})


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Is there a dog from <s0> to <e0>?", "Yes.", "an answer without times"),
        ("What is it about?", "A cat.", "an answer without times"),
        ("During which frames can we see a cat?", "From <s0> to <e0>.", "only times: the event is in the question"),
        ("When is a cat there?", "From <s0> to <e0>. From <s1> to <e1>.", "only times: the event is in the question"),
        ("What happened from <s0> to <e0>?", "From <s0> to <e0>.", "only times: the event is in the question"),
        ("When?", "A cat sits at <s0> and leaves at <e0>.", OTHER_FORM),
        ("When?", "From <s0> to <e0> a cat sits.", OTHER_FORM),
        ("When?", "From <s0> to <e0>, a cat sits, from <s1> to <e1>, it sleeps.", OTHER_FORM),
        ("When?", "From <s0> to <e0>, a cat sits. It sleeps, from <s1> to <e1>.", OTHER_FORM),
        ("When?", "A cat sits. It sleeps, from <s0> to <e0>.", OTHER_FORM),
    ],
)
def test_an_event_is_read_and_never_guessed(tmp_path, question, answer, reason):
    assert talked(tmp_path, question, answer) == ([], {reason: 1})


def test_a_question_holds_for_its_own_answer_only(tmp_path):
    turns = ["What happened from <s0> to <e0>?", "A cat sits.", "Is it black?", "No."]
    assert talked(tmp_path, *turns) == ([("A cat sits", (0, 9.4))], {"an answer without times": 1})


def test_times_that_nobody_gives_are_refused(tmp_path):
    with pytest.raises(DataError, match="no time for <s7>"):
        talked(tmp_path, "When?", "From <s7> to <e0>, a cat sits.")


# QuerYD


def test_a_pickle_runs_nothing(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "c.pkl").write_bytes(pickle.dumps({"video-a": Bomb()}))
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({}))
    with pytest.raises(DataError, match=r"not a pickle of plain data: it asks for (_io|io|builtins)\.open"):
        collect("queryd", [tmp_path / "c.pkl", tmp_path / "t.pkl"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("captions", "times", "said"),
    [
        ({"video-a": [["a", "cat"], ["b"]]}, {"video-a": [[1, 2]]}, "video-a has 2 captions and 1 times"),
        ({"video-a": [["a", "cat"]]}, {}, "t.json has no times for video-a"),
        ({"video-a": 7}, {"video-a": [[1, 2]]}, "video-a is not a list of captions"),
    ],
)
def test_queryd_files_that_do_not_belong_together(tmp_path, captions, times, said):
    (tmp_path / "c.json").write_text(json.dumps(captions))
    (tmp_path / "t.json").write_text(json.dumps(times))
    with pytest.raises(DataError, match=said):
        collect("queryd", [tmp_path / "c.json", tmp_path / "t.json"])


# Ids


def test_an_id_that_is_taken_is_numbered_and_told(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        lines(*({"qid": 7, "query": q, "duration": 9, "vid": "ABC12", "relevant_windows": [[1, 2]]} for q in "ab"))
    )
    collector = collect("charades-sta", [tmp_path / "a.jsonl"])
    assert [e.id for e in collector.examples] == ["charades-sta/ABC12/7", "charades-sta/ABC12/7-2"]
    assert collector.report.same_id == 1


def test_two_files_are_one_set(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(lines(EVENT))
    collector = collect("cosmo-cap", [tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert [e.id for e in collector.examples] == ["cosmo-cap/abcdefghijk/0", "cosmo-cap/abcdefghijk/1"]
    assert collector.report.same_question == 1


# Queries


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("as-is", "  A Cat\n sits.. "),
        ("trim", "A Cat sits.."),
        ("timelens", "A Cat sits"),
        ("time-r1", "a cat\n sits."),
        ("quoted", "  A Cat\n sits.. "),
    ],
)
def test_query_policies(tmp_path, policy, expected):
    (row,) = imported(tmp_path, "cosmo-cap", lines(EVENT | {"query": "  A Cat\n sits.. "}), queries=policy)
    assert row.query == expected


def test_words_are_compared_without_case_blanks_and_full_stops():
    assert {normalise(text) for text in ("A cat  sits", " a CAT\nsits. ", "..a cat sits ..")} == {"a cat sits"}
    assert normalise("Straße.") == normalise("STRASSE")
    assert normalise("a cat sits?") != normalise("a cat sits")


@pytest.mark.parametrize(
    ("instruction", "event"),
    [
        ("Find 'a cat sits' in it.", "a cat sits"),
        ("Find 'the cat's bowl' in it.", "the cat's bowl"),
        ('Find "a cat" now', "a cat"),
        ("Find 'a cat' and 'a dog'.", "Find 'a cat' and 'a dog'."),
        ("The dog's bowl isn't full", "The dog's bowl isn't full"),
    ],
)
def test_what_stands_in_quotes(instruction, event):
    assert extract_quoted(instruction) == event


def test_a_charades_video_is_as_long_as_annotated_to_a_second(shared_data):
    """OHOFG: 35.04 s in the csv, 35.20 s in the container, 335 frames at 9.53 a second."""
    annotations = shared_data / "annotations"
    files = VideoFiles(shared_data / "video")
    collector = Collector(
        Policies(source="sta", missing_videos="drop"), read_durations(annotations / "Charades_v1_test.csv"), files
    )
    collector.collect(read_annotations("charades-sta", [annotations / "charades_sta_test.txt"], ReadOptions()))
    assert {example.video for example in collector.examples} == {"OHOFG.mp4"}
    assert (len(collector.examples), collector.report.durations_off) == (6, {})
    assert files.read_duration("OHOFG.mp4") == pytest.approx(35.15, abs=0.06)
    assert collector.examples[0].duration == 35.04


def test_a_compositional_split_that_nobody_names(tmp_path):
    """`novels` and `news` tell the split, or the name of the file; neither is guessed."""
    entry = {"ABC12": {"duration": 30.5, "timestamps": [[2.0, 4.5]], "sentences": ["a cat"]}}
    for name, split in (("test_trivial.json", "test-trivial"), ("train.json", "train")):
        (example,) = imported(tmp_path, "charades-cg", json.dumps(entry), name=name)
        assert (example.source, example.id) == (f"charades-cg/{split}", f"charades-cg/{split}/ABC12/0")
    with pytest.raises(DataError, match="it does not say of which split it is"):
        imported(tmp_path, "charades-cg", json.dumps(entry), name="test.json")
    both = {"ABC12": entry["ABC12"] | {"novels": [], "news": []}}
    with pytest.raises(DataError, match="it does not say of which split it is"):
        imported(tmp_path, "charades-cg", json.dumps(both), name="x.json")
    with pytest.raises(DataError, match="'v_abcdefghijk' is not the name of a video of Charades"):
        imported(tmp_path, "charades-cg", by_video("v_abcdefghijk", news=[]), name="novel_word.json")
