from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_opd.data.prompt_templates import TEMPLATES
from video_opd.eval.scorers import SCORERS
from video_opd.eval.scorers import _parsers as parsers
from video_opd.grounding import parse_answer
from video_opd.types import Span

COLUMNS = {
    "timelens_eval": parsers.timelens,
    "timelens_train": parsers.timelens_training,
    "lmms_eval_timelens": parsers.timelens,
    "lmms_eval_charades": parsers.lmms_eval_charades,
    "timelens2_json": parsers.timelens2,
    "timer1_reward": parsers.time_r1_reward,
    "timer1_old_eval": parsers.time_r1,
}
ALL = [*dict.fromkeys(COLUMNS.values()), parsers.timechat, parsers.museg]


@pytest.mark.parametrize("column", COLUMNS)
def test_golden_answers(shared_data, column):
    cases = json.loads((shared_data / "golden" / "parser_cases.json").read_text())
    assert len(cases) >= 22
    for case in cases:
        expected = case[column]
        if column.startswith("timer1"):
            expected = [expected] if expected and None not in expected else []
        assert [list(pair) for pair in COLUMNS[column](case["text"])] == expected, case["text"]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("4 - 9", [(4, 9)]),
        ("12.5s - 18.3s", [(12, 18)]),
        ("12.5–18.3", [(12.5, 18.3)]),
        ("12.5 seconds - 18.3 seconds", [(12.5, 18.3)]),
        ("from 4 to 9", [(4, 9)]),
        ("a dash - wins: 1 to 2, 4 - 9", [(4, 9)]),
        ("-3.0 - 5.0", [(3, 5)]),
        (".5 - 2", [(5, 2)]),
        ("1e1 - 2e1", [(1, 2)]),
        ("100:30 - 101:00", [(30, 101)]),
        ("1:00:02 - 1:00:03.5", [(3602, 3603.5)]),
        ("0:01 0:02 0:03", [(1, 2)]),
        ("0:01, then 5 - 6", [(5, 6)]),
        ('the query "step 2 - 3" is at 10 - 20', [(2, 3), (10, 20)]),
        ("<think>2.0 to 4.0</think><answer>12 to 17</answer>", [(2, 4), (12, 17)]),
        ("None", []),
        ("one number: 5.", []),
    ],
)
def test_timelens(text, pairs):
    assert parsers.timelens(text) == tuple(pairs)


def test_timelens_reads_a_lone_clock_by_its_numbers():
    """An odd clock time is dropped; with none left the next stage sees its parts."""
    assert parsers.timelens("at 0:01") == ((0.0, 1.0),)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("<think>2 to 4</think> <answer>12 to 17</answer>", [(12, 17)]),
        ("so: <think>2 to 4</think><answer>12 to 17</answer>", [(2, 4), (12, 17)]),
        ("<answer>12 to 17</answer> not 1 to 2", [(12, 17), (1, 2)]),
        ("4 tomato", []),
        ("4 stop 9", [(4, 9)]),
        ("4to9", [(4, 9)]),
    ],
)
def test_timelens_training(text, pairs):
    assert parsers.timelens_training(text) == tuple(pairs)


@pytest.mark.parametrize(
    ("text", "evaluated", "rewarded"),
    [
        ("<think>1 to 2</think><answer>12.5 to 17</answer>", [(12.5, 17)], [(12.5, 17)]),
        ("<answer>12.5 to 17</answer> or 1 and 2", [(1, 2)], [(12.5, 17)]),
        ("<answer>1 to 2</answer><answer>3 TO 4</answer>", [(1, 2)], [(3, 4)]),
        ("12.5 to 17", [(12.5, 17)], []),
        ("<answer>12.5  to 17</answer>", [], []),
        ("<answer>5 - 9</answer>", [], []),
        ("<answer>1 to 2", [(1, 2)], []),
        ("<answer><answer>1 to 2</answer>", [(1, 2)], [(1, 2)]),
    ],
)
def test_time_r1(text, evaluated, rewarded):
    """Evaluation takes the last pair anywhere, the reward the last of the last answer block."""
    assert parsers.time_r1(text) == tuple(evaluated)
    assert parsers.time_r1_reward(text) == tuple(rewarded)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("[[3.0, 5.5], [10, 12]]", [(3, 5.5), (10, 12)]),
        ("```json\n[[5, 3]]\n```", [(3, 5)]),
        ("```\n[[3, 5]]\n```", [(3, 5)]),
        ('The spans are [["3", "5.5"]], I think.', [(3, 5.5)]),
        ('[{"start": 3, "end": 5}]', []),
        ("[3.0, 5.0]", [(3, 5)]),
        ("```\n[3, 5]\n```", [(3, 5)]),
        ("The answer is [3, 5].", []),
        ('["3", "5"]', [(3, 5)]),
        ('[3, "5"]', []),
        ('["3", 5]', [(3, 5)]),
        ('[[3, "5"], [7, 8]]', [(3, 5), (7, 8)]),
        ("[[[3, 5]]]", [(3, 5)]),
        ("[[[3, 5]], [[[7, 8]]]]", [(3, 5), (7, 8)]),
        ("[[3, 5, 0.9], [6, 7, 0.1]]", [(3, 5), (6, 7)]),
        ("[3, 5, 7]", [(3, 5)]),
        ("[[1, 2, 3]] but [[4, 5]]", [(1, 2)]),
        ("[[1, 2], [3]]", [(1, 2)]),
        ('[[1, 2], "x", [null, 4], [5, 6]]', [(1, 2), (5, 6)]),
        ('[[".5", "2"]]', []),
        ('[["+1", "2"]]', []),
        ('[["1e1", " 20.5 "]]', [(10, 20.5)]),
        ('[["00:03", "00:05"]]', []),
        ("<answer>[[3, 5]]</answer>", [(3, 5)]),
        ("[[1, 2]] <answer>[[3, 5]]</answer> [[6, 7]]", [(3, 5)]),
        ("<think>[[1, 2]]</think><answer>[[3, 5]]</answer>", [(3, 5)]),
        ("<answer>[[1, 2]]</answer><thinking>x</thinking>\n<answer>[[3, 5]]</answer>", [(3, 5)]),
        ("<redacted_thinking><answer>[[1, 2]]</answer></redacted_thinking><answer>[[3, 5]]</answer>", [(3, 5)]),
        ("<answer>none</answer> [[3, 5]]", []),
        ("<answer>[[3, 5]]", [(3, 5)]),
        ("```\n[[1, 2]]\n``` then ```JSON\n[[3, 4]]\n```", [(1, 2)]),
        ("[[1, 2]] ```JSON\n[[3, 4]]\n```", [(3, 4)]),
        ("[[3, 5]]] (in seconds)", [(3, 5)]),
        ("[3.0, 5.0], [7.0, 8.0]", []),
        ("[[1, 2]", []),
        ("[]", []),
        ("[[]]", []),
        ("[[true, 2]]", [(1, 2)]),
        ("[[true, 2], [3, 4]]", [(3, 4)]),
        ("[[NaN, 2]]", []),
        ("[[1, 1e999]]", []),
        (f"[[1, {'9' * 400}]]", []),
        (f"[[1, {'9' * 5000}]]", []),
        ("4 - 9", []),
    ],
)
def test_timelens2(text, pairs):
    assert parsers.timelens2(text) == tuple(pairs)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("It starts at 9.\nIt ends at 4.", [(4, 9)]),
        ("The event happens in 12.5s - 18.3s", [(12.5, 18.3)]),
        ("Step 1 - 2 is odd! The event happens in 5 - 3", [(3, 5)]),
        ("no such words: 5 to 3", [(3, 5)]),
        ("start 0:10 end 0:20.5", [(10, 20)]),
        ("A specific example is : 20.8 - 30.0 seconds", []),
    ],
)
def test_lmms_eval_charades(text, pairs):
    assert parsers.lmms_eval_charades(text) == tuple(pairs)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("The event happens in 9.5 - 4 seconds. 1 - 2", [(4, 9.5)]),
        ("It starts at 0.8 seconds\nand ends at 1.1", [(0.8, 1.1)]),
        ("It starts at 0.8 and ends at 1.1", []),
        ("4 to 9", []),
        ("1..2 - 3", []),
        ("4 - 9, 1..2 - 3", []),
    ],
)
def test_timechat(text, pairs):
    """ "1..2" is a number to its pattern and none to Python: the original stops there."""
    assert parsers.timechat(text) == tuple(pairs)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("<think>9</think><answer>1.5-2.5 4-5</answer>", [(1.5, 2.5), (4, 5)]),
        ("<answer>1 to 2</answer>", [(1, 2)]),
        ("1-2", []),
        ("<answer>1-2</answer><answer>3-4</answer>", []),
        ("</answer>1-2<answer>", []),
        ("<answer>1-2 3</answer>", []),
        ("<answer>1-2 4-4</answer>", []),
        ("<answer>1..5-2</answer>", []),
        ("<answer>none</answer>", []),
    ],
)
def test_museg(text, pairs):
    assert parsers.museg(text) == tuple(pairs)


# The patterns take runs possessively and begin numbers at their first digit. As plainly written they read the same.

PLAIN = {
    "_DASH_PAIR": r"(\d+\.?\d*)\s*-\s*(\d+\.?\d*)",
    "_TO_PAIR": r"(\d+\.?\d*)\s+to\s+(\d+\.?\d*)",
    "_STANDALONE": r"\b\d+\.?\d*\b",
    "_CLOCK": r"\b(?:\d{1,2}:\d{2}:\d{2}(?:\.\d+)?|\d{1,2}:\d{2}(?:\.\d+)?)\b",
    "_WORDED_PAIR": r"(\d+\.?\d*) (?:to|and) (\d+\.?\d*)",
    "_CLOCK_RANGE": r"\b(\d{1,2}:\d{2}(?::\d{2})?)\s*[–-]\s*(\d{1,2}:\d{2}(?::\d{2})?)\b",
    "_RANGE": r"(\d+(?:\.\d+)?)\s*[–-]\s*(\d+(?:\.\d+)?)",
    "_RANGE_WITH_UNIT": r"(\d+(?:\.\d+)?)\s*s?\s*[–-]\s*(\d+(?:\.\d+)?)",
    "_NUMBER": r"\b\d+(?:\.\d+)?\b",
    "_DOTTED_PAIR": r"(\d+\.*\d*)\s*-\s*(\d+\.*\d*)",
    "_DOTTED_NUMBER": r"\d+\.*\d*",
}


@settings(max_examples=1500, deadline=None, database=None)
@given(st.lists(st.sampled_from(["1", "23", ".", "-", " ", ":", "s", "to", " to ", "and", "–", "a", "\n", "٣"])))
def test_patterns_read_as_if_plainly_written(pieces):
    text = "".join(pieces)
    for name, plain in PLAIN.items():
        assert getattr(parsers, name).findall(text) == re.findall(plain, text), name


@settings(max_examples=1000, deadline=None, database=None)
@given(st.text() | st.text(alphabet="0123456789.:-– to[]<>/answerthinkd`\n\"'{}eE+,"))
def test_no_text_raises(text):
    for parser in ALL:
        assert all(len(pair) == 2 for pair in parser(text))


HOSTILE = [
    "1", "1.", "1 ", "1-", "-1", ".", " ", "1:", "11:11:", "1 to ", "<answer>", "</think><answer>", "<think>", "[[",
    "[[]]", "]]", "```", "[", "1 to 2 ", "start 1\n", "00:00 - ",
]  # fmt: skip


@pytest.mark.parametrize("parser", ALL, ids=lambda parser: parser.__name__)
def test_long_texts_come_to_an_end(parser):
    """In the square of their length these would take minutes each, and the test would be stopped."""
    for piece in HOSTILE:
        for before, after in (("", ""), ("<think>", "x"), ("<answer>", "</answer>")):
            assert isinstance(parser(before + piece * (100_000 // len(piece)) + after), tuple)


@pytest.mark.parametrize("name", [name for name, preset in TEMPLATES.items() if preset.parser != "ours"])
def test_the_parser_of_a_preset_reads_its_answer_as_ours_does(name):
    preset = TEMPLATES[name]
    assert preset.scorer in (*SCORERS, "ours")
    for span in (Span(2.5, 4.5), Span(0.0, 130.2), Span(61.0, 62.0)):
        text = preset.answer_text(span, [])
        assert parsers.PARSERS[preset.parser](text)[0] == parse_answer(text).spans[0] == span


def test_answers_that_another_project_reads_otherwise():
    texts = {
        "same": "The event happens in 2.0 - 4.5 seconds.",
        "units": "12.5s - 18.3s",
        "reversed": "9.0 - 3.0",
        "several": "1 - 2, 5 - 6",
        "words": "no idea",
        "a year": "in 2024, 3 times",
    }
    ours = {id_: parse_answer(text) for id_, text in texts.items()}
    assert parsers.read_otherwise(texts, ours, "timelens") == ["units"]
    assert parsers.read_otherwise(texts, ours, "lmms_eval_charades") == ["reversed"]
    assert parsers.read_otherwise(texts, ours, "time_r1_reward") == ["same", "units", "several"]


def test_a_thinking_answer_is_read_alike_by_its_own_parser_and_ours():
    text = "<think>At 2.0 to 4.0 a cat, then a dog.</think>" + TEMPLATES["time-r1"].answer_text(Span(12.54, 17.83), [])
    assert parsers.time_r1_reward(text) == parse_answer(text).spans == ((12.54, 17.83),)
