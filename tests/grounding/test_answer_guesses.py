"""Answers that name a span only to somebody who guesses; and what stands close to them and does name one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_opd.grounding import Reason, parse_answer
from video_opd.types import Span

hundredths = st.integers(0, 600_000).map(lambda n: n / 100)

GUESSES: dict[str, list[str]] = {
    "one time or another": [
        "Not sure, maybe 4 or 9.",
        "It is not clear; perhaps 4.0 s or 9.0 s.",
        "between 4 or 5 and 9",
        "from 4 or 5 to 9 seconds",
        "from 4 to 8 or 9 seconds",
        "It could start at 4 or 5 and end at 9.",
        "It starts at 4 s or 5 s and ends at 9 s.",
        "Start: 4.0 or perhaps 5.0; End: 9.0",
        "12秒或13秒开始，19秒结束",
        "4초 또는 9초",
        "4 или 9 секунд",
        "bei 3,8 oder 9,5 Sekunden",
        "4 o 9 segundos",
        "de 12 ou 13 s à 19 s",
    ],
    "a slash": ["4/9", "[12.0/19.0]", "5.0／9.0", "start: 4/5, end: 9", "Start/End: 12.0/19.0", "4.0 s / 9.0 s"],
    "a label with two times": [
        "Start: 4.0 s, 6.0 s, End: 9.0 s",
        "Start: 4.0–5.0 s, End: 9.0 s",
        "start 4-5, end 9-10",
        "Start: 12.0-12.5\nEnd: 19.0-19.5",
        "starts at 12.0, ends at 19.0 - 20.0",
        "start between 4 and 5, end between 9 and 10",
        "It starts between 4.0 and 5.0 seconds and ends at 9.0 seconds.",
        "It starts at 4.0, and it ends somewhere between 9.0 and 10.0",
        '{"start": 4, "end": [9, 12]}',
    ],
}
NO_TIMES: dict[str, list[str]] = {
    "a count": ["from 3 to 5 people", "He jumps 3 to 5 times.", "He is between 30 and 40 years old.", "12 - 19 men"],
    "a length": [
        "start: 4.0, 10.0 seconds long",
        "4.0 s, 5.0 s long",
        "It starts at 4.0 and ends 5 seconds later.",
        "4秒から10秒間続く",
        "4초부터 10초 동안",
        "4초부터 10초간",
        "It takes 7 seconds and ends at 19 s.",
        "Hold for 7 s until 19 s",
        "Beginn: 4 s, Dauer: 10 s",
        "Peak: 15 s, end: 19 s",
    ],
    "a tolerance": ["4.0 ± 5.0", "12.0 s +/- 13.5 s"],
    "a denial": [
        "The event does not happen from 4.0 to 9.0 seconds.",
        "It doesn't appear between 0.0 and 30.0 seconds.",
        "The event never occurs from 12.0 to 19.0.",
    ],
    "the label of something else": [
        "3 dogs start barking. At 19 s they stop.",
        "At 12 s the video starts. At 19 s it ends.",
    ],
}
READ: list[tuple[str, list[tuple[float, float]]]] = [
    # Alternatives of spans, fractions beside spans
    ("Either 4.0 to 9.0 or 20.0 to 25.0.", [(4.0, 9.0), (20.0, 25.0)]),
    ("Start: 00:04 / End: 00:09", [(4.0, 9.0)]),
    ("4.0 - 9.0 s or so", [(4.0, 9.0)]),
    ("Start: 4.0s\nEnd: 9.0s\nConfidence: 8/10", [(4.0, 9.0)]),
    ("Step 1/2: 4.0 - 9.0 s", [(4.0, 9.0)]),
    # Labels with one time each
    ("from 4 - 6 s, and the next scene ends at 9 s", [(4.0, 6.0)]),
    ("Start: 12.0 - End: 19.0 - Duration: 7.0", [(12.0, 19.0)]),
    ("Start: 12.0, End: 19.0 - 7.0 s in total", [(12.0, 19.0)]),
    ("Start: 4.0, 2 people enter, End: 9.0", [(4.0, 9.0)]),
    ("Start: 4.0, step 2 - 3, End: 9.0", [(4.0, 9.0)]),
    # Counts, lengths, tolerances and denials beside a span
    ("3 to 5 people dance from 4 to 9 seconds.", [(4.0, 9.0)]),
    ("From 4.0 to 9.0 people are dancing.", [(4.0, 9.0)]),
    ("The times are 4 and 9.", [(4.0, 9.0)]),
    ("It begins at 12.0 s and, 7 seconds later, ends at 19.0 s.", [(12.0, 19.0)]),
    ("12초부터 19초까지 7초 동안", [(12.0, 19.0)]),
    ("4~9초 동안", [(4.0, 9.0)]),
    ("4.0 ± 0.5 s to 9.0 ± 0.5 s", [(4.0, 9.0)]),
    ("[12.0±0.3, 19.0±0.3]", [(12.0, 19.0)]),
    ("from 12.0 +/- 0.5 to 19.0 +/- 0.5 seconds", [(12.0, 19.0)]),
    ("It does not happen at 3.0 s; it happens from 4.0 to 9.0 s.", [(4.0, 9.0)]),
    ("It does not happen from 1 to 3 but from 4 to 9 s.", [(4.0, 9.0)]),
    ("It does not appear until 4.0 s and ends at 9.0 s.", [(4.0, 9.0)]),
    ("Event: 4.0 s until 9.0 s", [(4.0, 9.0)]),
    # Labels in a clause about the time
    ("At 5.0 seconds the event begins, and at 9.0 seconds it ends.", [(5.0, 9.0)]),
    ("At 00:05, the event starts. At 00:09, it stops.", [(5.0, 9.0)]),
    ("00:05 – Event begins\n00:09 – Event ends", [(5.0, 9.0)]),
    ("* **0:05** – The man starts to run.\n* **0:09** – The man stops.", [(5.0, 9.0)]),
    ("5.0 is when it starts, 9.0 is when it ends", [(5.0, 9.0)]),
    ("At 4.0 seconds, the lady begins to pour. She finishes pouring at 9.0 seconds.", [(4.0, 9.0)]),
    ("5.0秒から始まり、9.0秒で終わります。", [(5.0, 9.0)]),
    ("5초에서 시작해서 9초에 끝난다", [(5.0, 9.0)]),
    # Minutes and seconds that are said first; keys in camel case
    ('{"start": {"minutes": 1, "seconds": 5}, "end": {"minutes": 1, "seconds": 30}}', [(65.0, 90.0)]),
    ("minute 1, second 5 to minute 1, second 30", [(65.0, 90.0)]),
    ('{"startSeconds": 5.0, "confidenceScore": 0.9, "endSeconds": 9.0}', [(5.0, 9.0)]),
    ('{"startMs": 5000, "endMs": 9000}', [(5.0, 9.0)]),
    # Rows of three without brackets of their own
    ("[4.0, 9.0, 0.91, 20.0, 25.0, 0.44]", [(4.0, 9.0), (20.0, 25.0)]),
    # Signs, formulas, frames
    ("t ≈ 4.0 s to t ≈ 9.0 s", [(4.0, 9.0)]),
    ("4.0 ⟶ 9.0 s", [(4.0, 9.0)]),
    ("5.0s(start)-9.0s(end)", [(5.0, 9.0)]),
    ("The answer is $\\boxed{4.0 \\text{ to } 9.0}$.", [(4.0, 9.0)]),
    ("$1.5 \\text{ min} - 2 \\text{ min}$", [(90.0, 120.0)]),
    ("5.0-9.0 s (frames 150-270 at 30 fps)", [(5.0, 9.0)]),
    # Words
    ("It starts at 4.0 seconds and is done at 9.0 seconds.", [(4.0, 9.0)]),
    ("The action kicks off at 4.0 s and wraps up at 9.0 s.", [(4.0, 9.0)]),
    ("It begins at 0:04, continuing to 0:09.", [(4.0, 9.0)]),
    ("4.0秒目から9.0秒目まで", [(4.0, 9.0)]),
    ("5초 지점부터 9초 지점까지", [(5.0, 9.0)]),
    ("Время начала: 00:05, время окончания: 00:09", [(5.0, 9.0)]),
    ("dal minuto 1:05 al minuto 1:30", [(65.0, 90.0)]),
    ("Beginn: 4,0 s, Dauer: 10,0 s, Ende: 14,0 s", [(4.0, 14.0)]),
    ("empieza a los 5 segundos y acaba a los 9 segundos", [(5.0, 9.0)]),
]


@pytest.mark.parametrize("text", [text for texts in GUESSES.values() for text in texts])
def test_a_guess_is_a_reason(text: str) -> None:
    assert parse_answer(text).reason == Reason.UNCLEAR, parse_answer(text)


@pytest.mark.parametrize("text", [text for texts in NO_TIMES.values() for text in texts])
def test_what_is_no_time_makes_no_span(text: str) -> None:
    assert not parse_answer(text).spans


@pytest.mark.parametrize(("text", "expected"), READ)
def test_reads_what_is_clear(text: str, expected: list[tuple[float, float]]) -> None:
    assert [tuple(span) for span in parse_answer(text).spans] == expected, parse_answer(text)


ORS = ["{0} or {1}", "{0} s or maybe {1} s", "{0}/{1}", "{0} или {1} секунд", "{0}秒或{1}秒", "{0} oder {1} Sekunden"]
AROUND = ["{}", "at {}", "start: {}; end: 9000", "from {} to 9000", "[{}]", "start: 0, end: {}"]


@given(hundredths, hundredths, st.sampled_from(ORS), st.sampled_from(AROUND))
def test_alternatives_are_never_a_span(a: float, b: float, alternatives: str, around: str) -> None:
    text = around.format(alternatives.format(a, b))
    assert parse_answer(text).reason == Reason.UNCLEAR, text


@given(hundredths, hundredths, st.floats(0.01, 9).map(lambda x: round(x, 2)), st.sampled_from(["±", "+/-", "+-"]))
def test_a_tolerance_never_changes_the_span(a: float, b: float, tolerance: float, sign: str) -> None:
    start_s, end_s = sorted((a, b))
    one, other = (f"{time} {sign} {tolerance}" for time in (start_s, end_s))
    for text in (f"{one} s - {other} s", f"from {one} to {other}", f"[{one}, {other}]", f"start: {one}, end: {other}"):
        assert parse_answer(text).spans == (Span(start_s, end_s),), text


@given(hundredths, hundredths)
def test_minutes_and_seconds_in_fields_of_their_own(a: float, b: float) -> None:
    start_s, end_s = sorted((a, b))
    fields = {
        label: {"minutes": int(time // 60), "seconds": round(time % 60, 2)}
        for label, time in (("start", start_s), ("end", end_s))
        if round(time % 60, 2) < 60
    }
    assert list(parse_answer(json.dumps(fields)).spans[0]) == pytest.approx([start_s, end_s], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("[9, 4] and [-3, 2]", Reason.REVERSED),  # the reason of the first pair
        ("4.5, 9.5, 1.0", [(4.5, 9.5)]),  # a score of exactly 1 is a score
        ("[12.0, 15.0, 0.2, 1.0]", [(12.0, 15.0)]),
        ("[[0.5, 4.5, 9.5], [1.0, 12.5, 15.5]]", [(4.5, 9.5), (12.5, 15.5)]),
        ("4.0, 9.0, 5.4", Reason.UNCLEAR),  # no duration: it is off by 0.4
        ("[4.0, 109.0, 105.4]", Reason.UNCLEAR),
        ("00:00:04:00 - 00:00:09:12", Reason.NO_NUMBERS),  # a clock has three fields
        ("1 min 59 s - 3 min", [(119.0, 180.0)]),
        ("1 min 60 s - 3 min", Reason.ONE_TIME),
        ("from 1 min 75 s to 2 min 5 s", Reason.ONE_TIME),
        ("[1 min, 75 s]", [(60.0, 75.0)]),
    ],
)
def test_where_rules_end(text, read):
    """Breaks that no other test noticed: each moves one of these borders."""
    parsed = parse_answer(text)
    assert (parsed.reason or [tuple(span) for span in parsed.spans]) == read
