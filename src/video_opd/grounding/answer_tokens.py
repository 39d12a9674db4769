"""Times, words of known meaning, and punctuation: what the answer parser is made of.

One regular expression reads them all. It consumes runs possessively, so time is linear in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TIME, UNKNOWN, BULLET, LINK, DASH, SEPARATOR, COLON = "time", "unknown", "bullet", "link", "dash", "sep", "colon"
OPEN, CLOSE, QUOTE, DECORATION, OTHER = "open", "close", "quote", "decoration", "other"
START, END, CUE, BETWEEN, AND, FILLER, UNIT = "start", "end", "cue", "between", "and", "filler", "unit"

FOREIGN = 0.0
"""The scale of units that are no time: a share of the video, a frame number."""
UNIT_SCALES: dict[str, float] = {
    unit: scale
    for scale, units in {
        1.0: "s sec secs second seconds 秒 秒钟",
        60.0: "m min mins minute minutes 分 分钟",
        3600.0: "h hr hrs hour hours 小时",
        0.001: "ms msec msecs millisecond milliseconds",
        FOREIGN: "% percent frame frames",
    }.items()
    for unit in units.split()
}
FRACTION_WORDS = {"fraction", "fractions", "percentage", "percentages", "normalized", "normalised", "proportion"}
_WORD_ROLES: dict[str, str] = {
    word: role
    for role, words in {
        UNIT: " ".join(UNIT_SCALES),
        LINK: "to through thru 到 至",
        START: "from since start starts started starting starttime begin begins began beginning 从",
        END: "until till end ends ended ending endtime finish finishes finished stop stops stopped",
        CUE: "in at during is within happens happen occurs answer span",
        BETWEEN: "between",
        AND: "and or then again also 和",
        FILLER: "the a about around approximately approx roughly mark time timestamp it on next up all way continues",
    }.items()
    for word in words.split()
}

_TOKEN = re.compile(
    rf"""
    (?P<bullet>     ^[ \t]*+[-*•](?=[ \t]) )
  | (?P<time>
        (?: (?P<clock>  [0-9]++(?::[0-9]++)++(?:\.[0-9]++)?+ )
          | (?P<number> (?:[0-9]++(?:\.(?!\.)[0-9]*+)?+ | (?<![0-9.])\.[0-9]++)(?:e[-+]?[0-9]++)?+ ) )
        (?: [ \t]?-?(?P<unit>{"|".join(sorted(UNIT_SCALES, key=len, reverse=True))})(?![a-z_]) )?+
        (?: (?<!\.)(?P<tail>(?!to[0-9])[a-z_][a-z0-9_]*+) )?+ )    # 2nd, 720p, 3x: not a time. But 5to9 is two.
  | (?P<word>       to(?=[0-9]) | [a-z_][a-z0-9_]*+(?:\.[0-9]++)*+ | [到至从和秒分] )
  | (?P<link>       -++> | => | ~++ | \.\.++ )
  | (?P<dash>       -++ )
  | (?P<sep>        [,;&] )
  | (?P<colon>      [:=] )
  | (?P<open>       [\[({{<] )
  | (?P<close>      [\])}}>] )
  | (?P<quote>      ["'] )
  | (?P<decoration> [*`$#|\\/] )
  | (?P<other>      \S )
    """,
    re.VERBOSE | re.MULTILINE,
)


@dataclass(slots=True)
class Token:
    """A time, a word or a mark of an answer, and what part it plays."""

    role: str
    text: str
    start: int
    end: int
    seconds: float = 0.0
    scale: float | None = None
    """Of a time: seconds per unit; None for a bare number."""
    quoted: bool = False
    """Inside a quotation of words of no known meaning: most likely the query, said again."""


def tokenize(text: str) -> list[Token]:
    """The tokens of an answer's lower-cased text; minutes and seconds joined, signs attached, quotations marked."""
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        token = Token(match.lastgroup or OTHER, match[0], match.start(), match.end())
        if token.role == TIME:
            _read_time(token, match)
        elif token.role == "word" or token.text in UNIT_SCALES:
            token.role = _role(token.text)
        tokens.append(token)
    tokens = _attach_signs(_add_seconds_to_minutes(tokens))
    _mark_quotations(tokens, text)
    return tokens


def _role(word: str) -> str:
    """A word's part in naming a span. `start_time` and `t_end` take the part of the piece that has one."""
    roles = [_WORD_ROLES.get(piece, UNKNOWN) for piece in (word, *word.split("_"))]
    return next((role for role in roles if role in (START, END)), roles[0])


def _read_time(token: Token, match: re.Match[str]) -> None:
    """Fill in seconds and scale, or turn the token into a word: `1:75` is no clock, `3rd` no time."""
    if match["tail"]:
        token.role = UNKNOWN
    elif match["clock"]:
        fields = match["clock"].split(":")
        if len(fields) > 3 or any(len(field.partition(".")[0]) > 2 or float(field) >= 60 for field in fields[1:]):
            token.role = UNKNOWN
            return
        token.scale = 1.0  # "0:12 minutes" and "0:12 s" are the same clock
        for field in fields:
            token.seconds = 60 * token.seconds + float(field)
    else:
        token.scale = UNIT_SCALES[match["unit"]] if match["unit"] else None
        token.seconds = float(match["number"]) * (token.scale or 1.0)


def _add_seconds_to_minutes(tokens: list[Token]) -> list[Token]:
    """`1 min 5 s`, `1m05`, `1 hour and 2 minutes`: one time each."""
    joined: list[Token] = []
    for token in tokens:
        lies_between = bool(joined) and (joined[-1].role == AND or joined[-1].text == ",")
        upper = joined[-2] if lies_between and len(joined) > 1 else joined[-1] if joined else None
        if token.role == TIME and upper and upper.role == TIME and (upper.scale or 0) > 1:
            bare_seconds = token.scale is None and upper.scale == 60 and not lies_between
            lower_unit = bool(token.scale) and (token.scale or 0) < (upper.scale or 0)
            if (bare_seconds or lower_unit) and token.seconds < (upper.scale or 0):
                upper.seconds += token.seconds
                upper.scale, upper.end = token.scale or 1.0, token.end
                del joined[len(joined) - lies_between :]
                continue
        joined.append(token)
    return joined


def _attach_signs(tokens: list[Token]) -> list[Token]:
    """Tell the minus of `-3.0` from the dash of `4.0 -9.0` and the hyphen of `step-3`."""
    kept: list[Token] = []
    for token in tokens:
        if token.role == TIME and kept and kept[-1].text == "-" and kept[-1].role == DASH:
            dash = kept[-1]
            before = len(kept) - 2
            glued_to = kept[before] if before >= 0 and kept[before].end == dash.start else None
            while before >= 0 and kept[before].role in (CLOSE, QUOTE, DECORATION):
                before -= 1
            if dash.end != token.start or (before >= 0 and kept[before].role == TIME):
                pass  # a dash between two times, or one that stands apart
            elif glued_to and glued_to.text[-1].isalnum():
                token.role = UNKNOWN if glued_to.role == UNKNOWN else TIME
            else:
                token.seconds = -token.seconds
                kept.pop()
        kept.append(token)
    return kept


def _mark_quotations(tokens: list[Token], text: str) -> None:
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
            if any(other.role == UNKNOWN for other in inside):
                for other in inside:
                    other.quoted = True
        elif not text[max(token.start - 1, 0) : token.start].isalnum():
            opened[token.text] = index
