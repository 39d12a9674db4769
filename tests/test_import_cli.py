# ruff: noqa: E501  (a case is a line)
"""`video-opd data import` as a user calls it: what it says, and what it refuses in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest

from video_opd.cli import main
from video_opd.data.manifest import read_manifest
from video_opd.data.video.video_io import write_video

STA = "ABC12 2.0 4.5##a cat sits.\nABC12 20 31.9##it jumps.\nXYZ99 0.0 5##a dog.\n"
CSV = "id,length\nABC12,30.5\nXYZ99,12\n"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "sta.txt").write_text(STA)
    (tmp_path / "lengths.csv").write_text(CSV)
    return tmp_path


def test_charades_sta_with_its_durations(files, capsys):
    words = ["data", "import", "charades-sta", files / "sta.txt", "--durations", files / "lengths.csv"]
    assert main([*map(str, words), "--out", str(files / "m.jsonl"), "--queries", "timelens"]) == 0
    said = capsys.readouterr().out
    assert "3 of 3 rows kept" in said
    assert "1 end after their video, 1 of them by more than a second: kept as annotated (--beyond)" in said
    assert "3 from the durations file" in said
    assert [example.query for example in read_manifest(files / "m.jsonl")] == ["a cat sits", "it jumps", "a dog"]


def test_every_row_is_checked_once(files, monkeypatch):
    from video_opd.data import manifest, manifest_rows

    checked, check = [], manifest_rows._Checker.make_example
    monkeypatch.setattr(
        manifest_rows._Checker, "make_example", lambda self: checked.append(self.row["id"]) or check(self)
    )
    words = ["data", "import", "charades-sta", files / "sta.txt", "--durations", files / "lengths.csv"]
    assert main([*map(str, words), "--out", str(files / "m.jsonl")]) == 0
    assert checked == [f"charades-sta/{name}" for name in ("ABC12/0", "ABC12/1", "XYZ99/0")]
    checked.clear()
    plain, read_plain = [], manifest.read_plain_row
    monkeypatch.setattr(manifest, "read_plain_row", lambda raw: plain.append(read_plain(raw)) or plain[-1])
    ids = [example.id for example in read_manifest(files / "m.jsonl")]
    assert sorted([*checked, *(example.id for example in plain if example)]) == sorted(ids)


def test_json_says_everything(files, capsys):
    words = ["data", "import", "charades-sta", files / "sta.txt", "--durations", files / "lengths.csv", "--json"]
    assert main([*map(str, words), "--out", str(files / "m.jsonl"), "--source", "sta-test"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == {"read": 3, "kept": 3, "dropped": {}}
    assert report["spans"]["end_after_video"] == 1
    assert report["convention"]["beyond"] == "keep"
    assert read_manifest(files / "m.jsonl")[0].id == "sta-test/ABC12/0"


def test_the_account_in_words(tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "a.mp4", np.zeros((20, 32, 32, 3), dtype=np.uint8), fps=2)
    (tmp_path / "videos" / "a.mp4").symlink_to(tmp_path / "a.mp4")
    row = {"video": "a.mp4", "query": "a \x1bcat", "spans": [[1, 4], [9, 9]], "duration": 10, "clip": [0, 5]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    words = ["data", "import", "jsonl", str(tmp_path / "a.jsonl"), "--videos", str(tmp_path / "videos")]
    assert main([*words, "--out", str(tmp_path / "m.jsonl")]) == 0
    said = capsys.readouterr().out
    assert "- 1 have zero length, so no answer can overlap them: kept" in said
    assert "- 1 queries hold control characters, kept as they are; any --queries but as-is makes blanks of them" in said
    assert "- 1 rows have a clip whose length is more than a second from their duration (first: " in said
    assert "- 1 videos are links out of the folder, and other commands do not follow such links: copy" in said


def test_a_wrong_format_is_named(files, refused):
    (files / "q.jsonl").write_text(
        '{"qid": 1, "query": "q", "duration": 150, "vid": "abcdefghijk_60.0_210.0", "relevant_windows": [[2, 4]]}\n'
    )
    sentence = refused("data", "import", "vue-tr", files / "q.jsonl", "--out", files / "m.jsonl")
    assert "does not look like vue-tr, it looks like qvhighlights" in sentence
    assert sentence.endswith("Import it with `video-opd data import qvhighlights`.")
    assert not (files / "m.jsonl").exists()


def test_a_missing_file_leaves_no_folder_behind(files, refused):
    refused("data", "import", "vue-tr", files / "none.json", "--out", files / "new" / "m.jsonl")
    words = ("data", "import", "charades-sta", files / "sta.txt", "--durations", files / "none.csv")
    refused(*words, "--out", files / "new" / "m.jsonl")
    assert not (files / "new").exists()


@pytest.mark.parametrize(
    ("format", "name", "content", "said"),
    [
        ("vue-tr", "cut.json", b'[{"query_id": 0, "video_id": "a",\n "gt": [[1, ', "line 2: the JSON ends too early"),
        ("vue-tr", "cut.json", b'[{"query_id": 0},\n', "line 1: the key `video_id` is missing"),
        ("qvhighlights", "l.jsonl", b'{"qid": 1}\n{"qid"\n', "line 1: the key `query` is missing"),
        ("charades-sta", "latin.txt", "ABC12 1 2##a café.\n".encode("latin-1"), "line 1: byte 0xe9 is not UTF-8"),
        ("charades-sta", "u16.txt", "ABC12 1 2##a cat.\n".encode("utf-16"), "line 1: the file is UTF-16"),
        ("charades-sta", "a.txt", b"ABC12 1 2##a cat.\nABC12 1 a dog.\n", "line 2: it is not `VIDEO START END##SENTENCE`"),
        ("charades-sta", "a.txt", b"ABC12 0:01 0:02##a cat.\n", "line 1: `timestamps.0.0` is '0:01': a clock time"),
        ("charades-sta", "a.txt", b"ABC12 10% 20%##a cat.\n", "a percentage, where seconds were expected"),
        ("csv", "a.csv", b"video,query,start,end,duration\na.mp4,q,1s,2s,9\n", "line 2: `start` is '1s': it carries a unit"),
        ("csv", "a.csv", b"video,caption,start,end\na.mp4,q,1,2\n", "line 2: there is no `query`, only `video`, `caption`"),
        ("csv", "a.csv", b"video,query,start,end\na.mp4,q,1\n", "line 2: it has 3 cells, and the header has 4"),
        ("csv", "a.csv", b"", "line 1: the file has no header"),
        ("jsonl", "a.jsonl", b"[1, 2]\n", "line 1: it is not an object with keys"),
        ("jsonl", "a.jsonl", b"\n\n", "a.jsonl: it holds no annotations"),
        ("jsonl", "a.jsonl", b'[\n  {"video": "a", "query": "q"}\n]\n', "line 2: there is no `start`, only `video`, `query`"),
        ("jsonl", "a.json", b'{"data": [{"video": "a", "query": "q"}]}', "its 1 rows are in the list `data`"),
        ("json", "a.json", b'[{"video": "a", "query": "q", "start": 1, "end": 2}', "line 1: the file ends in the middle"),
        ("jsonl", "a.jsonl", b'{"video": "a", "query": "q", "start": 1, "end": 2},\n{"video": "a"}\n',
         "line 1: something follows after the JSON value"),
        ("ego4d-nlq", "a.json", b'{"v_abcdefghijk": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["a"]}}',
         "it holds no annotations; it does not look like ego4d-nlq, it looks like activitynet-captions"),
        ("csv columns", "a.csv", b"video,query,start,end,duration,cs\na.mp4,q,1,2,9,3\n",
         "line 2: there is no `ce`, only `video`"),
        ("csv", "a.csv", b"video,query,start,end,duration,clip_start,clip_end\na.mp4,q,1,2,9,3,\n", "it has only one end of a clip"),
        ("jsonl", "a.jsonl", b'{"video": "a", "query": "q", "start": true, "end": 2}\n', "`start` is True: a number of"),
        ("csv", "a.csv", b"video,query,start,end,duration\na.mp4,q,nan,2,9\n", "a finite number of seconds was expected"),
        ("activitynet-captions", "a.json", b'{"v_abcdefghijk": {"duration": 9, "timestamps": [[1, 2]], "sentences": []}}',
         "line 1: it has 1 timestamps for 0 sentences"),
        ("activitynet-captions", "a.json", b'{"v_abcdefghijk": {"timestamps": [], "sentences": []},\n "v_abcdefghijk": {"timestamps": [], "sentences": []}}',
         "line 2: the key 'v_abcdefghijk' is on line 1 already"),
        ("csv --unit clock", "a.csv", b"video,query,start,end\na.mp4,q,0:01,2\n", "line 2: '2' is not a clock time"),
        ("tvgbench", "a.json", b'[{"path": "a", "question": "q", "answer": "1 to 2", "start": null, "end": null, "duration": 9}]',
         "`answer` is '1 to 2', not `START-END` in seconds"),
        ("qvhighlights", "a.jsonl", b'{"qid": 1, "qid": 2}\n', "line 1: the key `qid` is there twice"),
        ("csv", "a.csv", b"video;query;begin\na.mp4;q;1\n", "line 2: there is no `start`, only `video`, `query`, `begin`"),
        ("jsonl", "a.csv", b"video;query;start;end;duration\na.mp4;q;1;2;9\n", "it looks like csv"),
        ("activitynet-captions", "a.json", b"[[1, 2]]", "it has no key, where ActivityNet is one object with a key"),
        ("tvgbench", "a.gz", b"\x1f\x8b\x08\x00", "a.gz: the file is packed (gzip). Unpack it"),
        ("qvhighlights", "missing.jsonl", None, "No such file or directory"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path, refused, format, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    more = {"columns": ("--columns", "clip_start=cs", "clip_end=ce")}
    words = [word for part in format.split() for word in more.get(part, (part,))]
    sentence = refused("data", "import", words[0], tmp_path / name, "--out", tmp_path / "m.jsonl", *words[1:])
    assert said in sentence
    assert name in sentence
    assert not (tmp_path / "m.jsonl").exists()


def test_a_second_file_of_another_format_is_named(files, refused):
    (files / "q.jsonl").write_text(
        '{"qid": 1, "query": "q", "duration": 150, "vid": "abcdefghijk_60.0_210.0", "relevant_windows": [[2, 4]]}\n'
    )
    sentence = refused(
        "data", "import", "charades-sta", files / "sta.txt", files / "q.jsonl", "--out", files / "m.jsonl"
    )
    assert "q.jsonl, line 1" in sentence
    assert "it looks like qvhighlights" in sentence


def test_a_wide_table_under_the_wrong_name_is_refused_at_once(files, refused):
    """One JSON object on one line is a table of eighteen thousand columns."""
    videos = {
        f"v_{number:011d}": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["a"]} for number in range(6_000)
    }
    (files / "a.json").write_text(json.dumps(videos))
    assert "it looks like activitynet-captions" in refused(
        "data", "import", "csv", files / "a.json", "--out", files / "m"
    )


def test_a_byte_order_mark_is_passed_over(files):
    (files / "bom.txt").write_bytes(b"\xef\xbb\xbf" + STA.encode())
    words = ["data", "import", "charades-sta", files / "bom.txt", "--durations", files / "lengths.csv"]
    assert main([*map(str, words), "--out", str(files / "m.jsonl")]) == 0
    assert read_manifest(files / "m.jsonl")[0].video == "ABC12.mp4"


def test_a_durations_file_that_lacks_videos(files, refused):
    (files / "lengths.csv").write_text("id,length\nABC12,30.5\n")
    words = ("data", "import", "charades-sta", files / "sta.txt", "--durations", files / "lengths.csv")
    sentence = refused(*words, "--out", files / "m.jsonl")
    assert "sta.txt, line 3: the duration of video 'XYZ99' is unknown: the durations file has none" in sentence
    assert "--without-duration drop" in sentence
    assert main([*map(str, words), "--out", str(files / "m.jsonl"), "--without-duration", "drop"]) == 0
    assert len(read_manifest(files / "m.jsonl")) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("charades --out m", "invalid choice: 'charades'"),
        ("csv sta.txt --columns caption --out m", "--columns caption: it is not ROLE=COLUMN"),
        ("csv sta.txt --columns title=caption --out m", "it is not ROLE=COLUMN with a role of video, query"),
        ("csv sta.txt --columns query=a query=b --out m", "--columns query=…: the role is given twice"),
        ("charades-sta sta.txt --columns query=x --out m", "--columns: it does nothing for `data import charades-sta`"),
        ("charades-sta sta.txt --unit clock --out m", "--unit: it does nothing"),
        ("csv sta.txt --fps 25 --out m", "--fps: it does nothing"),
        ("hirest sta.txt --annotators mean --out m", "--annotators: it does nothing"),
        ("charades-sta sta.txt --missing-videos drop --out m", "--missing-videos: it does nothing"),
        ("charades-sta sta.txt --videos nowhere --out m", "videos folder nowhere: no such folder"),
        ("queryd sta.txt --out m", "1 files: QuerYD is two files"),
    ],
)
def test_a_command_line_that_makes_no_sense(files, refused, monkeypatch, words, said):
    monkeypatch.chdir(files)
    assert said in refused("data", "import", *words.split())
    assert not (files / "m").exists()


def test_one_of_the_files_over_the_manifest_is_refused(files, refused):
    words = ("data", "import", "charades-sta", files / "sta.txt", "--durations", files / "lengths.csv")
    assert "also uses" in refused(*words, "--out", files / "sta.txt")
    assert (files / "sta.txt").read_text() == STA
