"""What version 2 of the parser reads otherwise than version 1, and what a wider reading must not take for a span."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_opd.grounding import Reason, parse_answer
from video_opd.types import Span

Expected = Reason | list[tuple[float, float]]
hundredths = st.integers(0, 600_000).map(lambda n: n / 100)


def check(text: str, expected: Expected) -> None:
    parsed = parse_answer(text)
    found: Expected = parsed.reason if parsed.reason is not None else [tuple(span) for span in parsed.spans]
    assert found == expected, text


def clock(time_s: float) -> str:
    hundredths = round(time_s * 100)
    return f"{hundredths // 6000:02d}:{hundredths % 6000 / 100:05.2f}"


OTHERWISE: list[tuple[str, Expected]] = [
    # Rows with a score, a row number, a duration
    ("[[5.0, 9.5, 0.93], [20.0, 25.0, 0.5]]", [(5.0, 9.5), (20.0, 25.0)]),
    ('{"pred_relevant_windows": [[5.0, 9.5, 0.93], [20.0, 25.0, 0.5]]}', [(5.0, 9.5), (20.0, 25.0)]),
    ("[[5.0, 9.5, 87], [20.0, 25.0, 50]]", [(5.0, 9.5), (20.0, 25.0)]),
    ("[[1, 5.0, 9.5], [2, 20.0, 25.0]]", [(5.0, 9.5), (20.0, 25.0)]),
    ("[[0.93, 5.0, 9.5], [0.5, 20.0, 25.0]]", [(5.0, 9.5), (20.0, 25.0)]),
    ("[[1, 5, 9, 0.93], [2, 20, 25, 0.4]]", [(5.0, 9.0), (20.0, 25.0)]),
    ("[1, 5.0, 9.5, 0.93]", [(5.0, 9.5)]),
    ("[[1, 5, 9, 4, 0.9], [2, 20, 25, 5, 0.5]]", [(5.0, 9.0), (20.0, 25.0)]),
    ("[(5.0, 9.5, 0.93), (20.0, 25.0, 0.5)]", [(5.0, 9.5), (20.0, 25.0)]),
    ("[[5.0, 9.5, 0.93], [20.0, 25.0]]", [(5.0, 9.5), (20.0, 25.0)]),
    ("5.0 9.5 4.5\n20.0 26.0 6.0", [(5.0, 9.5), (20.0, 26.0)]),
    ("[[10, 400, 390], [500, 620, 120]]", [(10.0, 400.0), (500.0, 620.0)]),
    ("5.0 9.5 0.93\n20.0 25.0 0.5", [(5.0, 9.5), (20.0, 25.0)]),
    ('[1, "00:05", "00:09"]', [(5.0, 9.0)]),
    ("| # | Start | End | Score |\n|---|---|---|---|\n| 1 | 5.0 | 9.5 | 0.93 |", [(5.0, 9.5)]),
    ("| Start | Duration | End |\n|---|---|---|\n| 4.0 | 5.0 | 9.0 |", [(4.0, 9.0)]),
    ("[5, 9, 12]", Reason.UNCLEAR),
    ("[1, 5.0, 9.5]", Reason.UNCLEAR),
    ("4.0, 6.0 and 9.0", Reason.UNCLEAR),
    ("4 - 9 - 12", Reason.UNCLEAR),
    ("1 - 4.0 s - 9.0 s", [(4.0, 9.0)]),
    ('{"scores": [0.5, 0.93], "spans": [[5.0, 9.5], [20.0, 25.0]]}', [(5.0, 9.5), (20.0, 25.0)]),
    # Another number between the labels
    ('{"start": 4.0, "confidence": 0.9, "end": 9.0}', [(4.0, 9.0)]),
    ('{"end": 9.0, "score": 0.5, "start": 4.0}', [(4.0, 9.0)]),
    ('{"id": 3, "start": 4, "score": 0.9, "end": 9}', [(4.0, 9.0)]),
    ('{"start": 4.0, "start_score": 0.9, "end": 9.0, "end_score": 0.8}', [(4.0, 9.0)]),
    ('[{"start": 4, "conf": 0.9, "end": 9}, {"start": 14, "conf": 0.8, "end": 19}]', [(4.0, 9.0), (14.0, 19.0)]),
    ('{"start": 4, "bbox": [10, 20, 30, 40], "end": 9}', [(4.0, 9.0)]),
    ('{"from": 4, "mid": 6, "to": 9}', [(4.0, 9.0)]),
    ("start=4.0, conf=0.9, end=9.0", [(4.0, 9.0)]),
    ("<start>4.0</start><score>0.9</score><end>9.0</end>", [(4.0, 9.0)]),
    ("Start: 4.0 s, Duration: 5.0 s, End: 9.0 s", [(4.0, 9.0)]),
    ("Start: 4.0 s (confidence: 90%), End: 9.0 s (confidence: 80%)", [(4.0, 9.0)]),
    ("start: 4.0 (0.9), end: 9.0 (0.8)", [(4.0, 9.0)]),
    ("It starts at 4.0 s, lasts for 5.0 s and ends at 9.0 s.", [(4.0, 9.0)]),
    ("It starts at 4 s. 3 men walk by. It ends at 9 s.", [(4.0, 9.0)]),
    ("from 4.0 (confidence 0.9) to 9.0", [(4.0, 9.0)]),
    ("from 4.0, with the peak at 6.5, to 9.0", [(4.0, 9.0)]),
    ("4.0 (conf 0.9) - 9.0 (conf 0.8)", [(4.0, 9.0)]),
    ("Start of event 1: 4.0, end of event 1: 9.0", [(4.0, 9.0)]),
    ("The video ends at 30 s. The event starts at 4 s and ends at 9 s.", [(4.0, 9.0)]),
    ("start: 4, start: 5, end: 9", Reason.UNCLEAR),
    ("start: 4, end: 9, end: 12", Reason.UNCLEAR),
    ("end: 9, start: 4, end: 12", Reason.UNCLEAR),
    ('{"starts": [4, 12], "ends": [9, 15]}', Reason.UNCLEAR),
    ("starts when 2 people come in and ends at 9", Reason.ONE_TIME),
    ("starts when 2 dogs come in and ends at 9", Reason.NO_PAIR),
    ("At 5 seconds, 9 people appear.", Reason.ONE_TIME),
    ("At 5 seconds, 9 dogs appear.", Reason.NO_PAIR),
    # Units that are said first
    ('{"start_ms": 4000, "end_ms": 9000}', [(4.0, 9.0)]),
    ("from minute 1 to minute 2", [(60.0, 120.0)]),
    ("Start (min): 1, End (min): 2", [(60.0, 120.0)]),
    ('{"start_frame": 120, "end_frame": 270}', Reason.NOT_SECONDS),
    ('{"start": 4.0, "start_frame": 120, "end": 9.0, "end_frame": 270}', [(4.0, 9.0)]),
    ("frame 120 (4.0) to frame 270 (9.0)", [(4.0, 9.0)]),
    ("4.0 (90%) to 9.0 (85%)", [(4.0, 9.0)]),
    # Decimal commas
    ("von 3,8 bis 9,5 Sekunden", [(3.8, 9.5)]),
    ("von 3,8 bis 9 Sekunden", [(3.8, 9.0)]),
    ("3,8s bis 9,5s", [(3.8, 9.5)]),
    ("3,8 - 9,5", [(3.8, 9.5)]),
    ("[3,8 - 9,5]", [(3.8, 9.5)]),
    ("<3,8> - <9,5>", [(3.8, 9.5)]),
    ("[3,8; 9,5]", [(3.8, 9.5)]),
    ("between 3,8 and 9,5", [(3.8, 9.5)]),
    ("Start: 3,8 s; Ende: 9,5 s", [(3.8, 9.5)]),
    ("de 3,8 à 9,5\u202fsecondes", [(3.8, 9.5)]),
    ("0,500 - 2,250", [(0.5, 2.25)]),
    ("von 3,800 bis 9,500 Sekunden", [(3.8, 9.5)]),
    ("1,200 - 1,500 seconds", Reason.UNCLEAR),  # thousands?
    ("3,5 s, 5,8 s", [(3.5, 5.8)]),
    ("3,8; 9,15", Reason.UNCLEAR),  # two spans?
    ("3,8 seconds", Reason.UNCLEAR),
    ("bei 3,8 Sekunden", Reason.ONE_TIME),
    # Clocks
    ("00:01:02,500 --> 00:01:05,250", [(62.5, 65.25)]),
    ("1\n00:01:02,500 --> 00:01:05,250\nA man.\n\n2\n00:02:00,000 --> 00:02:01,000\n", [(62.5, 65.25), (120, 121)]),
    ("0:05,5 bis 0:09,5", [(5.5, 9.5)]),
    ("1'05\" to 1'30\"", [(65.0, 90.0)]),
    ("1′05″–1′30″", [(65.0, 90.0)]),
    ("1’05.5” to 1’30”", [(65.5, 90.0)]),
    ("1 Min. 5 Sek. bis 1 Min. 30 Sek.", [(65.0, 90.0)]),
    ("1분 5초부터 1분 30초까지", [(65.0, 90.0)]),
    ("1時間2分3秒から1時間3分", [(3723.0, 3780.0)]),
    # Other languages, other digits
    ("5.0초부터 9.5초까지", [(5.0, 9.5)]),
    ("이벤트는 5.0초에 시작하여 9.5초에 끝납니다.", [(5.0, 9.5)]),
    ("시작 시간: 5.0초, 신뢰도: 0.9, 종료 시간: 9.5초", [(5.0, 9.5)]),
    ("5.0秒から9.5秒まで", [(5.0, 9.5)]),
    ("5秒に始まり、9秒に終わる", [(5.0, 9.0)]),
    ("在5秒开始，9秒结束", [(5.0, 9.0)]),
    ("开始：4.0秒，持续时间：5.0秒，结束：9.0秒", [(4.0, 9.0)]),
    ("с 5.0 до 9.5 секунд", [(5.0, 9.5)]),
    ("с 5 с до 9 с", [(5.0, 9.0)]),
    ("Начинается на 5,5 секунде и заканчивается на 9,5 секунде.", [(5.5, 9.5)]),
    ("entre los segundos 5 y 9", [(5.0, 9.0)]),
    ("desde el segundo 5 hasta el 9", [(5.0, 9.0)]),
    ("Comienza en el segundo 5 y termina en el segundo 9.", [(5.0, 9.0)]),
    ("de la seconde 5 à la seconde 9", [(5.0, 9.0)]),
    ("zwischen 5 und 9 Sekunden", [(5.0, 9.0)]),
    ("ab Sekunde 5 bis 9", [(5.0, 9.0)]),
    ("entre os segundos 5 e 9", [(5.0, 9.0)]),
    ("dal secondo 5 al secondo 9", [(5.0, 9.0)]),
    ("van 5 tot 9 seconden", [(5.0, 9.0)]),
    ("od 5 do 9 sekund", [(5.0, 9.0)]),
    ("từ 5 đến 9 giây", [(5.0, 9.0)]),
    ("من الثانية 5 إلى الثانية 9.5", [(5.0, 9.5)]),
    ("［５．０，９．５］", [(5.0, 9.5)]),
    ("٥٫٠ - ٩٫٥", [(5.0, 9.5)]),
    # Names and sentences
    ("T=4.0 to T=9.0", [(4.0, 9.0)]),
    ("t = 4.0s → t = 9.0s", [(4.0, 9.0)]),
    ('{"t1": 4.0, "t2": 9.0}', [(4.0, 9.0)]),
    ("4.0 <= t <= 9.0", [(4.0, 9.0)]),
    ('{"s": 4, "e": 9}', [(4.0, 9.0)]),
    ("Onset: 4.0, offset: 9.0", [(4.0, 9.0)]),
    ("4.0 s start, 9.0 s end", [(4.0, 9.0)]),
    ("At 4.0 the person opens the door and finishes at 9.0", [(4.0, 9.0)]),
    ("It begins at 4.0 when he stands up; it is over by 9.0.", [(4.0, 9.0)]),
]

KEPT: list[tuple[str, Expected]] = [
    ("[3, 5, 10, 12]", [(3.0, 5.0), (10.0, 12.0)]),
    ("[12, 15, 4, 9]", [(12.0, 15.0), (4.0, 9.0)]),
    ("[[9.5, 5.0, 0.93]]", Reason.REVERSED),
    ("[100,200]", [(100.0, 200.0)]),
    ("3,8", [(3.0, 8.0)]),
    ("The event happens in 3,8.", [(3.0, 8.0)]),
    ("[[3,8],[9,15]]", [(3.0, 8.0), (9.0, 15.0)]),
    ("3,8\n9,15", [(3.0, 8.0), (9.0, 15.0)]),
    ("Duration: 4.0 - 9.0 seconds", [(4.0, 9.0)]),
    ('"start_end": [4, 9]', [(4.0, 9.0)]),
    ("The start and end times are 4.0 and 9.0 seconds.", [(4.0, 9.0)]),
    ("from 4 - 9 s, then from 12 until 15 s", [(4.0, 9.0), (12.0, 15.0)]),
    ("start: 1 end: 2 minutes", [(60.0, 120.0)]),
    ("from 4 s until the end of the video (30 s)", [(4.0, 30.0)]),
    ("The man, aged 30 to 40, enters from 4.0 to 9.0 s.", [(4.0, 9.0)]),
    ("2024-05-09: 4 - 9 seconds", [(4.0, 9.0)]),
    ("The score is 3 - 2. The event happens in 4.0 - 9.0 seconds.", [(4.0, 9.0)]),
    ("1,200 people watch from 4.0 to 9.0 s", [(4.0, 9.0)]),
    ('El evento "una mujer de 30 a 40 años" ocurre de 4.0 a 9.0 segundos.', [(4.0, 9.0)]),
    ("Die 2 Personen sind von 4 bis 9 Sekunden zu sehen.", [(4.0, 9.0)]),
    ("3个人在第4秒到第9秒出现", [(4.0, 9.0)]),
    ("start 4.0 duration 5.0", Reason.NO_PAIR),
    ("At 4.0 s the person opens the door. The video ends at 9.0 s.", Reason.NO_PAIR),
    ("At 4.0 s he sits down. It ends at 9.0 s.", Reason.NO_PAIR),
    ("It ends at 4.0 s, no, it ends at 9.0 s.", Reason.NO_PAIR),
    ("2. It ends at 9.0", Reason.NO_PAIR),
    ("score\n4.0, 9.0", [(4.0, 9.0)]),
    ("4.0 (score is 0.9) - 9.0 (score is 0.8)", [(4.0, 9.0)]),
    ("In scenes 1, 2 it happens between 4 and 9", [(4.0, 9.0)]),
    ("Confidence: high\nTime 4.0, 9.0", [(4.0, 9.0)]),
    ("from minute 1 to second 5", Reason.REVERSED),
    ("At 2 places the man walks and it ends at 9 s", Reason.NO_PAIR),
    ("jumps 2 times until 9 s", Reason.ONE_TIME),
    ("jumps 2 fences until 9 s", Reason.NO_PAIR),
    ("Event 1 to event 3", Reason.NO_PAIR),
    ("4秒から9人が入る", Reason.NO_PAIR),
    ("5초에 9명이 등장", Reason.NO_PAIR),
    ("第2步到第3步", Reason.NO_PAIR),
    ("Hay 3 personas y 2 perros.", Reason.NO_PAIR),
    ("5 y 9", Reason.NO_PAIR),
    ("The 6'2\" man", Reason.ONE_TIME),
]


@pytest.mark.parametrize(("text", "expected"), OTHERWISE)
def test_reads_otherwise_than_version_1(text: str, expected: Expected) -> None:
    check(text, expected)


@pytest.mark.parametrize(("text", "expected"), KEPT)
def test_does_not_overreach(text: str, expected: Expected) -> None:
    check(text, expected)


COMMA_FORMATS = [
    "{0} - {1}",
    "{0}s – {1}s",
    "von {0} bis {1} Sekunden",
    "zwischen {0} und {1} Sekunden",
    "de {0} à {1} secondes",
    "entre {0} y {1} segundos",
    "с {0} до {1} секунд",
    "Start: {0} s; Ende: {1} s",
    '{{"start": {0}, "end": {1}}}',
    "[{0} - {1}]",
]


@given(hundredths, hundredths, st.sampled_from(COMMA_FORMATS))
def test_round_trip_with_decimal_commas(a: float, b: float, template: str) -> None:
    start_s, end_s = sorted((a, b))
    text = template.format(*(f"{time:.2f}".replace(".", ",") for time in (start_s, end_s)))
    assert parse_answer(text).spans == (Span(start_s, end_s),), text


@given(hundredths, hundredths)
def test_round_trip_of_subtitles_and_primes(a: float, b: float) -> None:
    start_s, end_s = sorted((a, b))
    subtitles = [f"{int(time // 3600):02d}:{clock(time % 3600)}0".replace(".", ",") for time in (start_s, end_s)]
    primes = [clock(time).replace(":", "'") + '"' for time in (start_s, end_s)]
    for text in (" --> ".join(subtitles), " to ".join(primes), f"[{', '.join(primes)}]"):
        assert parse_answer(text).spans[0] == pytest.approx((start_s, end_s), abs=1e-9)


@given(st.data(), hundredths, hundredths)
def test_other_fields_never_change_the_span(data: st.DataObject, a: float, b: float) -> None:
    start_s, end_s = sorted((a, b))
    names = st.sampled_from(["score", "confidence", "duration", "index", "relevance", "start_score", "x"])
    fields = [(data.draw(names), data.draw(st.floats(0, 100).map(lambda x: round(x, 2)))) for _ in range(3)]
    pairs = [("start", start_s), ("end", end_s)]
    for field in fields:
        pairs.insert(data.draw(st.integers(0, len(pairs))), field)
    as_json = "{" + ", ".join(f'"{name}": {value}' for name, value in pairs) + "}"
    assert parse_answer(as_json).spans == (Span(start_s, end_s),), as_json
    as_text = ", ".join(f"{name}={value}" for name, value in pairs)
    assert parse_answer(as_text).spans == (Span(start_s, end_s),), as_text


@given(st.lists(st.tuples(hundredths, hundredths, st.integers(0, 10_000)), min_size=1, max_size=6))
def test_rows_with_a_score_give_their_pairs(rows: list[tuple[float, float, int]]) -> None:
    triples = [[*sorted((a, b)), score / 10_000] for a, b, score in rows]
    spans = [triple[:2] for triple in triples]
    for text in (json.dumps(triples), json.dumps([{"window": row[:2], "score": row[2]} for row in triples])):
        assert [list(span) for span in parse_answer(text).spans] == spans
