"""Forms of answers that were read before, so that of a file in which a model says the same of each video with other
numbers, only the first answer is read in full.

A form is all of a text but the digits: `The event happens in 00.0 - 00.0 seconds.` So two texts of a form have the same
tokens, up to what the digits of a clock or of thousands decide (`1:75`, `0,100`); those are never the span of two plain
numbers. The rules that compare the times of a text with one another or with 1 find the same in both, because a form
also says how its two times compare. So if one of them names the span of its two numbers, the other does too. Texts with
more or fewer numbers have no form.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from video_opd.types import Span

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)")
_LONGEST_TEXT = 300
_LONGEST_NUMBER = 12
_MOST_FORMS = 4096
"""A bound on memory. Answers that quote their queries are of as many forms."""


class AnswerForm(NamedTuple):
    """A text with two numbers."""

    key: tuple[object, ...]
    """Equal for texts of one form."""
    span: Span
    """The numbers, in the order in which they are written."""


class KnownForms:
    """The forms that are known to name the span of their two numbers."""

    def __init__(self) -> None:
        self._are_plain: dict[tuple[object, ...], bool] = {}

    def is_plain(self, form: AnswerForm) -> bool:
        """Whether a text of this form names the span of its two numbers, as far as is known."""
        return self._are_plain.get(form.key, False)

    def note(self, form: AnswerForm, spans: tuple[Span, ...]) -> None:
        """Remember what was read in a text of this form."""
        if len(self._are_plain) >= _MOST_FORMS:
            self._are_plain.clear()
        self._are_plain.setdefault(form.key, spans == (form.span,))


def find_form(text: str) -> AnswerForm | None:
    """The form of a text; None if it does not name two times, the later one last."""
    if len(text) > _LONGEST_TEXT or not text.isascii():
        return None
    parts = _NUMBER.split(text)
    if len(parts) != 5:
        return None
    before, first, between, second, behind = parts
    if len(first) > _LONGEST_NUMBER or len(second) > _LONGEST_NUMBER:
        return None
    start, end = float(first), float(second)
    if not 0 < start < end:  # a zero has any unit
        return None
    shapes = len(first), first.find("."), len(second), second.find(".")
    against_one = (start > 1) - (start < 1), (end > 1) - (end < 1)
    return AnswerForm((before, between, behind, *shapes, *against_one), Span(start, end))
