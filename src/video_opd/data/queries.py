"""What may be done to the words of a query, each under a name; nothing is done without one.

Annotation sets differ: ActivityNet's sentences begin with blanks, Charades-STA's end in full stops, instruction sets
wrap the event in quotes. Prompts clean what they put to a model anyway (`prompts`), so the policies below matter to
what is stored, compared and counted. All but `as-is` make blanks of control characters, which upstream leaves in.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_QUERY_TEXT = re.compile(r"^(?:\W*+\bquery\s*text\s*:)+", re.IGNORECASE)
_QUOTED = re.compile(r"(?<!\w)'([^']*+(?:'\w[^']*+)*+)'(?!\w)|\"([^\"]++)\"|“([^”]++)”")
"""An apostrophe inside a word does not end a quotation."""


CONTROL_CHARACTERS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
"""What no query means to say: the colours of a terminal, and control characters that are no white space."""


def trim(query: str) -> str:
    """One blank for every run of them, none at the ends."""
    return " ".join(_without_control(query).split())


def timelens(query: str) -> str:
    """As TimeLens cleans a query before it is put: blanks joined, full stops at both ends removed; case is kept."""
    return trim(query).strip(".").strip()


def plain(text: str) -> str:
    """Words without what does not change what they say: case, blanks, full stops at their ends. For comparing."""
    return timelens(text).casefold()


def time_r1(query: str) -> str:
    """As Time-R1 does: lower case, one final full stop removed."""
    return _without_control(query).strip().lower().removesuffix(".")


def quoted(query: str) -> str:
    """What stands in quotes, where an instruction quotes exactly one thing; all of it otherwise."""
    found = only_quoted(query)
    return _without_control(query) if found is None else found


def only_quoted(text: str) -> str | None:
    """What stands in quotes, where exactly one thing does."""
    found = [next(part for part in match if part) for match in _QUOTED.findall(text) if any(match)]
    return trim(found[0]) if len(found) == 1 else None


def begins_with_query_text(query: str) -> bool:
    """Whether it does, as one in ten of Ego4D's; see `ego4d`."""
    return _QUERY_TEXT.match(query) is not None


def ego4d(query: str) -> str:
    """Trimmed, without the `Query Text:` that one in ten of Ego4D's begin with, in whatever case."""
    return trim(_QUERY_TEXT.sub("", query))


def _without_control(query: str) -> str:
    return CONTROL_CHARACTERS.sub(" ", query)


QUERY_POLICIES: dict[str, Callable[[str], str]] = {
    "as-is": lambda query: query,
    "trim": trim,
    "timelens": timelens,
    "time-r1": time_r1,
    "quoted": quoted,
    "ego4d": ego4d,
}
