"""A text of a known form is read as it would be read in full."""

import random
import re

import pytest

from video_opd.grounding import parse_answer, parser
from video_opd.grounding.parser_forms import KnownForms, find_form
from video_opd.grounding.parser_words import COUNTED, UNIT_SCALES
from video_opd.types import Span

WORDS = """
the event happens in from to start end starts ends at between and or score duration it is not frame minutes seconds
later of video <answer> </answer> <think> </think> [ ] ( ) { } - : = , ; . / ~ -> " ' % s m min ms h seconds: start:
end: until within lasting in normalized e x ± +- p st <| |> > | # *
"""
TEXTS = (
    "The event happens in 12.5 - 14.0 seconds.",
    "[12.5, 14.0]",
    '{"start": 12.5, "end": 14.0}',
    "from 2 to 9 s",
    "between 2 minutes and 9 minutes",
    "2:09 - 3",
    "step 2 - 9",
    "2,9",
    "seconds: 2, seconds: 9",
    "the score is 2, and 9 people come in",
    "duration 2 then [9]",
)


def draw_text(draw: random.Random) -> str:
    """Two numbers among words of the parser's tables and marks."""
    words = draw.choices((*WORDS.split(), "\n", *UNIT_SCALES, *COUNTED.split(), " "), k=draw.randint(0, 9))
    for _ in range(2):
        words.insert(draw.randint(0, len(words)), draw_digits(draw, draw.choice(("0", "00", "0.0", "00.0", "0.000"))))
    return "".join(word + draw.choice(("", " ")) for word in words)


def draw_digits(draw: random.Random, text: str) -> str:
    """The same text with other digits."""
    return re.sub("[0-9]", lambda _: draw.choice("0123456789"), text)


@pytest.mark.parametrize("seed", range(4))
def test_other_digits_are_read_as_in_full(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr(parser, "_KNOWN_FORMS", KnownForms())
    num_known = 0
    for text in [*TEXTS, *(draw_text(draw) for _ in range(120))]:
        for again in [text, *(draw_digits(draw, text) for _ in range(5))]:
            form = find_form(again)
            num_known += form is not None and parser._KNOWN_FORMS.is_plain(form)
            assert parse_answer(again) == parser._read_in_full(again), again
    assert num_known > 10


def test_a_known_form_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "_KNOWN_FORMS", KnownForms())
    assert parse_answer("It happens in 4.5 - 9.0 seconds.").spans == (Span(4.5, 9.0),)
    monkeypatch.setattr(parser, "_read_in_full", None)
    assert parse_answer("It happens in 3.0 - 7.5 seconds.").spans == (Span(3.0, 7.5),)
    with pytest.raises(TypeError):
        parse_answer("It happens in 3.0 - 17.5 seconds.")  # another form


def test_a_form_says_how_its_times_compare_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "_KNOWN_FORMS", KnownForms())
    assert parse_answer("score: [2.5, 7.9]").spans == (Span(2.5, 7.9),)
    assert parse_answer("score: [0.5, 0.9]").spans == ()  # they may be scores


def test_no_word_of_the_parser_has_a_digit() -> None:
    """Or two texts of one form would have other words."""
    from video_opd.grounding import parser_words

    assert not any(re.search("[0-9]", word) for word in parser_words._COMMON)
