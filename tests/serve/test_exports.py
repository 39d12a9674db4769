"""Exports: what comes from a file's name, a query or an answer stays data in every format."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess

import pytest

from video_opd.serve.api_records import GroundResult, ModelAnswers, QueryAnswer
from video_opd.serve.exports import FORMATS, FORMULA_STARTS
from video_opd.serve.uploads import clean_name

HOSTILE = [
    "plain words",
    'it\'s a "quoted" one, with a comma',
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "\t=1+1",
    "\u00a0=1+1",
    "one\ntwo\r\n\r\n3\n00:00:01,000 --> 00:00:02,000\nevil",
    "--> arrow <b>bold</b> {\\an8}",
    "<img src=x onerror=alert(1)>",
    "$(touch evil) `touch evil` ; touch evil #",
    "'; touch evil; '",
    "ключ 鍵 \u202eright to left\u2066 \x1b[2J \u2028 end",
]


def make_result(
    video: str, queries: list[str], models: tuple[str, ...] = ("tiny-teacher", "hub/other")
) -> GroundResult:
    def answer(query: str, place: int) -> QueryAnswer:
        spans = [(1.5, 3661.0625), (4.0, 5.0)] if place == 0 else [] if place == 1 else [(float(place), place + 0.5)]
        return QueryAnswer(
            query=query, spans=spans, answer=query, duration=9.0, num_video_tokens=4, seconds=0.1,
            reason=None if spans else "end before start",
        )  # fmt: skip

    answers = [answer(query, place) for place, query in enumerate(queries)]
    told = [ModelAnswers(model=model, seconds_to_decode=0.1, seconds_to_read=0.2, answers=answers) for model in models]
    return GroundResult(video=video, duration=4000.0, models=told, notices=[])


@pytest.fixture
def result() -> GroundResult:
    return make_result(HOSTILE[6], HOSTILE)


def test_json_is_the_same_again(result):
    assert json.loads(FORMATS["json"].write(result)) == json.loads(result.model_dump_json())


def test_csv_has_a_row_for_each_span_and_no_formula(result):
    text = FORMATS["csv"].write(result)
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert head[0] == "video"
    assert len(rows) == 2 * (len(HOSTILE) + 1)
    assert {len(row) for row in rows} == {9}
    found = list(dict.fromkeys(row[3] for row in rows))
    assert [text.removeprefix("'") if text not in HOSTILE else text for text in found] == HOSTILE
    assert not any(cell.strip("\u00a0 \t").startswith(("=", "@", "+")) for row in rows for cell in row)
    assert rows[0][4:7] == ["1", "1.5", "3661.0625"]
    assert rows[2][4:9] == ["", "", "", HOSTILE[1], "end before start"]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "|", "%"])
def test_no_cell_of_a_csv_begins_with_a_sign_that_is_computed(sign):
    text = FORMATS["csv"].write(make_result(f"{sign}1", [f"{sign}1+1"], (f"{sign}model",)))
    row = next(csv.DictReader(io.StringIO(text, newline="")))
    assert [row[column] for column in ("video", "model", "query", "answer")] == [
        f"'{sign}1", f"'{sign}model", f"'{sign}1+1", f"'{sign}1+1",
    ]  # fmt: skip
    assert sign in FORMULA_STARTS


def test_srt_has_one_cue_for_each_span_and_no_other_line(result):
    text = FORMATS["srt"].write(result)
    cues = text.strip("\n").split("\n\n")
    assert len(cues) == 2 * len(HOSTILE)
    for number, cue in enumerate(cues, start=1):
        place, times, *words = cue.split("\n")
        assert place == str(number)
        assert re.fullmatch(r"\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}", times)
        assert len(words) == 1
        assert not re.search("[<>{}\r\x1b\u2028]|-->", words[0])
    assert "00:00:01,500 --> 01:01:01,062\ntiny-teacher: plain words" in text
    alone = FORMATS["srt"].write(make_result("a.mp4", ["plain words"], ("only",)))
    assert "\nplain words\n" in alone


FFMPEG = """#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word" >> words; done
printf '\\0' >> words
"""


@pytest.mark.parametrize("video", [*HOSTILE, "-i", "concat:a|b", "a}b'c"])
def test_the_cut_list_names_one_file_and_runs_nothing_else(tmp_path, video):
    if shutil.which("sh") is None:
        pytest.skip("there is no shell here")
    script, stand_in = tmp_path / "cut.sh", tmp_path / "ffmpeg"
    script.write_text(FORMATS["ffmpeg"].write(make_result(video, HOSTILE)), encoding="utf-8")
    stand_in.write_text(FFMPEG)
    stand_in.chmod(0o755)
    given = [] if video != "a}b'c" else ["other -name.mp4"]
    done = subprocess.run(
        ["sh", str(script), *given], cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.sh", "ffmpeg", "words"]
    calls = [call.split("\0") for call in (tmp_path / "words").read_bytes().decode().split("\0\0")[:-1]]
    assert len(calls) == 2 * len(HOSTILE)
    name = given[0] if given else video
    assert calls[0] == ["-nostdin", "-n", "-i", f"file:{name}", "-ss", "1.500", "-to", "3661.062", "span-m1-q1-s1.mp4"]
    assert len({call[-1] for call in calls}) == len(calls)
    assert all(re.fullmatch(r"span-m\d+-q\d+-s\d+\.mp4", call[-1]) for call in calls)


CAREFUL_FFMPEG = """#!/bin/sh
for name in "$@"; do :; done
if [ -e "$name" ]; then exit 1; fi
echo "$*" > "$name"
"""


def test_the_cut_list_runs_to_its_end_over_files_that_exist_and_empty_spans(tmp_path):
    result = make_result("a.mp4", ["a", "b", "c"], ("only",))
    result.models[0].answers[2].spans = [(2.0, 2.0), (3.0001, 3.0004), (4.0, 5.0)]
    (tmp_path / "cut.sh").write_text(FORMATS["ffmpeg"].write(result))
    (tmp_path / "ffmpeg").write_text(CAREFUL_FFMPEG)
    (tmp_path / "ffmpeg").chmod(0o755)
    (tmp_path / "span-m1-q1-s1.mp4").write_text("there before")
    for _ in range(2):
        subprocess.run(["sh", "cut.sh"], cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)
    cut = {path.name: path.read_text() for path in tmp_path.glob("*.mp4")}
    assert sorted(cut) == ["span-m1-q1-s1.mp4", "span-m1-q1-s2.mp4", "span-m1-q3-s3.mp4"]
    assert cut["span-m1-q1-s1.mp4"] == "there before"
    assert "-ss 4.000 -to 5.000 span-m1-q3-s3.mp4" in cut["span-m1-q3-s3.mp4"]


def test_what_lies_after_the_end_of_the_video_is_neither_cut_nor_shown():
    result = make_result("a.mp4", ["a"], ("only",)).model_copy(update={"duration": 10.0})
    result.models[0].answers[0].spans = [(8.0, 1e6), (10.0, 12.0), (1.0, 1.0), (11.0, 1e7)]
    assert FORMATS["srt"].write(result) == "1\n00:00:08,000 --> 00:00:10,000\na\n"
    script = FORMATS["ffmpeg"].write(result)
    assert re.findall("-ss .*", script) == ["-ss 8.000 -to 10.000 span-m1-q1-s1.mp4"]
    assert script.count("# Nothing of the video lies in this span: ") == 3
    assert "1000000.0" in FORMATS["csv"].write(result)  # as it was answered


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (b"clip.mp4", "clip.mp4"),
        (b"../../etc/passwd", "passwd"),
        (b"C:\\films\\a.mp4", "a.mp4"),
        ("ключ".encode(), "ключ"),
        (b"a%22b%0Ac.mp4", 'a"b\nc.mp4'),
        (b"a\0b", "ab"),
        (b"\xff.mp4", "\ufffd.mp4"),
        (b"..", ".."),
        (b"", "video"),
        (b"x" * 300, "x" * 200),
    ],
)
def test_the_name_of_a_file_is_never_a_path(sent, name):
    assert clean_name(sent) == name
