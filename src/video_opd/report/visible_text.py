"""Text of a file that cannot play tricks on a page: cut to a length, with control and direction marks spelled out."""

from __future__ import annotations

import re

_LONGEST = 400

_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and marks that turn the direction of the text that follows them, ours included."""


def make_visible(text: str, limit: int = _LONGEST) -> str:
    """Cut a text to a length, and spell out its marks.

    Args:
        text: of a file.
        limit: most characters.
    """
    return spell_out(text if len(text) <= limit else text[:limit] + "…")


def spell_out(text: str) -> str:
    """Write `[U+202E]` in place of each mark that is not seen."""
    return _INVISIBLE.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)
