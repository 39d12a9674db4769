"""Times, words of known meaning, and punctuation: what the answer parser is made of.

One regular expression reads them all. It consumes runs possessively, so time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from video_opd.grounding.parser_words import (
    AND,
    COUNTED,
    FIELD,
    FILLER,
    LETTER,
    NEUTRAL,
    SPACELESS_UNITS,
    SPACELESS_WORDS,
    UNIT,
    UNIT_SCALES,
    UNKNOWN,
    detect_languages,
    find_word_role,
)

TIME, COMMA, BULLET, DASH, SEPARATOR, COLON = "time", "comma", "bullet", "dash", "sep", "colon"
OPEN, CLOSE, QUOTE, DECORATION, OTHER = "open", "close", "quote", "decoration", "other"
FRACTION_WORDS = {"fraction", "fractions", "percentage", "percentages", "normalized", "normalised", "proportion"}
_UNITS = UNIT_SCALES | SPACELESS_UNITS


def _join(words: Sequence[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_TOKEN = re.compile(
    rf"""
    (?P<bullet>     ^[ \t]*+[-*•](?=[ \t]) )
  | (?P<time>
        (?P<number>
            [0-9]++'[ ]?[0-9]{{1,2}}(?![0-9])(?:[.,][0-9]++)?+(?:''|")?+                    # 1'05"
          | [0-9]++(?::[0-9]++)++,[0-9]{{3}}(?![0-9]|[.,:][0-9])                            # 00:01:02,500: SRT
          | (?P<comma> (?<![0-9],)(?<![0-9.])[0-9]++(?::[0-9]++)*+,[0-9]++(?![.,:][0-9]) )  # 3,8: one or two
          | [0-9]++(?::[0-9]++)++(?:\.[0-9]++)?+
          | (?:[0-9]++(?:\.(?!\.)[0-9]*+)?+ | (?<![0-9.])\.[0-9]++)(?:e[-+]?[0-9]++)?+ )
        (?: [ \t]?-?(?P<unit> (?:{_join([*UNIT_SCALES])})(?!{LETTER}|_) | {_join([*SPACELESS_UNITS])} ) )?+
        (?P<tail> (?<!\.)(?!to[0-9])(?:{LETTER}|_)(?:{LETTER}|[0-9_])*+     # 2nd, 720p, 3x: no time. But 5to9
          | (?<=[0-9])(?<![.:][0-9])(?<![.:][0-9]{{2}})[ ]                # 3 people
            (?:{_join(COUNTED.split())})(?!{LETTER}|_) )?+ )
  | (?P<end>        (?:is|was|'s)[ ](?:all[ ])?+(?:over|done|complete)[ ](?:by|at)\b | wrap(?:s|ped|ping)[ ]up\b )
  | (?P<filler>     (?:(?<![^\W_])t[ ]?)?+≈ | (?<![^\W_])t_?[0-9]?["']?[ ]?[:=] )             # t = 4.0, "t1": 4.0
  | (?P<word>       to(?=[0-9]) | (?:{LETTER}|_)(?:{LETTER}|[0-9_])*+(?:\.[0-9]++)*+ | {_join(SPACELESS_WORDS)} )
  | (?P<link>       -++> | => | ~++ | \.\.++ | (?:<=?|≤)[ ]?t[ ]?(?:<=?|≤) )
  | (?P<field>      ± | \+/?- )
  | (?P<or>         / )
  | (?P<dash>       -++ )
  | (?P<sep>        [,;&] )
  | (?P<colon>      [:=] )
  | (?P<open>       [\[({{<] )
  | (?P<close>      [\])}}>] )
  | (?P<quote>      ["'] )
  | (?P<decoration> [*`$#|\\] )
  | (?P<other>      \S )
    """,
    re.VERBOSE | re.MULTILINE,
)
_VALUE_FOLLOWS = re.compile(r"""["']?[ ]?[:=]""")


@dataclass(slots=True)
class ParserToken:
    """A time, a word or a mark of an answer, and what part it plays."""

    role: str
    text: str
    start: int
    end: int
    seconds: float = 0.0
    scale: float | None = None
    """Of a time: seconds per unit; None for a bare number. Of a word: the unit it gives to the number behind it."""
    quoted: bool = False
    """Inside a quotation of words of no known meaning: most likely the query, said again."""
    unit: str = ""
    """Of a time: its unit as it is written."""
    gives_unit: bool = False
    """Of a time: the unit was said before it and holds for its partner too, `minutes 1 - 2`."""
    on_new_line: bool = False
    """A line break stands before it."""

    @property
    def is_bare(self) -> bool:
        """Whether it is a number without a unit."""
        return self.scale is None


def read_time(number: str, unit: str | None, start: int, end: int) -> ParserToken:
    """Read a number, with or without a unit, as a time.

    Args:
        number: as it is written: `4.5`, `1:05`.
        unit: as it is written; None: a bare number or a clock.
        start: where it begins in the text.
        end: where it ends in the text, unit included.

    Returns:
        A token; of no known meaning where the number looks like a clock and is none: `1:75`, `1'75"`.
    """
    token = ParserToken(TIME, number + (unit or ""), start, end, unit=unit or "")
    fields = re.split("[:']", number.rstrip("\"'").replace(",", "."))
    if len(fields) > 1:
        lower = [field.strip() for field in fields[1:]]
        if len(fields) > 3 or any(len(field.partition(".")[0]) > 2 or float(field) >= 60 for field in lower):
            token.role = UNKNOWN
            return token
        token.scale = 1.0  # "0:12 minutes" and "0:12 s" are the same clock
        for field in fields:
            token.seconds = 60 * token.seconds + float(field)
    else:
        token.scale = _UNITS[unit] if unit else None
        token.seconds = float(fields[0]) * (token.scale or 1.0)
    return token


def tokenize(text: str) -> tuple[list[ParserToken], bool]:
    """Split an answer's lower-cased text into tokens; what numbers with a comma (role `COMMA`) mean is left open.

    Returns:
        The tokens, and whether the words are of a language that writes 3,8 for 3.8.
    """
    tokens: list[ParserToken] = []
    end = 0
    for match in _TOKEN.finditer(text):
        token = ParserToken(match.lastgroup or OTHER, match[0], match.start(), match.end())
        if token.role == TIME:
            token = _read_number(match)
        token.on_new_line = "\n" in text[end : token.start]
        end = token.end
        tokens.append(token)
    return tokens, _give_words_roles(tokens, text)


def _read_number(match: re.Match[str]) -> ParserToken:
    if match["tail"]:
        return ParserToken(UNKNOWN, match[0], match.start(), match.end())
    if match["comma"]:
        return ParserToken(COMMA, match["number"], match.start(), match.end(), unit=match["unit"] or "")
    return read_time(match["number"], match["unit"], match.start(), match.end())


def _give_words_roles(tokens: list[ParserToken], text: str) -> bool:
    words = {token.text for token in tokens if token.role == "word"}
    words |= {token.unit for token in tokens if token.unit}
    languages = detect_languages(words, _find_words_around_times(tokens))
    for token in tokens:
        if token.role == "word":
            names_value = bool(_VALUE_FOLLOWS.match(text, token.end))
            token.role, token.scale = find_word_role(token.text, languages, names_value=names_value)
        elif token.role == OTHER and token.text.isalpha():
            token.role = UNKNOWN  # a letter of a script without blanks
        elif token.text == "%":
            token.role, token.scale = UNIT, UNIT_SCALES["%"]
    return bool({*languages} - {"audio"}) or any("\u0400" <= word[0] <= "\u04ff" for word in words)


def _find_words_around_times(tokens: Sequence[ParserToken]) -> Iterator[tuple[str, str]]:
    """Of neighbouring times, the word right before the first, and each of the one or two words between them."""
    before, previous, between = "", "", list[str]()
    for token in tokens:
        if token.role in (TIME, COMMA):
            if before and len(between) <= 2:
                yield from ((before, word) for word in between)
            before, between = previous, []
        elif token.role == "word" and len(between) < 3:
            between.append(token.text)
        previous = token.text if token.role == "word" else ""


def finish_tokens(tokens: list[ParserToken], text: str) -> list[ParserToken]:
    """Attach signs, join minutes and seconds, give numbers the units said before them, and mark quotations."""
    tokens = _attach_signs(_add_seconds_to_minutes(tokens))
    _give_units_before(tokens)
    _mark_quotations(tokens, text)
    return tokens


def _add_seconds_to_minutes(tokens: list[ParserToken]) -> list[ParserToken]:
    """`1 min 5 s`, `1m05`, `1 hour and 2 minutes`: one time each; `1 min 75 s`: none."""
    joined: list[ParserToken] = []
    for token in tokens:
        lies_between = bool(joined) and (joined[-1].role == AND or joined[-1].text in (",", "."))
        upper = joined[-2] if lies_between and len(joined) > 1 else joined[-1] if joined else None
        if token.role == TIME and upper and upper.role == TIME and (upper.scale or 0) > 1:
            bare_seconds = token.scale is None and upper.scale == 60 and not lies_between
            lower_unit = bool(token.scale) and (token.scale or 0) < (upper.scale or 0)
            if (bare_seconds or lower_unit) and token.seconds < (upper.scale or 0):
                upper.seconds += token.seconds
                upper.scale, upper.end = token.scale or 1.0, token.end
                del joined[len(joined) - lies_between :]
                continue
            if lower_unit and not lies_between:
                upper.role = token.role = UNKNOWN  # `1 min 75 s`, as `1:75`, is no time
        joined.append(token)
    return joined


def _attach_signs(tokens: list[ParserToken]) -> list[ParserToken]:
    """Tell the minus of `-3.0` from the dash of `4.0 -9.0` and the hyphen of `step-3`."""
    kept: list[ParserToken] = []
    for token in tokens:
        if token.role == TIME and kept and kept[-1].text == "-" and kept[-1].role == DASH:
            dash = kept[-1]
            before = len(kept) - 2
            glued_to = kept[before] if before >= 0 and kept[before].end == dash.start else None
            while before >= 0 and kept[before].role in (CLOSE, QUOTE, DECORATION):
                before -= 1
            closed = glued_to is not None and glued_to.role == CLOSE
            if dash.end != token.start or closed or (before >= 0 and kept[before].role == TIME):
                pass  # a dash between two times, `(start)-9.0`, or one that stands apart
            elif glued_to and glued_to.text[-1].isalnum():
                token.role = UNKNOWN if glued_to.role in (UNKNOWN, FIELD) else TIME
            else:
                token.seconds = -token.seconds
                kept.pop()
        kept.append(token)
    return kept


def _give_units_before(tokens: Sequence[ParserToken]) -> None:
    """`minute 1`, `Start (min): 1`, `"start_ms": 4000`, `frame 12`: the unit that is said right before a bare number.

    Not the unit behind a bracket or another number: `[1, 2] minutes: 3`.
    """
    unit: float | None = None
    upper: ParserToken | None = None
    behind_time = False
    for token in tokens:
        if token.role == TIME:
            if token.is_bare and unit is not None:
                token.scale, token.seconds, token.gives_unit = unit, token.seconds * (unit or 1.0), True
            if upper and token.gives_unit and token.scale and token.seconds < (upper.scale or 0):
                upper.seconds += token.seconds  # "minutes": 1, "seconds": 5
                token.role = NEUTRAL
            else:
                upper = token if token.gives_unit else None
            unit, behind_time = None, True
        elif token.role not in (QUOTE, DECORATION, COLON, CLOSE, FILLER):
            unit = None if behind_time and token.role == UNIT else token.scale
            behind_time = False
        elif token.role == CLOSE and unit is None:
            behind_time = True
        if upper and token.role not in (TIME, UNIT, NEUTRAL, QUOTE, DECORATION, COLON, SEPARATOR, AND):
            upper = None


def _mark_quotations(tokens: Sequence[ParserToken], text: str) -> None:
    """Mark what stands inside quotation marks together with a word of no known meaning.

    The other quotations are JSON keys and values (`"start": "00:03"`) or quoted times. A mark opens after anything but
    a letter or digit, so the apostrophe of "person's" does not.
    """
    opened: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if token.role != QUOTE:
            continue
        if token.text in opened:
            if token.text == "'" and text[token.end : token.end + 1].isalnum():
                continue
            inside = tokens[opened.pop(token.text) + 1 : index]
            if any(other.role in (UNKNOWN, FIELD) for other in inside):
                for other in inside:
                    other.quoted = True
        elif not text[max(token.start - 1, 0) : token.start].isalnum():
            opened[token.text] = index
