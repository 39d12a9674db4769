import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_opd.cli import main
from video_opd.data.manifest import Problem, check_manifest, read_manifest, resolve_video, write_manifest
from video_opd.data.manifest_rows import Fault, example_from_row, row_from_example, row_from_line
from video_opd.data.video.video_io import write_video
from video_opd.errors import DataError
from video_opd.types import Example, Span

ROW = {"id": "q1", "video": "kitchen/a.mp4", "query": "the fridge opens", "spans": [[2.0, 4.5]], "duration": 31.2}
EXAMPLE = Example(
    id="q1", video="kitchen/a.mp4", query="the fridge opens", spans=(Span(2.0, 4.5),), duration=31.2, source=""
)


def line(**changes):
    """A row as JSON, with some keys changed; None leaves a key out."""
    return json.dumps({key: value for key, value in {**ROW, **changes}.items() if value is not None})


def written(tmp_path, *lines):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(part if isinstance(part, bytes) else part.encode() for part in lines))
    return path


# Reading


def test_rows_are_read_in_order(tmp_path):
    path = written(tmp_path, line(), line(id="q2", source="charades", clip=[10, 41.2]))
    second = replace(EXAMPLE, id="q2", source="charades", clip=Span(10.0, 41.2))
    assert read_manifest(path) == [EXAMPLE, second]


def test_a_byte_order_mark_blank_lines_and_windows_ends_are_tolerated(tmp_path):
    path = written(tmp_path, b"\xef\xbb\xbf" + line().encode() + b"\r", b"", b"  \t", line(id="q2"), b"")
    assert [example.id for example in read_manifest(path)] == ["q1", "q2"]


def test_a_line_ends_only_where_json_lines_end(tmp_path):
    query = "before\u2028after\x85and on"  # str.splitlines would cut here
    path = written(tmp_path, json.dumps({**ROW, "query": query}, ensure_ascii=False))
    assert read_manifest(path)[0].query == query


def test_an_end_after_the_video_is_kept_and_only_reported(tmp_path):
    path = written(tmp_path, line(spans=[[2.0, 31.9]]), line(id="q2", spans=[[2.0, 40.0]]))
    assert read_manifest(path)[1].spans == (Span(2.0, 40.0),)
    (problem,) = check_manifest(path)
    assert (problem.line, problem.id, problem.severity) == (2, "q2", "warning")
    assert problem.message == "span 1 ends at 40 s, after the 31.2 s of the video"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"{", "not JSON at column 2"),
        (b"[1, 2]", "the line is a list, not a JSON object"),
        (b"12", "the line is a number"),
        (b'"\xff"', r"byte 1\d\d of the file \(0xff\) is not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[" * 100_000, "too deep"),
        (line(duration=7).replace("7", "1" * 5000).encode(), "a number is too long"),
        (line(duration=7).replace("7", "1" * 400).encode(), "the number 1111.* is too large"),
        (line(duration=7).replace("7", "1e999").encode(), "the number 1e999 is too large"),
        (line(duration=float("nan")), "NaN is not a number"),
        (line(spans=[[0, float("inf")]]), "Infinity is not a number"),
        (line(spans=[[float("-inf"), 1]]), "-Infinity is not a number"),
        (line().replace('"query"', '"id"'), "the key `id` is there twice"),
        (line(qeury="x"), r"unknown key `qeury`, near to `query`.*Rename it to `query`"),
        (line(zzz=1), r"unknown key `zzz`: .*The keys are id, video"),
        *[(line(**{key: None}), f"the key `{key}` is missing") for key in ROW if key != "duration"],
        (line(id=7), "`id` is a number, not a string"),
        (line(id="  "), "`id` is empty"),
        (line(query=""), "`query` is empty"),
        (line(query="\ud800"), "half of a surrogate pair"),
        (line(source=[]), "`source` is a list, not a string"),
        (line(duration=True), "`duration` is true or false, not a number"),
        (line(duration="31.2"), "`duration` is a string, not a number"),
        (line(duration=0), "`duration` is 0 s, not more than 0"),
        (line(duration=-3), "`duration` is -3 s"),
        (line(spans=[]), "neither rewarded nor scored"),
        (line(spans={}), "`spans` is an object, not a list"),
        (line(spans=[2.0, 4.5]), r"span 1 is not a pair \[start, end\]"),
        (line(spans=[[1, 2], [3]]), "span 2 is not a pair"),
        (line(spans=[[1, False]]), "the end of span 1 is true or false"),
        (line(spans=[[4.5, 2.0]]), "span 1 ends at 2 s, before it starts at 4.5 s"),
        (line(spans=[[-0.5, 2.0]]), "span 1 starts at -0.5 s, before the video"),
        (line(clip=[3, 3]), "`clip` is empty"),
        (line(clip=[3, 1]), "`clip` ends at 1 s, before it starts"),
        (line(clip="all"), "`clip` is not a pair"),
        (line(video=""), "`video` is empty"),
        (line(video="/etc/passwd"), "is absolute"),
        (line(video="a/../../b.mp4"), r"climbs with '\.\.'"),
        (line(video="a\\b.mp4"), "has backslashes"),
        (line(video="a\0.mp4"), "NUL"),
        (line(video="https://example.org/a.mp4"), "begins like an address"),
        (line(video="C:/a.mp4"), "begins like an address or a drive"),
        (line(), "the id is already that of line 1"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path, bad, message):
    path = written(tmp_path, line(), b"", bad, line(id="q3"))
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(path)
    assert caught.value.cause.startswith(f"{path}, line 3")
    assert {problem.line for problem in check_manifest(path)} == {3}


def test_null_counts_as_absent_only_for_the_clip(tmp_path):
    assert read_manifest(written(tmp_path, json.dumps({**ROW, "clip": None})))[0].clip is None
    with pytest.raises(DataError, match="`source` is null"):
        read_manifest(written(tmp_path, json.dumps({**ROW, "source": None})))


def test_a_manifest_that_is_not_there_or_empty(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="directory"):
        check_manifest(tmp_path)
    path = written(tmp_path, b"\xef\xbb\xbf\n\n")
    with pytest.raises(DataError, match="the manifest has no rows"):
        read_manifest(path)
    assert [problem.line for problem in check_manifest(path)] == [0]


# Checking


def test_all_problems_are_found_at_once(tmp_path):
    path = written(tmp_path, "{", line(), line(id=3, duration=-1, colour="red"), line(), line(id="q5"))
    problems = check_manifest(path)
    assert [(problem.line, problem.id) for problem in problems] == [(1, None), *[(3, None)] * 3, (4, "q1")]
    assert str(problems[-1]) == "line 4 (id 'q1'): error: the id is already that of line 2"
    assert all(isinstance(problem, Problem) and problem.remedy for problem in problems)


def test_a_span_without_length_is_warned_about(tmp_path):
    path = written(tmp_path, line(spans=[[1, 2], [3.5, 3.5]]))
    (problem,) = check_manifest(path)
    assert (problem.severity, problem.message) == ("warning", "span 2 has no length, at 3.5 s: no answer reaches it")
    assert read_manifest(path)[0].spans == ((1, 2), (3.5, 3.5))


def test_videos_are_probed_once_each(tmp_path, monkeypatch):
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "good.mp4", np.zeros((20, 32, 32, 3), np.uint8), fps=10)
    write_video(videos / "short.mp4", np.zeros((1, 32, 32, 3), np.uint8), fps=10)
    (videos / "empty.mp4").touch()
    (videos / "noise.mp4").write_bytes(b"no video at all")
    (videos / "link.mp4").symlink_to("/etc/passwd")

    def row(number, video, duration=2.0, **more):
        return line(id=f"q{number}", video=video, duration=duration, spans=[[0, 1]], **more)

    path = written(
        tmp_path,
        row(1, "good.mp4"),
        row(2, "good.mp4", 2.9),
        row(3, "good.mp4", 3.1),
        row(4, "good.mp4", 1.0, clip=[1, 2]),
        row(5, "good.mp4", 1.0, clip=[3, 4]),
        row(6, "good.mp4", clip=[1, 2]),
        row(7, "good.mp4", clip=[0, 1.5]),
        row(8, "missing.mp4"),
        row(9, "missing.mp4"),
        row(10, "empty.mp4"),
        row(11, "noise.mp4"),
        row(12, "short.mp4"),
        row(13, "link.mp4"),
    )
    assert check_manifest(path) == []

    from video_opd.data.video import picture_folder

    probed = []
    probe = picture_folder.probe
    monkeypatch.setattr(picture_folder, "probe", lambda file: probed.append(file.name) or probe(file))
    found = {problem.line: problem for problem in check_manifest(path, videos)}
    assert probed == ["good.mp4", "missing.mp4", "empty.mp4", "noise.mp4", "short.mp4"]
    assert sorted(found) == [3, 5, 8, 10, 11, 12, 13]
    assert found[3].severity == "warning"
    assert "the file is 2.00 s long" in found[3].message
    assert "`clip` ends at 4 s" in found[5].message
    for number, message in {
        8: "No such file",
        10: "empty",
        11: "a text that begins",
        12: "1 frame,",
        13: "outside",
    }.items():
        assert found[number].severity == "error"
        assert message in found[number].message


def test_what_is_broken_within_a_frame_shows_when_it_is_decoded(tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    for name in ("good.mp4", "broken.mp4"):
        write_video(videos / name, noise, fps=10)
    data = bytearray((videos / "broken.mp4").read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 400] = bytes(400)
    (videos / "broken.mp4").write_bytes(data)

    def row(number, video, **more):
        return line(id=f"q{number}", video=video, spans=[[0, 0.4]], **{"duration": 4.0, **more})

    path = written(
        tmp_path,
        row(1, "good.mp4"),
        row(2, "broken.mp4", clip=[0, 0.5], duration=0.5),
        row(3, "broken.mp4"),
        row(4, "broken.mp4"),
        row(5, "missing.mp4"),
    )
    assert [problem.line for problem in check_manifest(path, videos)] == [5]
    assert [problem.line for problem in check_manifest(path, videos, decode=True)] == [3, 5]
    assert main(["data", "check", str(path), "--videos", str(videos), "--decode"]) == 2
    assert "line 3 (id 'q3'): error: " in capsys.readouterr().out


def test_a_video_that_cannot_be_read_is_told_once(tmp_path):
    (tmp_path / "junk.mp4").write_text("no video")
    path = written(tmp_path, *(line(id=id, video="junk.mp4") for id in ("q1", "q2")), line(id="q3", video="none.mp4"))
    assert [problem.line for problem in check_manifest(path, tmp_path, decode=True)] == [1, 3]


def test_decoding_wants_videos(tmp_path, capsys):
    assert main(["data", "check", str(written(tmp_path, line())), "--decode"]) == 2
    assert "--decode without --videos" in capsys.readouterr().err


def test_a_clip_should_be_as_long_as_the_duration_says(tmp_path):
    (problem,) = check_manifest(written(tmp_path, line(clip=[10.0, 20.0])))
    assert (problem.severity, problem.message) == ("warning", "`duration` is 31.2 s, but `clip` is 10 s long")


# Paths


def test_a_video_is_found_in_its_folder(tmp_path):
    assert resolve_video(tmp_path, EXAMPLE) == tmp_path.resolve() / "kitchen" / "a.mp4"


def test_links_within_the_folder_are_followed_and_links_out_of_it_refused(tmp_path):
    videos = tmp_path / "videos"
    (videos / "real").mkdir(parents=True)
    (videos / "kitchen").symlink_to("real")
    assert resolve_video(videos, EXAMPLE) == videos.resolve() / "real" / "a.mp4"
    (videos / "kitchen").unlink()
    (videos / "kitchen").symlink_to(tmp_path)
    with pytest.raises(DataError, match="outside"):
        resolve_video(videos, EXAMPLE)
    (videos / "kitchen").unlink()
    (videos / "kitchen").symlink_to("kitchen")
    with pytest.raises(DataError, match="cannot be followed"):
        resolve_video(videos, EXAMPLE)


@pytest.mark.parametrize("video", ["../a.mp4", "/a.mp4", "a\0", "file:a.mp4", "x\\y.mp4", ""])
def test_paths_are_checked_for_examples_from_anywhere(tmp_path, video):
    with pytest.raises(DataError, match="row 'q1'"):
        resolve_video(tmp_path, replace(EXAMPLE, video=video))


# Writing


def test_what_is_written_is_read(tmp_path):
    examples = [EXAMPLE, replace(EXAMPLE, id="ü", query="打开冰箱\n", source="s", clip=Span(0.1, 31.3))]
    path = tmp_path / "rows.jsonl"
    write_manifest(path, examples)
    assert read_manifest(path) == examples
    assert "打开冰箱" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "examples",
    [
        [],
        [EXAMPLE, EXAMPLE],
        [replace(EXAMPLE, duration=float("nan"))],
        [replace(EXAMPLE, spans=(Span(3.0, 2.0),))],
        [replace(EXAMPLE, query="\ud800")],
        [replace(EXAMPLE, duration=np.float32(40))],
    ],
    ids=["none", "twice", "nan", "backwards", "surrogate", "of-numpy"],
)
def test_what_could_not_be_read_is_not_written(tmp_path, examples):
    path = tmp_path / "rows.jsonl"
    write_manifest(path, [EXAMPLE])
    before = path.read_bytes()
    with pytest.raises(DataError):
        write_manifest(path, examples)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_nan_is_not_written_unchecked_either(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_manifest(tmp_path / "rows.jsonl", [replace(EXAMPLE, duration=float("nan"))], are_checked=True)
    assert list(tmp_path.iterdir()) == []


# Anything at all

seconds = st.floats(0, 1e6, allow_nan=False)
spans = st.tuples(seconds, seconds).map(lambda pair: Span(min(pair), max(pair)))
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
examples = st.builds(
    Example,
    id=words,
    video=st.from_regex(r"[a-z0-9 ]{1,8}(/[a-z0-9]{1,8}){0,2}\.mp4", fullmatch=True),
    query=words,
    spans=st.lists(spans, min_size=1, max_size=3).map(tuple),
    duration=st.floats(0.01, 1e6),
    source=st.text(st.characters(exclude_categories=["Cs"])),
    clip=st.none() | spans.filter(lambda span: span.end_s > span.start_s),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(examples)
def test_every_valid_example_survives_its_row(example):
    text = json.dumps(row_from_example(example), ensure_ascii=False)
    row = row_from_line(text.encode(), 0, first=True)
    read, faults = example_from_row(row)
    assert read == example
    assert all(fault.severity == "warning" for fault in faults)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_row_a_blank_or_a_fault(raw, first):
    row = row_from_line(raw, 0, first=first)
    assert row is None or isinstance(row, (dict, Fault))
    if isinstance(row, dict):
        example_from_row(row)


@given(st.dictionaries(st.sampled_from([*ROW, "source", "clip", "extra"]), json_values))
def test_any_row_gives_an_example_or_says_why_not(changes):
    row = row_from_line(json.dumps({**ROW, **changes}).encode(), 0, first=True)
    if isinstance(row, Fault):
        return
    example, faults = example_from_row(row)
    assert (example is None) == any(fault.severity == "error" for fault in faults)
    assert all(fault.message and fault.remedy for fault in faults)
    if example is not None:
        assert not Path(example.video).is_absolute()
        assert all(0 <= span.start_s <= span.end_s < float("inf") for span in example.spans)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("<|video_pad|>when does it open", "`query` holds <|video_pad|>, as control tokens"),
        ("a <|im_end|> b <|im_end|>", "`query` holds <|im_end|>, as"),
        ("<think>a</think> <tool_call> <image>", "`query` holds <think>, </think>, <tool_call>, …, as"),
        ("<video>\nthe door opens", "`query` holds <video>, as"),
        ("<|anything_new|>", "`query` holds <|anything_new|>, as"),
        ("...", "`query` '...' has no words: the row is set aside"),
        ("\u200b", "has no words: the row is set aside"),
        ("a\x00door", "`query` holds the control character '\\x00': prompts have a blank there"),
        ("the door " * 300, "`query` is 2,700 characters long"),
    ],
)
def test_an_odd_query_is_named_and_read_all_the_same(tmp_path, query, said):
    path = tmp_path / "odd.jsonl"
    path.write_text(json.dumps({"id": "a", "video": "a.mp4", "query": query, "spans": [[1, 2]], "duration": 9}) + "\n")
    (problem,) = check_manifest(path)
    assert said in problem.message
    assert (problem.line, problem.id, problem.severity) == (1, "a", "warning")
    assert [example.query for example in read_manifest(path)] == [query]


@pytest.mark.parametrize("query", ["a < b | c > d", "<b>bold</b>", "press [enter]", "x <| y |> z", "la porte s'ouvre"])
def test_an_ordinary_query_is_not_named(tmp_path, query):
    path = tmp_path / "plain.jsonl"
    path.write_text(json.dumps({"id": "a", "video": "a.mp4", "query": query, "spans": [[1, 2]], "duration": 9}) + "\n")
    assert check_manifest(path) == []
