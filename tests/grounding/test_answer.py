import json
import math
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from video_opd.grounding import ParsedAnswer, Reason, parse_answer
from video_opd.types import Span

Expected = Reason | list[tuple[float, float]]


def check(text: str, expected: Expected) -> None:
    parsed = parse_answer(text)
    found: Expected = parsed.reason if parsed.reason is not None else [tuple(span) for span in parsed.spans]
    assert found == expected, text


CASES: list[tuple[str, Expected]] = [
    # The sentence TimeLens trains, and its dialects
    ("The event happens in 4.0 - 9.0 seconds.", [(4.0, 9.0)]),
    ("the event happens in the 24.3 - 30.4 seconds", [(24.3, 30.4)]),
    ("The event happens in 4 - 9", [(4.0, 9.0)]),
    ("4.0-9.0", [(4.0, 9.0)]),
    ("The event happens in 4.0 -9.0 seconds.", [(4.0, 9.0)]),
    ("The event happens in 4.0- 9.0 seconds.", [(4.0, 9.0)]),
    ("4.0s - 9.0s", [(4.0, 9.0)]),
    ("4.0 s – 9.0 s", [(4.0, 9.0)]),
    ("4.0 sec — 9.0 sec.", [(4.0, 9.0)]),
    ("4.0 seconds - 9.0 seconds", [(4.0, 9.0)]),
    ("4.0 − 9.0 seconds", [(4.0, 9.0)]),  # U+2212
    ("4.0 ~ 9.0", [(4.0, 9.0)]),
    ("4.0 -> 9.0", [(4.0, 9.0)]),
    ("4.0 --> 9.0", [(4.0, 9.0)]),
    ("4 … 9 s", [(4.0, 9.0)]),
    ("4..9", [(4.0, 9.0)]),
    (".5 - 2 seconds", [(0.5, 2.0)]),
    ("5. - 9. seconds", [(5.0, 9.0)]),
    ("1e1 - 2e1", [(10.0, 20.0)]),
    ("<12.5> - <18.3>", [(12.5, 18.3)]),
    ("in <4.0 seconds> - <9.0 seconds>", [(4.0, 9.0)]),
    ("**4.0** - **9.0** seconds", [(4.0, 9.0)]),
    ("\\boxed{4.0 - 9.0}", [(4.0, 9.0)]),
    ("'The event happens in 4.0 - 9.0 seconds'", [(4.0, 9.0)]),
    ("THE EVENT HAPPENS IN 4.0 - 9.0 SECONDS.", [(4.0, 9.0)]),
    # Words between
    ("4 to 9", [(4.0, 9.0)]),
    ("4to9", [(4.0, 9.0)]),
    ("4-to-9 seconds", [(4.0, 9.0)]),
    ("from 4 until 9 seconds", [(4.0, 9.0)]),
    ("From 4.0 s through 9.0 s", [(4.0, 9.0)]),
    ("between 4 and 9 seconds", [(4.0, 9.0)]),
    ("Between about 4 and roughly 9", [(4.0, 9.0)]),
    ("The event starts at 5 seconds and ends at 9 seconds.", [(5.0, 9.0)]),
    ("It begins at 5s, the man sits down, and it finishes at 9s.", [(5.0, 9.0)]),
    ("from the 5-second mark to the 9-second mark", [(5.0, 9.0)]),
    ("start: 3.0, end: 5.0", [(3.0, 5.0)]),
    ("Start time: 3.0 seconds\nEnd time: 5.0 seconds", [(3.0, 5.0)]),
    ("**Start:** 3.0\n**End:** 5.0", [(3.0, 5.0)]),
    ("end: 5.0, start: 3.0", [(3.0, 5.0)]),
    ("<start>3.0</start><end>5.0</end>", [(3.0, 5.0)]),
    ("12.5秒到18.3秒", [(12.5, 18.3)]),
    ("从 12.5 秒 至 18.3 秒", [(12.5, 18.3)]),
    # Clocks and minutes
    ("00:12 - 00:18", [(12.0, 18.0)]),
    ("1:02 to 1:10.5", [(62.0, 70.5)]),
    ("100:30 - 101:00", [(6030.0, 6060.0)]),
    ("0:01:02.5 - 1:00:00", [(62.5, 3600.0)]),
    ("00：12～00：18", [(12.0, 18.0)]),
    ("1 min 5 s - 1m09s", [(65.0, 69.0)]),
    ("1m05 to 1m09", [(65.0, 69.0)]),
    ("1 minute and 5 seconds to 2 minutes", [(65.0, 120.0)]),
    ("0 - 1 min 5 s", [(0.0, 65.0)]),
    ("1 - 2 minutes", [(60.0, 120.0)]),
    ("[1, 2] minutes", [(60.0, 120.0)]),
    ("1h 0m 5s to 1h 1m", [(3605.0, 3660.0)]),
    ("500 ms - 2 s", [(0.5, 2.0)]),
    ("1:75 - 2:90", Reason.NO_NUMBERS),  # no clock reads so
    # JSON and other lists
    ("[[3.0, 5.5], [10, 12]]", [(3.0, 5.5), (10.0, 12.0)]),
    ("[3.0, 5.5]", [(3.0, 5.5)]),
    ("[[3.0, 5.5]]]", [(3.0, 5.5)]),  # TimeLens2's prompt asks for this
    ('[["3.0", "5.5"]]', [(3.0, 5.5)]),
    ("[3, 5, 10, 12]", [(3.0, 5.0), (10.0, 12.0)]),
    ('{"start": 3, "end": 5.5}', [(3.0, 5.5)]),
    ("{'end': '5.5', 'start': '3'}", [(3.0, 5.5)]),
    ('```json\n[{"start_time": "00:03.00", "end_time": "00:05.50"}]\n```', [(3.0, 5.5)]),
    ('[{"start": 1, "end": 2, "score": 0.9}, {"start": 4, "end": 5, "score": 0.4}]', [(1.0, 2.0), (4.0, 5.0)]),
    ('{"event": "step 2 - 3", "start": 4, "end": 9}', [(4.0, 9.0)]),
    ('{"timestamps": ["00:03", "00:05"]}', [(3.0, 5.0)]),
    ("| Start | End |\n|---|---|\n| 4.0 | 9.0 |", [(4.0, 9.0)]),
    ("(4.0, 9.0)", [(4.0, 9.0)]),
    ("4.0, 9.0", [(4.0, 9.0)]),
    ("4.0 9.0", [(4.0, 9.0)]),
    ("<answer>12.54 and 17.83</answer>", [(12.54, 17.83)]),
    # Several spans
    ("4.0 - 9.0 seconds, 12.0 - 15.0 seconds.", [(4.0, 9.0), (12.0, 15.0)]),
    ("4.0 - 9.0, 12.0 - 15.0 and 20 - 25 seconds", [(4.0, 9.0), (12.0, 15.0), (20.0, 25.0)]),
    ("First from 3 - 5, then again at 10 - 12 seconds.", [(3.0, 5.0), (10.0, 12.0)]),
    ("12 - 15 and 4 - 9", [(12.0, 15.0), (4.0, 9.0)]),  # the order is the model's
    ("- 4.0 - 9.0 s\n- 12 - 13 s", [(4.0, 9.0), (12.0, 13.0)]),
    ("1. 4.0 - 9.0 seconds\n2. 12.0 - 15.0 seconds", [(4.0, 9.0), (12.0, 15.0)]),
    ("9 - 4, 10 - 12", [(10.0, 12.0)]),  # an invalid pair among valid ones
    # What does not count
    ("<|im_start|>4.0 - 9.0<|im_end|>", [(4.0, 9.0)]),
    ("<think>At 2.0 to 4.0 something.</think><answer>12.54 to 17.83</answer>", [(12.54, 17.83)]),
    ("<think>2 - 4</think> 12.54 to 17.83", [(12.54, 17.83)]),
    ("2 - 4</think>12.54 to 17.83", [(12.54, 17.83)]),  # the template opened the thinking
    ("<answer>1 - 2</answer> no, <answer>3 - 4</answer> 5 - 6", [(3.0, 4.0)]),
    ("<answer>3 - 4", [(3.0, 4.0)]),
    ("The 2 people appear. The event happens in 4 - 9 seconds.", [(4.0, 9.0)]),
    ('The event "step 2 - 3" happens in 4.0 - 9.0 seconds.', [(4.0, 9.0)]),
    ("The event 'the person's step 2 to 3' happens in 4 - 9.", [(4.0, 9.0)]),
    ("The event “step 2 - 3” happens in 4 - 9.", [(4.0, 9.0)]),
    ('The event "he waits for 2 - 3 seconds" happens in 4 - 9 seconds.', [(4.0, 9.0)]),
    ("The event step 2 - 3 happens in 4 - 9.", [(4.0, 9.0)]),
    ("step-3 happens in 4 - 9", [(4.0, 9.0)]),
    ("In scenes 1, 2 the event happens from 4 to 9 s", [(4.0, 9.0)]),
    ("In the 30-second video it happens from 4 to 9 seconds, i.e. for 5 s.", [(4.0, 9.0)]),
    ("The 3rd lap in video_12.mp4 (720p): 4 - 9", [(4.0, 9.0)]),
    ("It happens in 4.0 - 9.0 (25% - 30% of the video).", [(4.0, 9.0)]),
    # No span
    ("", Reason.EMPTY),
    (" \n", Reason.EMPTY),
    ("<|im_end|>", Reason.EMPTY),
    ("[]", Reason.EMPTY),
    ("<answer></answer>", Reason.EMPTY),
    ("<think>It could be 3 - 4 or", Reason.EMPTY),  # cut off while thinking
    ("I see a man.", Reason.NO_NUMBERS),
    ("nan - inf", Reason.NO_NUMBERS),
    ("The event does not happen in the video.", Reason.ABSENT),
    ("It doesn't happen in this 30 s video.", Reason.ABSENT),
    ('{"start": null, "end": null}', Reason.ABSENT),
    ("start: 5", Reason.ONE_TIME),
    ("At 5 seconds.", Reason.ONE_TIME),
    ("It starts at 5 seconds and lasts for 4 seconds.", Reason.NO_PAIR),  # read, not computed
    ("2 dogs and 3 cats", Reason.NO_PAIR),
    ("25% - 75%", Reason.NOT_SECONDS),
    ("25 - 75 percent", Reason.NOT_SECONDS),
    ("0.25 - 0.75 (fraction)", Reason.NOT_SECONDS),
    ("normalized: [0.25, 0.75]", Reason.NOT_SECONDS),
    ("frames 12 to 18", Reason.NOT_SECONDS),
    ("-3.0 - 5.0 seconds", Reason.NEGATIVE),
    ("from -3 to 5", Reason.NEGATIVE),
    ("[-3, 5]", Reason.NEGATIVE),
    ("-5 - -3", Reason.NEGATIVE),
    ("18.0 - 12.0", Reason.REVERSED),
    ('The event "step 2 - 3" happens in 18.0 - 12.0 seconds.', Reason.REVERSED),
    ("1e400 - 2e400", Reason.NOT_FINITE),
    # Points
    ("5.0 - 5.0 seconds", [(5.0, 5.0)]),
    ("-0 - 0", [(0.0, 0.0)]),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_reads(text: str, expected: Expected) -> None:
    check(text, expected)


GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "golden" / "parser_cases.json"
OURS_FOR_GOLDEN: dict[str, Expected] = {
    "The event happens in 0.0 - 5.0 seconds.": [(0.0, 5.0)],
    "The event happens in 12 - 18 seconds": [(12.0, 18.0)],
    "The event happens in 12.5s - 18.3s.": [(12.5, 18.3)],
    "The event happens in 12.5–18.3 seconds.": [(12.5, 18.3)],
    "The event happens in 00:12 - 00:18.": [(12.0, 18.0)],
    "1:02 - 1:10.5": [(62.0, 70.5)],
    "The event starts at 5 seconds and ends at 9 seconds.": [(5.0, 9.0)],
    "start: 5": Reason.ONE_TIME,
    "The event does not happen in the video.": Reason.ABSENT,
    "18.0 - 12.0 seconds": Reason.REVERSED,
    "-3.0 - 5.0 seconds": Reason.NEGATIVE,
    "[[3.0, 5.5], [10, 12]]": [(3.0, 5.5), (10.0, 12.0)],
    '```json\n[{"start_time": "00:03.00", "end_time": "00:05.50"}]\n```': [(3.0, 5.5)],
    "<think>At 2.0 to 4.0 something.</think><answer>12.54 to 17.83</answer>": [(12.54, 17.83)],
    "<answer>12.54 to 17.83</answer>": [(12.54, 17.83)],
    "<answer>12.54 and 17.83</answer>": [(12.54, 17.83)],
    "<answer>1:02 to 1:10</answer>": [(62.0, 70.0)],
    "The 2 people appear. The event happens in 4 - 9 seconds.": [(4.0, 9.0)],
    "The event happens in 4.0 -9.0 seconds.": [(4.0, 9.0)],
    "The event happens in .5 - 2 seconds.": [(0.5, 2.0)],
    "the event happens in 0.25 - 0.75 (fraction)": Reason.NOT_SECONDS,
    "<|im_start|>The event happens in 7.0 - 9.0 seconds.<|im_end|>": [(7.0, 9.0)],
}


@pytest.mark.skipif(not GOLDEN.exists(), reason="the field's parser cases are not here")
def test_every_string_the_fields_parsers_were_run_on() -> None:
    texts = {case["text"] for case in json.loads(GOLDEN.read_text())}
    assert texts == set(OURS_FOR_GOLDEN)  # a new case needs an expectation of ours
    for text in texts:
        check(text, OURS_FOR_GOLDEN[text])


# Text made of the pieces the parser knows, in any order, besides text of any kind.
WORDS = "1e e9 to to5 and start end from between min s 秒 frames fraction not step 12.5 00:12 <|im_end|>"
WORDS += " 1,5 1'05\" t= 5초 부터 から с до de a à segundos bis und score or / ± long people ≈ \\text{ s}"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
pieces = st.sampled_from([*"0159.:,-–~[](){}<>\"'*|%=\n ", *WORDS.split(), *TAGS])
texts = st.one_of(st.text(), st.lists(pieces, max_size=40).map("".join))


@given(texts)
@example("-0 - -0.0")
@example("\ud800 1 - 2")
@example("İ" * 10 + "1 - 2")
@example("1" * 400 + " - " + "1" * 400)
@example("1e999999999999999999999 min 3")
def test_never_raises_and_spans_are_spans(text: str) -> None:
    parsed = parse_answer(text)
    assert (parsed.reason is None) == bool(parsed.spans)
    for start_s, end_s in parsed.spans:
        assert math.isfinite(start_s)
        assert math.isfinite(end_s)
        assert 0 <= start_s <= end_s
        assert math.copysign(1, start_s) == 1  # "-0.0" would be printed back to the user


def clock(time_s: float) -> str:
    hundredths = round(time_s * 100)
    return f"{hundredths // 6000:02d}:{hundredths % 6000 / 100:05.2f}"


FORMATS = [
    "The event happens in {0:.2f} - {1:.2f} seconds.",
    "{0:.2f}s – {1:.2f}s",
    "{0:.2f} to {1:.2f}",
    "from {0:.2f} until {1:.2f}",
    "between {0:.2f} and {1:.2f}",
    "[[{0:.2f}, {1:.2f}]]",
    '{{"start": {0:.2f}, "end": "{1:.2f}"}}',
    "<answer>{0:.2f} and {1:.2f}</answer>",
    "It starts at {0:.2f} seconds and ends at {1:.2f} seconds.",
    "{2} - {3}",
    '```json\n[{{"start_time": "{2}", "end_time": "{3}"}}]\n```',
    "T={0:.2f} to T={1:.2f}",
    "At {0:.2f} the man sits down and finishes at {1:.2f}",
    "{0:.2f}초부터 {1:.2f}초까지",
    "{0:.2f}秒から{1:.2f}秒まで",
    "从第{0:.2f}秒到第{1:.2f}秒",
    "с {0:.2f} до {1:.2f} секунд",
    "entre los segundos {0:.2f} y {1:.2f}",
    "de {0:.2f} à {1:.2f} secondes",
    "zwischen {0:.2f} und {1:.2f} Sekunden",
    "da {0:.2f} a {1:.2f} secondi",
]
hundredths = st.integers(0, 600_000).map(lambda n: n / 100)


@given(hundredths, hundredths, st.sampled_from(FORMATS))
def test_round_trip(a: float, b: float, template: str) -> None:
    start_s, end_s = sorted((a, b))
    parsed = parse_answer(template.format(start_s, end_s, clock(start_s), clock(end_s)))
    assert len(parsed.spans) == 1
    assert parsed.spans[0] == pytest.approx((start_s, end_s), abs=1e-9)


@given(st.lists(st.tuples(hundredths, hundredths).map(sorted), min_size=1, max_size=6))
def test_several_spans_keep_their_order(pairs: list[list[float]]) -> None:
    sentence = ", ".join(f"{start_s:.2f} - {end_s:.2f} seconds" for start_s, end_s in pairs)
    assert [list(span) for span in parse_answer(f"The event happens in {sentence}.").spans] == pairs
    assert [list(span) for span in parse_answer(json.dumps(pairs)).spans] == pairs


RUNS = [(unit, 400_000) for unit in ("1", "-", "~", ".", " ", "\n", "1:", "00", "e", "_", "1e")]
RUNS += [(unit, 200_000) for unit in ("=", "/", "±", "≈", "t ", "\\text{", "not appear ", "１", "é", "с", "</")]
RUNS += [(unit, 100_000) for unit in ("1'", "1\u202f", "1,", "초")]


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("unit", "length"), [*RUNS, (":", 100_000), ("<|", 100_000)])
def test_a_long_run_is_scanned_once(unit: str, length: int) -> None:
    """Every alternative of the token pattern consumes the run it scanned; scanning it again from the next character on
    would take minutes here."""
    parse_answer(unit * (length // len(unit)))


class LineCounter:
    """Counts executed lines of the package: work, measured without a clock."""

    def __init__(self) -> None:
        self.lines = 0

    def __call__(self, frame: object, event: str, argument: object) -> "LineCounter":
        self.lines += event == "line"
        return self


UNITS = ["1-", ".5", '"1', "a'", "[", "*-1", "x-1", "1 min ", "1, ", "start 1 end 2 ", "'a 1 ", "1 - 2\n", "- 1", "1)'"]
UNITS += [
    "1,1 ",
    "1,1",
    "1'05\"",
    "score ",
    "score: 1 ",
    "end ",
    "end of the video ",
    "[1, 1, 1], ",
    "1 1 1\n",
    "初",
    "%",
    "1 or ",
    "1/",
    "±1 ",
    "1 s long ",
    "it starts. 1 ",
    "not happen 1 ",
    "minute 1 second 1 ",
    "\\text{",
]
UNITS += ["start 1 ", "end 1 ", "start 1 x 2 ", "1 end ", "5초부터 ", "с 1 ", "de 1 a ", "t=", "1%, ", "%"]


@pytest.mark.parametrize("unit", UNITS)
def test_work_grows_no_faster_than_the_text(unit: str) -> None:
    def work(repeats: int) -> int:
        counter, previous = LineCounter(), sys.gettrace()
        sys.settrace(counter)
        try:
            parse_answer(unit * repeats)
        finally:
            sys.settrace(previous)
        return counter.lines

    assert work(800) < 2.2 * work(400)


def test_spans_or_a_reason_never_both_never_neither() -> None:
    with pytest.raises(ValueError, match="spans or a reason"):
        ParsedAnswer()
    with pytest.raises(ValueError, match="spans or a reason"):
        ParsedAnswer((Span(1, 2),), Reason.EMPTY)
