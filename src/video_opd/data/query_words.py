"""Changes of the words of a query, each with a name. Without a name, the words are not changed.

Annotation sets differ: ActivityNet's sentences begin with blanks, Charades-STA's end in full stops, instruction sets
wrap the event in quotes. Prompts clean what a model is asked anyway (`prompts`), so the policies below matter to
what is stored, compared and counted. All but `as-is` make blanks of control characters, which upstream leaves in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from video_opd.data.plain_text import CONTROL_LIKE, has_words, refuse_unwritable
from video_opd.errors import ConfigurationError

LONG_QUERY = 2000
"""Characters. The longest query of the field's annotations has some 600."""

_QUERY_TEXT = re.compile(r"^(?:\W*+\bquery\s*text\s*:)+", re.IGNORECASE)
_QUOTED = re.compile(r"(?<!\w)'([^']*+(?:'\w[^']*+)*+)'(?!\w)|\"([^\"]++)\"|“([^”]++)”")
"""An apostrophe inside a word does not end a quotation."""


CONTROL_CHARACTERS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
"""What no query means to say: the colours of a terminal, and control characters that are no white space."""


def trim(query: str) -> str:
    """Replace every run of blanks by one, and remove the blanks at the ends."""
    return " ".join(_drop_control_characters(query).split())


def timelens(query: str) -> str:
    """Clean a query as TimeLens does: blanks are joined, full stops at both ends are removed, case is kept."""
    return trim(query).strip(".").strip()


def normalise(text: str) -> str:
    """Normalise words for a comparison: without case, repeated blanks, and full stops at the ends."""
    return timelens(text).casefold()


def time_r1(query: str) -> str:
    """Clean a query as Time-R1 does: lower case, without one final full stop."""
    return _drop_control_characters(query).strip().lower().removesuffix(".")


def extract_quoted(query: str) -> str:
    """The text in quotes, if an instruction quotes exactly one text; otherwise the whole query."""
    found = extract_only_quoted(query)
    return _drop_control_characters(query) if found is None else found


def extract_only_quoted(text: str) -> str | None:
    """The text in quotes, if there is exactly one."""
    found = [next(part for part in match if part) for match in _QUOTED.findall(text) if any(match)]
    return trim(found[0]) if len(found) == 1 else None


def has_query_text_prefix(query: str) -> bool:
    """Whether a query begins with `Query Text:`, like one in ten of Ego4D's; see `ego4d`."""
    return _QUERY_TEXT.match(query) is not None


def ego4d(query: str) -> str:
    """Trimmed, without the `Query Text:` that one in ten of Ego4D's begin with, in whatever case."""
    return trim(_QUERY_TEXT.sub("", query))


def _drop_control_characters(query: str) -> str:
    return CONTROL_CHARACTERS.sub(" ", query)


def refuse_wordless(query: str) -> None:
    """Refuse a query that asks for nothing, or that no tokenizer accepts.

    Raises:
        ConfigurationError: it has no words.
        QueryError: as `refuse_unwritable`.
    """
    if not has_words(timelens(query)):
        raise ConfigurationError(
            "the query is empty" if not query.strip() else f"the query {query!r} has no words",
            reason="the model needs words to search for",
            remedy="say what to look for",
        )
    refuse_unwritable(query, "the query")


QUERY_POLICIES: dict[str, Callable[[str], str]] = {
    "as-is": lambda query: query,
    "trim": trim,
    "timelens": timelens,
    "time-r1": time_r1,
    "quoted": extract_quoted,
    "ego4d": ego4d,
}


def find_oddities(query: str) -> Iterator[tuple[str, str]]:
    """Unusual properties of a query in a manifest's row, and their effect; they are warnings only.

    Yields:
        A sentence, and a remedy; an empty one where the row itself is to be corrected.
    """
    if not has_words(timelens(query)):
        yield f"`query` {query!r} has no words: the row is set aside", ""
    if tokens := list(dict.fromkeys(CONTROL_LIKE.findall(query))):
        listed = ", ".join(tokens[:3]) + (", …" if len(tokens) > 3 else "")
        yield (
            f"`query` holds {listed}, as control tokens and placeholders of training files look: it is read as plain "
            "text",
            "Take it out, unless the words are meant",
        )
    if found := CONTROL_CHARACTERS.search(query):
        yield f"`query` holds the control character {found.group()[0]!a}: prompts have a blank there", "Take it out"
    if len(query) > LONG_QUERY:
        yield (
            f"`query` is {len(query):,} characters long: it is put whole, and a prompt that is longer than the model "
            "takes is set aside",
            "Check that it is a question about one event",
        )
