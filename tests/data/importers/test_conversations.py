"""Query and spans out of conversations; nothing of them is lost without a word."""

from __future__ import annotations

import json
import re
import sys
from itertools import product

import pytest
from annotation_rows import ASKED, lines

from video_opd.data.importers._account import Policies
from video_opd.data.importers._annotation import ReadOptions
from video_opd.data.importers._asked_by_template import make_finders
from video_opd.data.importers._collector import Collector
from video_opd.data.importers._read_annotations import read_annotations
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.errors import ConfigurationError, DataError
from video_opd.types import Span

QUESTION, ANSWER = ASKED.format("a cat sits"), "The event happens in 2.0 - 4.5 seconds."


SHOWN = {"type": "video", "video": "a.mp4", "fps": 2}


def talk(*turns, **more):
    """Turns of user and model after each other."""
    roles = ("user", "assistant")
    found = [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)]
    return {"messages": found, "videos": ["a.mp4"], **more}


@pytest.fixture
def collect(tmp_path):
    def run(*rows, format="sft", template="", name="a.json") -> Collector:
        (tmp_path / name).write_text(json.dumps(rows))
        collector = Collector(Policies(source=format))
        collector.collect(read_annotations(format, [tmp_path / name], ReadOptions(template=template)))
        return collector

    return run


@pytest.mark.parametrize("name", [name for name, preset in TEMPLATES.items() if "{start" in preset.answer])
@pytest.mark.parametrize("given", [True, False])
def test_every_preset_is_read_back(collect, name, given):
    """As training would write it: the question in the preset's words, the answer in its form."""
    preset = TEMPLATES[name]
    question = preset.user.replace("{video}", "<video>").replace("{query}", "a cat 'sits' on it")
    answer = preset.answer_text(Span(2.0, 4.5), (2.0, 3.0, 9.0))
    if preset.answer_starts == "<answer>":
        answer = "<think>From 1 to 7 there is something.</think>" + answer
    collector = collect(talk(question, answer), template=name if given else "")
    assert [(e.query, e.spans) for e in collector.examples] == [("a cat 'sits' on it", ((2, 4.5),))]
    ((remark, count),) = collector.report.remarks.items()
    assert count == 1
    assert given is False or f"`{name}`" in remark


@pytest.mark.parametrize(
    "row",
    [
        talk(QUESTION, ANSWER),
        talk("<video>\n" + QUESTION, ANSWER),
        talk(f"<|vision_start|><|video_pad|><|vision_end|>{QUESTION}", ANSWER),
        talk([SHOWN, {"type": "text", "text": QUESTION}], ANSWER) | {"videos": []},
        talk([SHOWN, {"type": "text", "text": QUESTION}], [{"type": "text", "text": ANSWER}]),
        talk(QUESTION, ANSWER, videos="a.mp4"),
        talk(QUESTION, ANSWER, videos=[{"path": "a.mp4"}]),
        talk([{"type": "video", "path": "a.mp4"}, {"type": "text", "text": QUESTION}], ANSWER) | {"videos": None},
        talk([{"type": "video", "url": "a.mp4"}, {"type": "text", "text": QUESTION}], ANSWER) | {"videos": None},
        talk([{"type": "video_url", "video_url": {"url": "file:///x/videos/a.mp4"}}, {"text": QUESTION}], ANSWER)
        | {"videos": []},
        {"instruction": "<video>Answer shortly.", "input": "Find 'a cat sits'.", "output": ANSWER, "videos": ["a.mp4"]},
        {"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}], "video": "a.mp4"},
        {"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}], "videos": "a.mp4"},
        {"conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": QUESTION},
                           {"from": "gpt", "value": ANSWER}], "video": ["a.mp4"]},
        {"query": QUESTION, "response": ANSWER, "videos": ["a.mp4"]},
        {"instruction": QUESTION, "input": "", "output": ANSWER, "videos": ["a.mp4"]},
        {"messages": json.dumps(talk(QUESTION, ANSWER)["messages"]), "videos": ["a.mp4"]},
    ],
)  # fmt: skip
def test_ways_to_write_a_conversation(collect, row):
    (example,) = collect(row).examples
    assert (example.video, example.query, example.spans, example.duration) == ("a.mp4", "a cat sits", ((2, 4.5),), None)


def test_several_questions_of_one_conversation(collect):
    row = talk(QUESTION, ANSWER, ASKED.format("a dog"), "The event happens in 7 - 9 seconds.", id="x1", duration=30)
    examples = collect(row).examples
    assert [(e.id, e.query, e.spans, e.duration) for e in examples] == [
        ("sft/a/x1_0", "a cat sits", ((2, 4.5),), 30),
        ("sft/a/x1_1", "a dog", ((7, 9),), 30),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (talk("<video>Describe the video.", "A man cooks."), "the answer names no span: no numbers"),
        (talk("<video>Describe the video.", "From 2.0 to 4.5 seconds a man cooks."), "the question fits no template"),
        (talk(QUESTION, "It does not happen."), "the answer names no span: says it does not happen"),
        (talk(QUESTION, "The event happens in 9.0 - 4.5 seconds."), "the answer names no span: end before start"),
        (talk(QUESTION), "it has no question with an answer"),
        ({"messages": [], "videos": ["a.mp4"]}, "it has no question with an answer"),
        (talk(QUESTION, ANSWER, videos=["a.mp4", "b.mp4"]), "it shows 2 videos"),
        (talk(QUESTION, ANSWER, videos=None), "it names no video"),
        (talk([{"type": "video", "video": "a.mp4", "video_start": 3}, {"type": "text", "text": QUESTION}], ANSWER),
         "it shows a part of its video, and nothing says where times count from"),
        (talk(QUESTION, ANSWER, videos=["../a.mp4"]), "the video's path is not one inside a folder"),
        (talk(QUESTION, ANSWER, videos=["https://x.org/a.mp4"]), "the video's path is not one inside a folder"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_counted_with_its_reason(collect, row, reason):
    report = collect(talk(QUESTION, ANSWER), row).report
    assert (report.rows_kept, dict(report.dropped)) == (1, {reason: 1})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": 7, "videos": ["a.mp4"]}, "its turns are no list"),
        ({"messages": "x", "videos": ["a.mp4"]}, "its turns are no list"),
        ({"messages": ["x"], "videos": ["a.mp4"]}, "its turns are no list"),
        (talk(7, ANSWER), "neither a text nor a list of parts"),
        (talk(QUESTION, ANSWER, videos=[7]), "a video is a number, not a path"),
        ({"text": "x"}, "it has neither `messages` nor `conversations`, only `text`"),
        ([1], "it is a list, not an object with keys"),
    ],
)
@pytest.mark.parametrize("format", ["sft", "video-opd"])
def test_what_is_no_conversation(collect, row, said, format):
    with pytest.raises(DataError) as refusal:
        collect(row, format=format)
    assert said in str(refusal.value) or "it has no `video` and no `videos`" in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("k/a.mp4", "k/a.mp4"),
        ("./k/a.mp4", "k/a.mp4"),
        ("videos/a.mp4", "videos/a.mp4"),
        ("/data/x/a.mp4", "a.mp4"),
        ("file:///data/videos/didemo/a.mp4", "didemo/a.mp4"),
        ("/videos/old/videos/didemo/a.mp4", "didemo/a.mp4"),
        ("C:\\clips\\a.mp4", "a.mp4"),
        ("k\\a.mp4", "k/a.mp4"),
    ],
)
def test_paths_of_other_machines(collect, path, kept):
    assert collect(talk(QUESTION, ANSWER, videos=[path])).examples[0].video == kept


PATTERNED = 'When does "a door opens" happen? Give seconds.'


@pytest.mark.parametrize(
    ("template", "question", "query"),
    [
        ("", PATTERNED, "a door opens"),
        ("quoted", PATTERNED, "a door opens"),
        ('When does "{query}" happen', PATTERNED, "a door opens"),
        ('…"{query}"…', PATTERNED, "a door opens"),
        ('When ... "{query}" …?', PATTERNED, "a door opens"),
        ("Query: {query}", "Task. Query: a door (red) opens", "a door (red) opens"),
        ("{query} When?", "a door opens When? Say it", "a door opens"),
        ("{video}Event: {query}. Time?", "Event: a door. Time?", "a door"),
        ("[{query}]", "Find [a (door)] now", "a (door)"),
    ],
)
def test_patterns_of_ones_own(collect, template, question, query):
    collector = collect(talk(question, "[5.0, 9.5]"), template=template)
    assert [(e.query, e.spans) for e in collector.examples] == [(query, ((5, 9.5),))]


@pytest.mark.parametrize("template", ["timelense", "When does it happen", "{query} and {query}"])
def test_a_template_that_there_is_not(template):
    with pytest.raises(ConfigurationError, match=r"it is not a preset, and it does not have \{query\} exactly once"):
        make_finders(template)


def test_questions_that_no_template_fits_ask_for_one(collect):
    with pytest.raises(DataError, match="no question of the file fits a template, such as 'Say when the door opens"):
        collect(talk("<video>Say when the door opens", "[5.0, 9.5]"))


@pytest.mark.parametrize("format", ["sft", "video-opd"])
@pytest.mark.parametrize("count", [1, 9])
def test_of_questions_that_no_template_fits_the_other_format_is_not_named(collect, format, count):
    with pytest.raises(DataError, match=r"no question of the file fits a template.*--template") as refusal:
        collect(*[talk("<video>When does the dog run?", ANSWER)] * count, format=format)
    assert "looks like" not in str(refusal.value)


@pytest.mark.parametrize("count", [1, 9])
def test_conversations_are_known_whatever_they_ask(collect, count):
    with pytest.raises(DataError, match="it looks like sft"):
        collect(*[talk("<video>When does the dog run?", ANSWER)] * count, format="time-r1")


@pytest.mark.parametrize("keys", [("query", "response"), ("instruction", "output")])
def test_turns_before_the_last_are_rows_too(collect, keys):
    row = dict(zip(keys, ("And 'a dog runs'?", "6.0 - 8.0"), strict=True)) | {"videos": ["a.mp4"]}
    collector = collect(row | {"history": [["<video>Find 'a cat sits'.", "2.0 - 4.5"]]})
    assert [(e.query, e.spans) for e in collector.examples] == [("a cat sits", ((2, 4.5),)), ("a dog runs", ((6, 8),))]
    assert len(collect(row | {"history": None}).examples) == len(collect(row | {"history": []}).examples) == 1


@pytest.mark.parametrize("history", ["abc", [["a"]], [["a", 1]], [{"a": "b"}], {"a": 1}])
def test_a_history_of_another_shape_is_refused(collect, history):
    with pytest.raises(DataError, match="`history` is no list of questions"):
        collect({"query": QUESTION, "response": ANSWER, "videos": ["a.mp4"], "history": history})


def test_a_pattern_is_found_in_linear_time():
    find = make_finders('a…a…"{query}"…b')['a…a…"{query}"…b']
    assert find("a" * 2000) is None
    assert find("a" * 1_000_000) is None


@pytest.mark.parametrize(
    "pattern", ["{query}", "a{query}", "{query}b", "a{query}b", "a…b{query}", "b{query}a…b", "a…a{query}b…b"]
)
def test_a_pattern_finds_what_a_regular_expression_finds(pattern):
    """In every text of up to eight letters."""
    before, after = (part.replace("…", ".*?") for part in pattern.split("{query}"))
    expression = re.compile(("" if before else "^") + before + ("(.+?)" if after else "(.+)") + after)
    (find,) = make_finders(f"…{pattern}…").values()
    for length in range(9):
        for letters in product("ab", repeat=length):
            found = expression.search(text := "".join(letters))
            assert find(text) == (found and found[1]), text


def test_the_cases_of_the_issue(shared_data, tmp_path, refused, capsys):
    from video_opd.cli import main

    folder, out = shared_data / "cases" / "faults" / "sft-json", tmp_path / "m.jsonl"
    assert main(["data", "import", "json", str(folder / "a.json"), "--out", str(out)]) == 0
    assert main(["data", "import", "jsonl", str(folder / "a.json"), "--out", str(out)]) == 0
    assert "`video-opd data import sft" in refused("data", "import", "jsonl", folder / "b.jsonl", "--out", out)
    assert main(["data", "import", "sft", str(folder / "b.jsonl"), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["query"] == "a person opens the door"


def test_template_is_for_conversations_alone(tmp_path, refused):
    (tmp_path / "a.csv").write_text("video,query,start,end\na.mp4,q,1,2\n")
    sentence = refused(
        "data", "import", "csv", tmp_path / "a.csv", "--out", tmp_path / "m.jsonl", "--template", "timelens"
    )
    assert "--template: it does nothing for `data import csv`" in sentence


@pytest.mark.parametrize("command", ["stats", "check"])
def test_conversations_are_no_manifest(tmp_path, refused, command):
    (tmp_path / "a.jsonl").write_text(lines(talk(QUESTION, ANSWER, id="x")))
    assert "it looks like annotations in the format sft" in refused("data", command, tmp_path / "a.jsonl")


# Video-opd-Dataset


COLUMNS = {
    "video": "videos/didemo/a.mp4", "video_filename": "a.mp4", "subset": "didemo", "system_prompt": "",
    "user_query": "<video>" + QUESTION, "assistant_response": ANSWER,
    "messages": json.dumps(talk(QUESTION, ANSWER)["messages"]),
}  # fmt: skip


@pytest.mark.parametrize("format", ["video-opd", "sft", "json"])
def test_parquet(tmp_path, format):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [COLUMNS] * 3
    reading = ReadOptions()
    if format == "json":
        rows = [{"video": "didemo/a.mp4", "query": "a cat sits", "spans": [[2.0, 4.5]]}] * 3
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "train.parquet")
    collector = Collector(Policies(source=format))
    examples = collector.collect(read_annotations(format, [tmp_path / "train.parquet"], reading))
    assert [(e.query, e.spans) for e in examples] == [("a cat sits", ((2, 4.5),))] * 3
    if format == "video-opd":
        assert [(e.id, e.video, e.source) for e in examples] == [
            (f"video-opd/didemo/a/{n}", "didemo/a.mp4", "video-opd/didemo") for n in range(3)
        ]


def test_columns_whose_answer_is_no_time(collect):
    report = collect(COLUMNS, COLUMNS | {"assistant_response": ""}, format="video-opd").report
    assert dict(report.dropped) == {"the answer names no span: empty answer": 1}


def test_parquet_without_pyarrow_is_one_sentence(tmp_path, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    sentence = refused("data", "import", "video-opd", tmp_path / "train.parquet", "--out", tmp_path / "m.jsonl")
    assert "parquet is read by pyarrow, which is not installed" in sentence
    assert "pip install 'video-opd[parquet]'" in sentence


@pytest.mark.parametrize("content", [b"PAR1 and no more", b"", None])
def test_a_broken_parquet_is_one_sentence(tmp_path, refused, content):
    pytest.importorskip("pyarrow")
    if content is not None:
        (tmp_path / "train.parquet").write_bytes(content)
    sentence = refused("data", "import", "video-opd", tmp_path / "train.parquet", "--out", tmp_path / "m.jsonl")
    assert "train.parquet" in sentence
