"""Local copies of the benchmarks: the official layouts and prompts, and one sentence for everything that is wrong."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from benchmark_files import captions, multi_choice, mvbench_row, video_mme_row, write_json, write_tempcompass, yes_no
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from video_opd.cli.benchmark_evaluation import Kinds, Rule
from video_opd.data.video.video_io import write_video
from video_opd.errors import DataError
from video_opd.eval.benchmarks import BENCHMARKS, Question, take_first_of_each
from video_opd.types import Span


def read(benchmark: str, folder: Path, **options) -> tuple[Question, ...]:
    return BENCHMARKS[benchmark].read(folder, **options)


def refused(benchmark: str, folder: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        read(benchmark, folder, **options)
    sentence = str(caught.value)
    assert re.fullmatch(r"\S.*: \S.*\. [A-Z`(].*[^.]\.", sentence), sentence
    return sentence


def test_the_command_line_knows_the_benchmarks_and_their_rules():
    assert set(get_args(Rule)) == {rule for benchmark in BENCHMARKS.values() for rule in benchmark.rules}
    assert {name: next(iter(benchmark.rules)) for name, benchmark in BENCHMARKS.items()} == {
        "tempcompass": "official", "mvbench": "strict", "video-mme": "strict",
    }, "the help says so"  # fmt: skip


# TempCompass


def test_tempcompass_in_the_official_layout_and_with_the_files_alone(tmp_path):
    folder = write_tempcompass(tmp_path / "official", ["1", "2"])
    found = read("tempcompass", folder)
    assert [question.category("kind") for question in found] == 4 * ["multi-choice"] + 2 * ["yes_no"] + 2 * [
        "caption_matching"
    ]
    assert [question.id for question in found[:3]] == [
        "multi-choice/1/order/0", "multi-choice/1/order/1", "multi-choice/2/order/0",
    ]  # fmt: skip
    assert {question.video for question in found} == {"videos/1.mp4", "videos/2.mp4"}
    assert found[-1].category("kind, aspect") == "caption_matching, action"
    assert read("tempcompass", folder / "questions") == found
    assert read("tempcompass", folder, kinds=["yes_no"]) == found[4:6]
    (folder / "questions" / "yes_no.json").unlink()
    assert read("tempcompass", folder) == found[:4] + found[6:]


def test_tempcompass_prompts_options_and_answers(tmp_path):
    folder = write_tempcompass(tmp_path, ["1"])
    choice, _, yes, caption = read("tempcompass", folder)
    instruction = "\nPlease directly give the best option:"
    assert choice.prompt == multi_choice()["question"] + instruction
    assert [option.label for option in choice.options] == ["A", "B", "C"]
    assert choice.options[choice.right].text == "B. the red circle"
    assert choice.options[choice.right].content == "the red circle"
    assert yes.prompt == yes_no()["question"] + "\nPlease answer yes or no:"
    assert [option.text for option in yes.options] == ["yes", "no"]
    assert yes.right_label == "yes"
    assert caption.prompt == captions()["question"] + instruction
    assert [(option.label, option.content) for option in caption.options] == [
        ("Option 1", "A dog runs."), ("Option 2", "A cat sits."),
    ]  # fmt: skip
    assert caption.right == 1


def test_captions_with_colons_and_without(tmp_path):
    """A sentence is cut at its own ": ", as upstream cuts it; a line without one is no option."""
    question = "Which?\nLook closely.\nCaption A: First: a dog.\nCaption B: A cat."
    write_json(
        tmp_path / "caption_matching.json", {"1": {"action": [{"question": question, "answer": "Caption B: A cat."}]}}
    )
    (asked,) = read("tempcompass", tmp_path)
    assert [(option.label, option.content, option.text) for option in asked.options] == [
        ("Caption A", "First", "Caption A: First: a dog."), ("Caption B", "A cat.", "Caption B: A cat."),
    ]  # fmt: skip


def test_the_real_tempcompass_has_its_numbers(shared_data, tmp_path):
    for kind in get_args(Kinds):
        (tmp_path / f"{kind}.json").write_bytes((shared_data / "qa" / f"tempcompass_{kind}.json").read_bytes())
    found = read("tempcompass", tmp_path)
    counts = {kind: sum(question.category("kind") == kind for question in found) for kind in get_args(Kinds)}
    assert counts == {"multi-choice": 1580, "yes_no": 2453, "caption_matching": 1503}
    assert len({question.id for question in found}) == len(found)
    assert len({question.video for question in found}) == 410


MC = {"question": "Which?\nA. one\nB. two", "answer": "A. one"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ('{"1": {"order": [', "cut off"),
        ("[]", "has no questions"),
        ("{}", "has no questions"),
        ("[1]", "the file is a list"),
        ({"1": {"order": []}}, "has no questions"),
        ("questions", "begins neither with"),
        ({"1": []}, "line 2: the video '1' has no object of aspects"),
        ({"1": {"colour": []}}, "'colour' is no aspect of TempCompass. Call it one of action"),
        ({"1": {"order": {}}}, "aspect 'order' has no list"),
        ({"1": {"order": [3]}}, "order, question 1 is not an object"),
        ({"1": {"order": [MC, {"question": "Which?"}]}}, "the key `answer` is missing"),
        ({"1": {"order": [MC | {"answer": 1}]}}, "`answer` is 1"),
        ({"1": {"order": [MC | {"answer": "C. three"}]}}, "has the answer 'C. three', which is none of its options"),
        ({"1": {"order": [MC | {"answer": ""}]}}, "has the answer ''"),
        ({"1": {"order": [MC | {"question": "Which?"}]}}, "has 0 options with 0 labels"),
        ({"1": {"order": [MC | {"question": "Which?\nA. x\nA. y"}]}}, "has 2 options with 1 labels"),
        ({"../1": {"order": [MC]}}, r"climbs with '\.\.'"),
        ('{"1": {"order": []}, "1": {"order": []}}', "is that of line 1 too"),
        ('{"1": {"order": [], "order": []}}', "the key `order` is there twice"),
    ],
)
def test_a_file_that_is_not_tempcompass(tmp_path, content, message):
    path = tmp_path / "multi-choice.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    sentence = refused("tempcompass", tmp_path)
    assert re.search(message, sentence), sentence
    assert str(path) in sentence


def test_tempcompass_without_files(tmp_path):
    assert "holds no questions of TempCompass" in refused("tempcompass", tmp_path)
    write_tempcompass(tmp_path, ["1"])
    (tmp_path / "questions" / "yes_no.json").unlink()
    assert "yes_no.json: No such file" in refused("tempcompass", tmp_path, kinds=["yes_no"])


# MVBench


def clip_at(path: Path, seconds: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, np.full((2 * seconds, 64, 64, 3), 90, dtype=np.uint8), fps=2)
    return path


def test_mvbench_prompt_and_categories(tmp_path):
    write_json(tmp_path / "json" / "fine_grained_pose.json", [mvbench_row("a.avi"), mvbench_row("b.avi")])
    write_json(tmp_path / "json" / "action_sequence.json", [mvbench_row("c.mp4")])
    sequence, pose, _ = read("mvbench", tmp_path)
    assert pose.prompt == (
        "Question: What did the person do?\nOptions:\n(A) Sat.\n(B) Ran.\n(C) Ate.\nOnly give the best option."
    )
    assert (pose.right_label, pose.options[1].text, pose.options[1].content) == ("B", "B) Ran.", "Ran.")
    assert (pose.id, pose.category("task")) == ("fine_grained_pose/0", "Fine-grained Pose")
    assert (sequence.id, sequence.category("task")) == ("action_sequence/0", "Action Sequence")
    template = BENCHMARKS["mvbench"].template
    assert template.system.startswith("Carefully watch the video")
    assert template.system.endswith("select the best option that accurately addresses the question.")
    assert template.answer_prefix == "Best option:("


def test_mvbench_finds_videos_where_they_are(tmp_path):
    """In the folder of the source; else wherever the name is found, if that is one place."""
    write_json(tmp_path / "json" / "moving_count.json", [mvbench_row("v.mp4")])
    assert read("mvbench", tmp_path)[0].video == "video/clevrer/video_validation/v.mp4"
    clip_at(tmp_path / "elsewhere" / "v.mp4")
    assert read("mvbench", tmp_path)[0].video == "elsewhere/v.mp4"
    clip_at(tmp_path / "other" / "v.mp4")
    sentence = refused("mvbench", tmp_path)
    assert "'v.mp4' is there several times: elsewhere/v.mp4, other/v.mp4" in sentence
    assert "Keep only the right one, in video/clevrer/video_validation" in sentence
    clip_at(tmp_path / "video" / "data0613" / "clevrer" / "video_validation" / "v.mp4")
    assert read("mvbench", tmp_path)[0].video == "video/data0613/clevrer/video_validation/v.mp4"
    write_json(tmp_path / "json" / "moving_count.json", [mvbench_row("sub/w.mp4")])
    clip_at(tmp_path / "w.mp4")
    assert read("mvbench", tmp_path)[0].video == "video/clevrer/video_validation/sub/w.mp4"


def test_mvbench_shows_the_stretch_that_is_asked_about(tmp_path):
    rows = [mvbench_row("v.mp4", start=0.5, end=2.5), mvbench_row("v.mp4", start=1, end=99.0), mvbench_row("v.mp4")]
    write_json(tmp_path / "json" / "action_sequence.json", rows)
    write_json(tmp_path / "json" / "moving_count.json", rows[:1])
    clips = [question.clip for question in read("mvbench", tmp_path)]
    assert clips == [Span(0.5, 2.5), Span(1.0, 99.0), None, None], "the video is not there to be measured"
    video = clip_at(tmp_path / "video" / "star" / "Charades_v1_480" / "v.mp4")
    assert [question.clip for question in read("mvbench", tmp_path)] == [
        Span(0.5, 2.5), Span(1.0, 4.0), None, None,
    ]  # fmt: skip
    video.write_bytes(b"broken")
    assert read("mvbench", tmp_path)[1].clip == Span(1.0, 99.0)
    video.unlink()
    clip_at(tmp_path / "video" / "star" / "Charades_segment" / "v.mp4")
    assert {question.clip for question in read("mvbench", tmp_path)} == {None}, "cut out already"


def test_mvbenchs_folders_of_pictures(tmp_path):
    rows = [mvbench_row("friends", start=0.4, end=9.0), mvbench_row("castle", start=1, end=2), mvbench_row("00001.jpg")]
    write_json(tmp_path / "json" / "episodic_reasoning.json", rows)
    folder = tmp_path / "video" / "tvqa" / "frames_fps3_hq" / "friends"
    folder.mkdir(parents=True)
    for number in range(1, 13):
        Image.new("RGB", (32, 32)).save(folder / f"{number:05d}.jpg")
    found = read("mvbench", tmp_path)
    assert [question.video for question in found] == [
        f"video/tvqa/frames_fps3_hq/{name}" for name in ("friends", "castle", "00001.jpg")
    ], "a picture inside a folder is no video"
    assert [question.clip for question in found] == [Span(0.4, 4.0), Span(1.0, 2.0), None], "12 pictures last 4 s"
    assert [question.as_example().frame_rate for question in found] == [3, None, None]


def test_of_equal_candidates_mvbench_means_the_last(tmp_path):
    write_json(tmp_path / "json" / "state_change.json", [mvbench_row("v.mp4", candidates=["Ran.", "Sat.", "Ran."])])
    assert read("mvbench", tmp_path)[0].right_label == "C"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ('[{"video": "v', "cut off"),
        ([], "its files are empty lists"),
        ({"a": mvbench_row("v.mp4")}, "a file of MVBench is a list of objects"),
        ([3], "a file of MVBench is a list of objects"),
        ([{"video": "v.mp4"}], "the key `question` is missing"),
        ([mvbench_row("v.mp4", candidates="Ran.")], "`candidates` is 'Ran.'"),
        ([mvbench_row("v.mp4", candidates=["Ran."])], "`candidates` has 1 entries"),
        ([mvbench_row("v.mp4", answer="Flew.")], "`answer` is 'Flew.', which is none of the candidates"),
        ([mvbench_row("/v.mp4")], "is absolute"),
        ([mvbench_row("v.mp4", start="0:01")], "`start"),
    ],
)
def test_a_file_that_is_not_mvbench(tmp_path, content, message):
    path = tmp_path / "json" / "action_sequence.json"
    path.parent.mkdir()
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    sentence = refused("mvbench", tmp_path)
    assert re.search(message, sentence), sentence


def test_mvbench_without_files_or_with_others(tmp_path):
    assert "holds no questions of MVBench" in refused("mvbench", tmp_path)
    write_json(tmp_path / "json" / "action_sequences.json", [])
    assert "MVBench has no task of that name" in refused("mvbench", tmp_path)


# Video-MME


def write_rows(folder: Path, kind: str, rows: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"videomme.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        text = json.dumps(rows) if kind == "json" else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text)
    return path


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_video_mme_as_exported(tmp_path, kind):
    write_rows(tmp_path, kind, [video_mme_row(1), video_mme_row(2, answer="A")])
    one, two = read("video-mme", tmp_path)
    assert one.prompt == (
        "Select the best answer to the following multiple-choice question based on the video. Respond with only the "
        "letter (A, B, C, or D) of the correct option.\nQuestion: How many moons are shown?\n"
        "A. One.\nB. Two.\nC. Three.\nD. Four.\nThe best answer is:"
    )
    assert (one.id, one.right_label, one.video, one.options[2].content) == ("001-1", "C", "data/abc.mp4", "Three.")
    assert two.right_label == "A"
    assert dict(one.categories) == {
        "duration": "short", "domain": "Knowledge", "sub_category": "Astronomy", "task_type": "Counting Problem",
    }  # fmt: skip


@pytest.mark.parametrize(
    "listed",
    [
        '["A. It\'s one.", "B. Two."]',
        "[\"A. It's one.\", 'B. Two.']",
        "[\"A. It's one.\" 'B. Two.']",
        "[\"A. It's one.\"\n 'B. Two.']",
        "A. It's one.\nB. Two.",
    ],
    ids=["json", "python", "numpy", "numpy-broken", "lines"],
)
def test_options_that_went_through_a_table_of_text(tmp_path, listed):
    """pandas writes a NumPy array of strings without commas."""
    write_rows(tmp_path, "csv", [video_mme_row(options=listed, answer="B")])
    (found,) = read("video-mme", tmp_path)
    assert [option.text for option in found.options] == ["A. It's one.", "B. Two."]


@pytest.mark.parametrize("home", ["data", "videos", "video"])
def test_video_mme_finds_its_videos_by_any_name_of_their_folder(tmp_path, home):
    write_rows(tmp_path, "jsonl", [video_mme_row(1, videoID="abc")])
    (tmp_path / home).mkdir()
    (tmp_path / home / "abc.mp4").touch()
    assert BENCHMARKS["video-mme"].read(tmp_path)[0].video == f"{home}/abc.mp4"


def test_video_mme_in_the_official_layout(tmp_path):
    write_rows(tmp_path / "videomme", "jsonl", [video_mme_row(1), video_mme_row(2, videoID="def")])
    for name in ("videos/abc.mp4", "data/def.mkv"):
        clip = tmp_path / name
        clip.parent.mkdir(exist_ok=True)
        clip.touch()
    assert [question.video for question in read("video-mme", tmp_path)] == ["videos/abc.mp4", "data/def.mkv"]


SRT = """\ufeff1
00:00:01,000 --> 00:00:02,000
<font color="white" size=".72c">Hi guys,</font>

2
00:00:02,500 --> 00:00:04,000
I have
42

3
00:00:05,000 --> 00:00:06,000
moons.
1984
00:00:07,000 --> 00:00:08,000
was long ago.
"""


def test_subtitles_go_before_the_question(tmp_path):
    write_rows(tmp_path, "jsonl", [video_mme_row(1), video_mme_row(2, videoID="silent")])
    plain = read("video-mme", tmp_path)
    (tmp_path / "subtitle").mkdir()
    (tmp_path / "subtitle" / "abc.srt").write_text(SRT)
    found = read("video-mme", tmp_path, subtitles=True)
    said = "Hi guys,\nI have\n42\nmoons.\n1984\nwas long ago.\n"
    assert found[0].prompt.startswith(f"This video's subtitles are listed below:\n{said}Select the best answer")
    assert found[1].prompt == plain[1].prompt, "as without subtitles, where a video has none"
    assert [question.category("subtitles")[:7] for question in found] == ["with", "without"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"videoID": "abc"}], "the key `duration` is missing"),
        ([3], "a row must be an object of columns"),
        ([video_mme_row(1), video_mme_row(1)], "line 2: the question_id '001-1' is that of line 1 too"),
        ([video_mme_row(answer="E")], "`answer` is 'E', which is the letter of no option"),
        ([video_mme_row(options=["One.", "Two."])], "options begin with A., B., C."),
        ([video_mme_row(options=["A. One."])], "options begin with A., B., C."),
        ([video_mme_row(options="nothing")], "options begin with A., B., C."),
        ([video_mme_row(options="['A. \\xzz' 'B. two']")], "options begin with A., B., C."),
        ([video_mme_row(options=[1, 2])], "`options.0` is 1"),
        ([video_mme_row(options=None)], "`options` is None"),
        ([video_mme_row(videoID="../abc")], r"climbs with '\.\.'"),
        ([], "it has no questions"),
    ],
)
def test_a_table_that_is_not_video_mme(tmp_path, rows, message):
    write_rows(tmp_path, "jsonl", rows)
    sentence = refused("video-mme", tmp_path)
    assert re.search(message, sentence), sentence


def test_video_mme_wants_one_table(tmp_path):
    assert "holds 0 tables of questions" in refused("video-mme", tmp_path)
    write_rows(tmp_path, "jsonl", [video_mme_row()])
    write_rows(tmp_path, "csv", [video_mme_row()])
    assert "holds 2 tables of questions: it has videomme.csv, videomme.jsonl" in refused("video-mme", tmp_path)


def test_parquet_takes_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "test-00000-of-00001.parquet").write_bytes(b"PAR1")
    assert "reading parquet takes pyarrow, which is not installed. `pip install pyarrow`" in refused(
        "video-mme", tmp_path
    )


def test_parquet_where_pyarrow_is_there(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "test-00000-of-00001.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([video_mme_row(1), video_mme_row(2)]), path)
    assert [question.id for question in read("video-mme", tmp_path)] == ["001-1", "001-2"]
    path.write_bytes(b"PAR1, broken")
    assert "cannot be read" in refused("video-mme", tmp_path)


# All


def test_the_first_of_each(tmp_path):
    questions = read("tempcompass", write_tempcompass(tmp_path, ["1", "2", "3"]))
    kept = take_first_of_each(questions, "kind, aspect", 2)
    assert [question.id for question in kept] == [
        "multi-choice/1/order/0", "multi-choice/1/order/1", "yes_no/1/order/0", "yes_no/2/order/0",
        "caption_matching/1/action/0", "caption_matching/2/action/0",
    ]  # fmt: skip
    assert take_first_of_each(questions, "kind, aspect", 99) == questions


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["question", "answer", "order", "video", "candidates", "options", "videoID", "start", "1"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FILES = {
    "tempcompass": ("yes_no.json", {"1": {"order": [yes_no()]}}),
    "mvbench": ("action_sequence.json", [mvbench_row("v.mp4", start=0.0, end=2.0)]),
    "video-mme": ("table.json", [video_mme_row()]),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(benchmark=st.sampled_from(sorted(FILES)), data=st.data())
def test_whatever_a_file_holds_is_read_or_refused(tmp_path_factory, benchmark, data):
    name, good = FILES[benchmark]
    folder = tmp_path_factory.mktemp("files")
    raw = json.dumps(good).encode()
    how = data.draw(st.sampled_from(["json", "cut", "changed", "bytes"]))
    if how == "json":
        raw = json.dumps(data.draw(json_values)).encode()
    elif how == "cut":
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    elif how == "changed":
        place = data.draw(st.integers(0, len(raw) - 1))
        raw = raw[:place] + data.draw(st.binary(min_size=1, max_size=3)) + raw[place + 1 :]
    else:
        raw = data.draw(st.binary(max_size=60))
    (folder / name).write_bytes(raw)
    try:
        found = read(benchmark, folder)
    except DataError:
        return
    assert found
    assert all(0 <= question.right < len(question.options) for question in found)
