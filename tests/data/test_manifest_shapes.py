"""A manifest may be one JSON list, or rows over several lines, and its rows may leave their durations out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from video_opd.cli import main
from video_opd.data.manifest import check_manifest, read_manifest, write_manifest
from video_opd.data.manifest_statistics import describe
from video_opd.data.tiny_world import BuildSettings, build
from video_opd.errors import DataError
from video_opd.grounding.constant_answer import best_constant
from video_opd.grounding.parser import parse_answer
from video_opd.grounding.reward import iou_reward, timestamp_iou_reward

ROW = {"id": "q1", "video": "a.mp4", "query": "a cat", "spans": [[2.0, 4.5]], "duration": 31.2}
ROWS = [ROW, ROW | {"id": "q2", "query": "ein Käfer", "clip": [5, 36.2]}]
WRITTEN = {
    "list": json.dumps,
    "pretty list": lambda rows: json.dumps(rows, indent=2) + "\n\n",
    "pretty, one after another": lambda rows: "\n".join(json.dumps(row, indent=2) for row in rows) + "\n",
    "carriage returns": lambda rows: json.dumps(rows, indent=1).replace("\n", "\r\n"),
    "byte order mark": lambda rows: "\ufeff" + json.dumps(rows, ensure_ascii=False),
    "lines with a byte order mark": lambda rows: "\ufeff" + "".join(json.dumps(row) + "\n" for row in rows),
    "blank lines first": lambda rows: "\n \n" + json.dumps(rows, indent=1),
    "lines with carriage returns": lambda rows: "\r\n".join(json.dumps(row) for row in rows),
}


@pytest.mark.parametrize("way", WRITTEN)
def test_a_manifest_is_read_however_it_is_written(tmp_path, way):
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "m.json").write_text(WRITTEN[way](ROWS), encoding="utf-8", newline="")
    assert read_manifest(tmp_path / "m.json") == read_manifest(tmp_path / "lines.jsonl")
    assert not check_manifest(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps([ROW, ROW | {"id": "q2", "spans": [[4, 2]]}]), r"row 2 \(id 'q2'\): span 1 ends at 2 s, before"),
        (json.dumps([ROW, ROW], indent=1), r"row 2 \(id 'q1'\): the id is already that of row 1"),
        (json.dumps([ROW, 7]), r"row 2: the row is a number, not a JSON object"),
        ("[" + json.dumps(ROW) + ", " + json.dumps(ROW).replace("31.2", "NaN") + "]", "row 2: NaN is not a number"),
        ("[" + json.dumps(ROW)[:-1] + ', "id": "b"}]', "row 1: the key `id` is there twice"),
        ("[" + json.dumps(ROW) + ",\n" + json.dumps(ROW)[:30], "row 2: not JSON on line 2 of the file"),
        ("[" + json.dumps(ROW), "row 2: a comma or `]` was expected after the row before"),
        ("[" + json.dumps(ROW) + "]]", "row 2: the list does not end with its `]`"),
        ("[" + json.dumps(ROW) + ",", "row 2: the list does not end with its `]`"),
        ("[]", "the manifest has no rows"),
        ('[{"a": 1}]\n[{"a": 2}]\n', "line 1: the line is a list, not a JSON object"),
    ],
)
def test_faults_of_a_list_have_the_number_of_their_row(tmp_path, text, said):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(DataError, match=said):
        read_manifest(tmp_path / "m.json")
    assert any(problem.severity == "error" for problem in check_manifest(tmp_path / "m.json"))


def test_a_list_of_annotations_is_called_what_it_is(tmp_path, refused):
    row = {"qid": 1, "query": "q", "duration": 150, "vid": "a", "relevant_windows": [[2, 4]]}
    (tmp_path / "a.json").write_text(json.dumps([row], indent=1))
    assert "annotations in the format moments" in refused("data", "check", tmp_path / "a.json")


def test_a_pipe_may_hold_a_list(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "m.json").write_text(json.dumps(ROWS, indent=1))
    with subprocess.Popen(["sh", "-c", f"cat '{tmp_path}/m.json' > '{tmp_path}/pipe'"]):
        assert [example.id for example in read_manifest(tmp_path / "pipe")] == ["q1", "q2"]


# Without durations


BARE = {key: value for key, value in ROW.items() if key != "duration"}


@pytest.mark.parametrize("row", [BARE, BARE | {"duration": None}])
def test_a_row_without_a_duration(tmp_path, row):
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    assert not check_manifest(tmp_path / "m.jsonl")
    (example,) = read_manifest(tmp_path / "m.jsonl")
    assert example.duration is None
    write_manifest(tmp_path / "again.jsonl", [example])
    assert "duration" not in json.loads((tmp_path / "again.jsonl").read_text())
    assert read_manifest(tmp_path / "again.jsonl") == [example]


def test_a_clip_is_as_long_as_it_is(tmp_path):
    (tmp_path / "m.jsonl").write_text(json.dumps(BARE | {"clip": [5, 36.25]}) + "\n")
    assert read_manifest(tmp_path / "m.jsonl")[0].duration == 31.25


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A few rendered clips, and their test manifest without its durations."""
    folder = tmp_path_factory.mktemp("world")
    sizes = {"train": 4, "validation": 4, "test": 8}
    manifests = build(folder, BuildSettings(num_queries=sizes))
    rows = [json.loads(line) for line in manifests["test"].read_text().splitlines()]
    (folder / "bare.jsonl").write_text("".join(json.dumps(_without(row)) + "\n" for row in rows))
    return folder, manifests["test"]


def _without(row):
    return {key: value for key, value in row.items() if key != "duration"}


def videos_of(folder):
    """The folder that the paths of the manifest start from."""
    video = read_manifest(folder / "bare.jsonl")[0].video
    return next(path.parents[video.count("/")] for path in folder.rglob(video.rpartition("/")[2]))


def test_durations_are_those_of_the_videos_where_they_are_at_hand(world):
    folder, whole = world
    known = read_manifest(folder / "bare.jsonl", videos_of(folder))
    expected = [example.duration for example in read_manifest(whole)]
    assert [example.duration for example in known] == pytest.approx(expected, abs=0.01)


def test_a_video_that_cannot_be_read_has_no_duration(tmp_path):
    (tmp_path / "m.jsonl").write_text(json.dumps(BARE) + "\n")
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    assert read_manifest(tmp_path / "m.jsonl", tmp_path)[0].duration is None


@pytest.mark.parametrize(
    "command",
    [("data", "stats"), ("data", "sample", "--count", "2", "--by", "duration", "--out"),
     ("data", "sample", "--count", "2", "--filter", "timelens", "--out")],
)  # fmt: skip
def test_commands_that_need_durations_say_so_or_look_at_the_videos(world, tmp_path, refused, command):
    folder, _ = world
    words = [*command, *([tmp_path / "out.jsonl"] if command[-1] == "--out" else [])]
    words[2:2] = [folder / "bare.jsonl"]
    sentence = refused(*words)
    assert "has no `duration`" in sentence
    assert "--videos" in sentence
    assert main([str(word) for word in (*words, "--videos", videos_of(folder))]) in (0, 2)
    assert main(["data", "stats", str(folder / "bare.jsonl"), "--videos", str(videos_of(folder))]) == 0


@pytest.mark.parametrize(
    "command", [("split", "--parts", "a=0.5", "b=0.5"), ("sample", "--count", "2"), ("merge",), ("check",)]
)
def test_commands_that_need_none_do_without(world, tmp_path, command):
    folder, _ = world
    out = [] if command[0] == "check" else ["--out", str(tmp_path / "out.jsonl")]
    manifests = [str(folder / "bare.jsonl")]
    if command[0] == "merge":
        manifests.append(str(shutil.copy(folder / "bare.jsonl", tmp_path / "other.jsonl")))
    assert main(["data", command[0], *manifests, *command[1:], *out]) == 0


SCORERS = (
    "ours",
    "timelens",
    "lmms-eval-timelens",
    "lmms-eval-charades",
    "time-r1",
    "timelens2",
    "ego4d-nlq",
    "timechat",
    "museg",
)


@pytest.mark.parametrize("scorer", SCORERS)
def test_scores_without_durations_are_the_same(world, tmp_path, scorer, capsys):
    folder, whole = world
    answers = [f"{number}.0 - {number + 3}.0 seconds" if number % 3 else "no idea" for number in range(8)]
    rows = [{"id": example.id, "answer": text} for example, text in zip(read_manifest(whole), answers, strict=True)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = []
    for truth in (whole, folder / "bare.jsonl"):
        words = ["metrics", str(tmp_path / "p.jsonl"), "--ground-truth", str(truth), "--as", scorer, "--json"]
        assert main(words) == 0
        found = json.loads(capsys.readouterr().out)
        scores.append({name: value for name, value in found.items() if name not in ("ground_truth", "convention")})
    assert scores[0] == scores[1]


def test_rewards_and_constants_without_durations(tmp_path):
    (tmp_path / "m.jsonl").write_text(json.dumps(BARE) + "\n")
    examples = read_manifest(tmp_path / "m.jsonl")
    answer = parse_answer("2.0 - 4.5")
    assert iou_reward(answer, examples[0]) == 1
    with pytest.raises(DataError, match="row 'q1' has no `duration`"):
        timestamp_iou_reward(answer, examples[0])
    found = best_constant(examples)
    assert found is not None
    assert found.miou == 1
    with pytest.raises(DataError, match="row 'q1' has no `duration`"):
        describe(examples)
