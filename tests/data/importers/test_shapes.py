"""One annotation file, however it is written: a value a line, one list, pretty-printed, with a byte order mark."""

from __future__ import annotations

import json

import pytest
from annotation_rows import SAMPLES, lines, moment, write

from video_opd.data.importers._account import Policies
from video_opd.data.importers._annotation import ReadOptions
from video_opd.data.importers._collector import Collector
from video_opd.data.importers._durations import read_durations
from video_opd.data.importers._read_annotations import read_annotations
from video_opd.errors import DataError


def collect(format, files, durations=None, *, reading=None, **policies) -> Collector:
    collector = Collector(Policies(source=format, **policies), read_durations(durations) if durations else None)
    collector.collect(read_annotations(format, files, reading or ReadOptions()))
    return collector


def values_of(name: str, text: str) -> list[object] | None:
    """The rows of a sample that is lines or a list; None where it is something else."""
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    whole = json.loads(text) if name.endswith(".json") else None
    return whole if isinstance(whole, list) else None


WRITTEN = {
    "lines": lambda rows: lines(*rows),
    "list": json.dumps,
    "pretty list": lambda rows: json.dumps(rows, indent=2) + "\n",
    "pretty, one after another": lambda rows: "\n".join(json.dumps(row, indent=2) for row in rows),
    "carriage returns": lambda rows: json.dumps(rows, indent=1).replace("\n", "\r\n"),
    "lines with carriage returns": lambda rows: lines(*rows).replace("\n", "\r\n"),
    "blank lines": lambda rows: "\n\n" + lines(*rows).replace("\n", "\n \n\n"),
    "byte order mark": lambda rows: "\ufeff" + json.dumps(rows),
    "lines with a byte order mark": lambda rows: "\ufeff" + lines(*rows),
}
ROWS = [
    (number, sample, rows)
    for number, sample in enumerate(SAMPLES)
    for name, content in [next(iter(sample.files.items()))]
    if isinstance(content, str) and (rows := values_of(name, content)) and all(isinstance(row, dict) for row in rows)
]


def test_most_formats_are_rows():
    assert {
        "cosmo-cap", "didemo", "ego4d-nlq", "json", "jsonl", "moments", "museg", "nextgqa", "qvhighlights", "tacos",
        "time-r1", "timelens-100k", "timelens2", "tvgbench", "unitime", "vue-tr",
    } <= {sample.format for _, sample, _ in ROWS}  # fmt: skip


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.parametrize(("number", "sample", "rows"), ROWS, ids=[f"{n}-{s.format}" for n, s, _ in ROWS])
def test_rows_are_read_however_they_are_written(tmp_path, number, sample, rows, way, name):
    files, durations = write(sample, tmp_path)
    expected = collect(sample.format, files, durations).examples
    (tmp_path / name).write_text(WRITTEN[way](rows), newline="")
    assert collect(sample.format, [tmp_path / name, *files[1:]], durations).examples == expected


BY_KEY = [
    (sample, json.loads(next(iter(sample.files.values()))))
    for sample in SAMPLES
    if sample.format in ("activitynet-captions", "timelens-bench", "hirest", "hirest-steps")
    and not next(iter(sample.files)).endswith(".jsonl")
]


@pytest.mark.parametrize(("sample", "whole"), BY_KEY, ids=[s.format for s, _ in BY_KEY])
@pytest.mark.parametrize("way", WRITTEN)
def test_an_object_by_key_may_come_in_pieces(tmp_path, sample, whole, way):
    files, _ = write(sample, tmp_path)
    expected = collect(sample.format, files).examples
    pieces = tmp_path / "pieces" / files[0].name  # TimeLens-Bench is told by the name
    pieces.parent.mkdir()
    pieces.write_text(WRITTEN[way]([{key: value} for key, value in whole.items()]), newline="")
    assert collect(sample.format, [pieces]).examples == expected


def test_a_key_that_comes_twice_in_pieces_is_refused(tmp_path):
    row = {"v_abcdefghijk": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["a"]}}
    (tmp_path / "a.jsonl").write_text(lines(row, row))
    with pytest.raises(DataError, match="line 2: the key 'v_abcdefghijk' is on line 1 already"):
        collect("activitynet-captions", [tmp_path / "a.jsonl"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": 1', "line 1: the JSON ends too early"),
        ('[\n {"a": 2]', "line 2: not JSON"),
        ('[{"a": 1}]\n[{"a": 2}]\n', "line 1: it is not an object with keys"),
        ('{"a": 1} {"a": 2}\n', "line 1: something follows after the JSON value"),
        ('{"a": 1},\n{"a": 2}\n', "line 1: something follows after the JSON value"),
        ('{\n"a": 1\n', "line 1: the JSON ends too early"),
        ('{\n"a": 1\n} {\n"a": 2\n}', "line 1: the JSON ends too early"),
        ('[{"a": NaN}]', "NaN is not a number"),
        ('[{"a": 1, "a": 2}]', "the key `a` is there twice"),
        ("[]", "it holds no annotations"),
        ("", "it holds no annotations"),
        ("7", "it is not an object with keys"),
    ],
)
def test_what_is_no_list_of_rows(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=said):
        collect("json", [tmp_path / "a.json"])


# Moments


def test_rows_that_only_rate_clips_are_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines(moment("a"), moment("b") | {"relevant_windows": None}))
    report = collect("moments", [tmp_path / "a.jsonl"]).report
    assert dict(report.dropped) == {"its windows are null: it rates clips and names no moment": 1}


@pytest.mark.parametrize("format", ["moments", "qvhighlights", "charades-sta", "tacos", "activitynet-captions"])
def test_withheld_windows_are_said_to_be_and_where_they_are(tmp_path, refused, format):
    row = {"qid": 1, "query": "A man talks", "duration": 150, "vid": "AbCdEfGhIjK_60.0_210.0"}
    (tmp_path / "a.jsonl").write_text(lines(row))
    sentence = refused("data", "import", format, tmp_path / "a.jsonl", "--out", tmp_path / "m.jsonl")
    assert "annotations of this split are withheld" in sentence
    assert "highlight_test_with_gt.jsonl of jayleicn/moment_detr" in sentence


@pytest.mark.parametrize("format", ["charades-sta", "tacos", "qvhighlights", "activitynet-captions"])
def test_moments_of_another_data_set_are_named(tmp_path, refused, format):
    (tmp_path / "a.jsonl").write_text(lines(moment("a002_60_120")))
    sentence = refused("data", "import", format, tmp_path / "a.jsonl", "--out", tmp_path / "m.jsonl")
    assert "it looks like moments" in sentence
    assert "'qid'" not in sentence


LIGHTHOUSE = [
    ("activitynet-captions", "anet_val_lighthouse.jsonl", 17505, 17505),
    ("moments", "anet_val_lighthouse.jsonl", 17505, 17505),
    ("moments", "castella_test.jsonl", 1347, 4175),
    ("moments", "tut2017_test.jsonl", 104, 240),
    ("moments", "unav100_subset_test.jsonl", 100, 100),
    ("moments", "rextime_val.jsonl", 921, 921),
    ("museg", "museg_eval_thumos15.json", 474, 6365),
    ("nextgqa", "nextgqa_val_videochat_r1.json", 3358, 3931),
    ("activitynet-captions", "anet_cg_novel_word.json", 3920, 3920),
    ("charades-sta", "charades_cg_novel_composition.json", 3442, 3442),
    ("charades-sta", "charades_sta_train_2dtan.txt", 12404, 12404),
]


@pytest.mark.parametrize(("format", "file", "rows", "spans"), LIGHTHOUSE, ids=[f"{f}-{n}" for f, n, *_ in LIGHTHOUSE])
def test_files_of_the_field(shared_data, format, file, rows, spans):
    report = collect(format, [shared_data / "cases" / "scores" / "annotations" / file]).report
    assert (report.rows_kept, report.spans_kept) == (rows, spans)
    dropped = {"it ends before it begins": 4} if file.startswith("charades_sta_train") else {}
    assert dict(report.spans_dropped) == dropped
    late = {"rextime_val.jsonl": (4, 2)}.get(file)
    if late:
        assert (report.spans_beyond, report.spans_without_length) == late


def test_columns_of_an_array(shared_data):
    file = shared_data / "cases" / "scores" / "annotations" / "nextgqa_val_videochat_r1.json"
    reading = ReadOptions(columns=(("query", "question"), ("spans", "glue")))
    report = collect("json", [file], reading=reading).report
    assert (report.rows_kept, report.spans_kept) == (3358, 3931)


# HiREST


@pytest.mark.parametrize("format", ["hirest", "hirest-steps"])
def test_withheld_labels_of_hirest(shared_data, refused, tmp_path, format):
    file = shared_data / "cases" / "scores" / "annotations" / "hirest_test_withheld.json"
    sentence = refused("data", "import", format, file, "--out", tmp_path / "m.jsonl")
    assert "the labels of this split are withheld: all 1391 videos have the bounds [0, 1]" in sentence
    assert "Convert" not in sentence


def test_one_moment_in_the_first_second_is_not_withheld(tmp_path):
    video = {"relevant": True, "clip": True, "v_duration": 20, "bounds": [0, 1], "steps": []}
    found = {"Feed a Cat": {"abcdefghijk.mp4": video, "bbbbbbbbbbb.mp4": video | {"bounds": [3, 9]}}}
    (tmp_path / "a.json").write_text(json.dumps(found))
    assert [example.spans for example in collect("hirest", [tmp_path / "a.json"]).examples] == [((0, 1),), ((3, 9),)]


# Charades-STA in frames


def test_frames_of_charades_are_at_16_a_second(tmp_path):
    entry = {"video_duration": 47.6, "framestamps": [[628, 720]], "sentences": ["a"]}
    for more, span in (
        ({}, (39.25, 45)),
        ({"decode_fps": 32.0}, (19.625, 22.5)),
        ({"decode_fps": 16.0, "timestamps": [[39.3, 45.0]]}, (39.3, 45)),
    ):
        (tmp_path / "a.json").write_text(json.dumps({"N14BK": entry | more}))
        collector = collect("charades-sta", [tmp_path / "a.json"])
        assert collector.examples[0].spans == (span,)
        assert bool(collector.report.remarks) == ("timestamps" not in more)


@pytest.mark.parametrize("fps", [0, -16, "x", None])
def test_frames_at_no_rate_are_refused(tmp_path, fps):
    entry = {"video_duration": 47.6, "framestamps": [[628, 720]], "sentences": ["a"], "decode_fps": fps}
    (tmp_path / "a.json").write_text(json.dumps({"N14BK": entry}))
    with pytest.raises(DataError, match="`decode_fps` is"):
        collect("charades-sta", [tmp_path / "a.json"])


# Ego4D's queries


@pytest.mark.parametrize(
    ("query", "cleaned"),
    [
        ("Query Text:What colour is it? ", "What colour is it?"),
        ("query text: Where is it?", "Where is it?"),
        (" QUERY TEXT : query text: Where?", "Where?"),
        ("What does the query text: say?", "What does the query text: say?"),
        ("query texting", "query texting"),
        ("Query Text:", ""),
    ],
)
def test_query_text_is_taken_off(tmp_path, query, cleaned):
    uid = "0123abcd-0000-1111-2222-0123456789ab"
    row = {"vid": uid, "query": "keep", "duration": 480.0, "relevant_windows": [[12, 14]]}
    (tmp_path / "a.jsonl").write_text(lines(row, row | {"query": query}))
    kept = collect("ego4d-nlq", [tmp_path / "a.jsonl"])
    named = query in ("Query Text:What colour is it? ", " QUERY TEXT : query text: Where?", "Query Text:")
    assert bool(kept.report.warnings) == named
    queries = [example.query for example in collect("ego4d-nlq", [tmp_path / "a.jsonl"], queries="ego4d").examples]
    assert queries == ["keep", cleaned][: 1 + bool(cleaned)]


# Databases


def test_a_split_of_a_database(tmp_path):
    sample = next(sample for sample in SAMPLES if sample.format == "activitynet")
    files, _ = write(sample, tmp_path)
    collector = collect("activitynet", files, split="training")
    assert len(collector.examples) == 2
    assert collector.report.remarks == {"the video shows it several times, which became several spans of one row": 1}
    with pytest.raises(DataError, match="The splits are testing, training"):
        collect("activitynet", files, split="validation")


def segment(times):
    return {"database": {"a": {"annotations": [{"segment": times, "label": "x"}]}}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ({"results": {}}, "it has no `database` with videos"),
        ({"database": []}, "it has no `database` with videos"),
        ({"database": [{"duration": 3}]}, "`database` is no object with a key for every video"),
        (
            {"database": {"a": {"annotations": [{"segment": [1], "label": "x"}]}}},
            r"annotations\.0\.segment` has 1 value",
        ),
        (
            {"database": {"a": {"annotations": [{"segment": [1, "x"], "label": "x"}]}}},
            "a number of seconds was expected",
        ),
        ({"database": {"a": {"annotations": [{"segment": [1, 2]}]}}}, "`annotations.0.sentence` is missing"),
        ({"database": {"a": 3}}, "it is a number, not an object with keys"),
        (segment([3, 2]), "it ends before it begins"),
    ],
)
def test_bad_databases(tmp_path, text, said):
    (tmp_path / "a.json").write_text(json.dumps(text))
    with pytest.raises(DataError, match=said):
        collect("coin", [tmp_path / "a.json"])


def test_a_fault_in_a_database_has_its_line(tmp_path):
    (tmp_path / "a.json").write_text('{"database": {\n"a": {"annotations": []},\n"b": 7}}')
    with pytest.raises(DataError, match="line 3: it is a number"):
        collect("coin", [tmp_path / "a.json"])


# UniTime


def test_windows_of_a_part_are_in_seconds_of_the_file(tmp_path):
    sample = next(sample for sample in SAMPLES if sample.format == "unitime")
    files, _ = write(sample, tmp_path)
    whole, part = collect("unitime", files).examples
    assert (whole.clip, part.clip, part.spans, part.duration) == (None, (10, 20), ((2, 4),), 10)


def test_several_queries_of_a_row_have_ids_of_their_own(tmp_path):
    row = {
        "qid": 5,
        "id": "ABC12",
        "duration": 30,
        "annos": [{"query": q, "window": [1, 2]} for q in "ab"],
        "mode": "mr",
    }
    (tmp_path / "a.json").write_text(json.dumps([row]))
    assert [e.id for e in collect("unitime", [tmp_path / "a.json"]).examples] == [
        "unitime/ABC12/5_0",
        "unitime/ABC12/5_1",
    ]


# NExT-GQA


def nextgqa(tmp_path, table, places):
    (tmp_path / "val.csv").write_text("video_id,question,qid\n" + table)
    (tmp_path / "gsub.json").write_text(json.dumps(places))
    return [tmp_path / "gsub.json", tmp_path / "val.csv"]


def test_the_two_files_of_nextgqa_come_in_any_order_and_nothing_is_lost(tmp_path):
    places = {"1": {"duration": 30, "location": {"0": [[1, 2]], "7": [[3, 4]]}}}
    report = collect("nextgqa", nextgqa(tmp_path, "1,why,0\n1,how,1\n2,who,0\n", places)).report
    assert dict(report.dropped) == {
        "the data set does not say where its answer is seen": 2,
        "val.csv has no such question": 1,
    }
    assert report.rows_kept == 1


def test_one_file_of_nextgqa(tmp_path):
    files = nextgqa(tmp_path, "1,why,0\n", {})
    with pytest.raises(DataError, match="NExT-GQA is two files, questions and their places"):
        collect("nextgqa", files[1:])
    with pytest.raises(DataError, match=r"the key `id` is missing|it holds no annotations"):
        collect("nextgqa", files[:1])


# Unknown durations


def test_rows_without_a_duration_are_kept_and_told_of(tmp_path, capsys):
    from video_opd.cli import main
    from video_opd.data.manifest import read_manifest

    (tmp_path / "a.txt").write_text("ABC12 1 2##a cat.\nXYZ99 3 4##a dog.\n")
    assert main(["data", "import", "charades-sta", str(tmp_path / "a.txt"), "--out", str(tmp_path / "m.jsonl")]) == 0
    assert "2 unknown and left out" in capsys.readouterr().out
    assert '"duration"' not in (tmp_path / "m.jsonl").read_text()
    assert [example.duration for example in read_manifest(tmp_path / "m.jsonl")] == [None, None]


@pytest.mark.parametrize("unit", ["fraction", "percent"])
def test_shares_of_an_unknown_duration_are_no_seconds(tmp_path, unit):
    (tmp_path / "a.csv").write_text("video,query,start,end\na.mp4,a cat,0.1,0.2\n")
    with pytest.raises(DataError, match=r"the duration of video 'a.mp4' is unknown.* the times are shares of it"):
        collect("csv", [tmp_path / "a.csv"], reading=ReadOptions(unit=unit))


@pytest.mark.parametrize("policy", ["auto", "refuse", "drop", "keep"])
def test_policies_for_unknown_durations(tmp_path, policy):
    row = {"video": "a.mp4", "query": "q", "start": 1, "end": 2}
    (tmp_path / "a.jsonl").write_text(lines(row, row | {"duration": 9}))
    if policy == "refuse":
        with pytest.raises(DataError, match=r"the duration of video .* is unknown"):
            collect("jsonl", [tmp_path / "a.jsonl"], without_duration=policy)
        return
    examples = collect("jsonl", [tmp_path / "a.jsonl"], without_duration=policy).examples
    assert [example.duration for example in examples] == ([9] if policy == "drop" else [None, 9])


def test_fractions_are_told_without_durations_too(tmp_path):
    rows = [{"video": f"{n}.mp4", "query": "q", "start": 0.1, "end": 0.2 + n / 10} for n in range(8)]
    (tmp_path / "a.jsonl").write_text(lines(*rows))
    with pytest.raises(DataError, match="end within the first second, so they are fractions"):
        collect("jsonl", [tmp_path / "a.jsonl"])


# Conversations


def test_the_generic_formats_name_the_importer_of_conversations(tmp_path, refused):
    row = {"messages": [{"role": "user", "content": "<video>When?"}], "videos": ["a.mp4"]}
    (tmp_path / "b.jsonl").write_text(lines(row))
    sentence = refused("data", "import", "jsonl", tmp_path / "b.jsonl", "--out", tmp_path / "m.jsonl")
    assert "it is a conversation (`messages`)" in sentence
    assert "`video-opd data import sft" in sentence


@pytest.mark.parametrize(
    ("format", "vid"),
    [
        ("moments", "a"),
        ("charades-sta", "ABC12"),
        ("tacos", "s30-d52"),
        ("activitynet-captions", "v_abcdefghijk"),
        ("qvhighlights", "NUsG9BgSes0_210.0_360.0"),
        ("ego4d-nlq", "0123abcd-0000-1111-2222-0123456789ab"),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_one_row_alone_is_a_row(tmp_path, format, vid, indent, name):
    (tmp_path / name).write_text(json.dumps(moment(vid), indent=indent))
    assert len(collect(format, [tmp_path / name]).examples) == 1


def test_spans_of_nextgqa_that_begin_some_tenths_before_0(tmp_path):
    places = {"1": {"duration": 30, "location": {"0": [[-0.1, 25.1]], "1": [[-7, 3]], "2": [[1, 2]]}}}
    collector = collect("nextgqa", nextgqa(tmp_path, "1,why,0\n1,how,1\n1,who,2\n", places))
    assert [example.spans for example in collector.examples] == [((0, 25.1),), ((1, 2),)]
    assert dict(collector.report.spans_dropped) == {"it begins before 0 s": 1}
    assert list(collector.report.remarks.values()) == [1]
