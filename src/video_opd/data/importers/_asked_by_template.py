"""Find the query in a question: the text in the place of `{query}` in a named template or in the user's own pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.query_words import extract_only_quoted
from video_opd.errors import ConfigurationError
from video_opd.policy.families import list_visual_tokens

QUOTED = "quoted"
"""What stands in quotes, where a question quotes exactly one thing."""
QUERY = "{query}"

_VIDEO = re.compile("|".join(map(re.escape, ("<video>", "<image>", "{video}", *sorted(list_visual_tokens())))))

Finder = Callable[[str], str | None]
"""From a question to its query; None: it is not put like this."""


def make_finders(template: str) -> dict[str, Finder]:
    """How to find the query, by name, to be tried in order.

    Args:
        template: name of a preset, `quoted`, or a pattern such as `When does "{query}" happen` where `…` (or `...`)
            stands for any text, as do its two ends. "": every preset whose answers name times, then `quoted`.

    Raises:
        ConfigurationError: it is none of these.
    """
    if template == QUOTED:
        return {QUOTED: extract_only_quoted}
    if template in TEMPLATES:
        return {template: _make_whole_finder(TEMPLATES[template].user)}
    if template.count(QUERY) == 1:
        return {template: _make_part_finder(template)}
    if template:
        raise ConfigurationError(
            f"--template {template}",
            reason=f"it is not a preset, and it does not have {QUERY} exactly once",
            remedy=f"give a pattern such as \"…'{QUERY}'…\", {QUOTED}, or one of {', '.join(TEMPLATES)}",
        )
    return _make_preset_finders()


def strip_places(text: str) -> str:
    """A question without the places of its video, blanks joined."""
    return " ".join(_VIDEO.sub(" ", text).split())


@lru_cache(1)
def _make_preset_finders() -> dict[str, Finder]:
    timed = {name: preset.user for name, preset in TEMPLATES.items() if "{start" in preset.answer}
    by_length = sorted(timed, key=lambda name: -len(timed[name]))  # the one that says most is the one that was meant
    return {name: _make_whole_finder(timed[name]) for name in by_length} | {QUOTED: extract_only_quoted}


def _make_whole_finder(user: str) -> Finder:
    before, after = (re.escape(part) for part in strip_places(user).split(QUERY))
    return _first_group(re.compile(f"{before}(.+){after}", re.DOTALL).fullmatch)


def _make_part_finder(pattern: str) -> Finder:
    """Look for each part where it first stands after the one before. Parts that do not fit there fit nowhere: the time
    grows with the length of the text, and not with a power of it, as that of a regular expression does."""
    before, after = strip_places(pattern.replace("...", "…")).split(QUERY)
    leading, following = (part.strip("…").split("…") for part in (before, after))

    def find(text: str) -> str | None:
        begin = _go_past(text, leading, 0)
        if begin is None or begin == len(text):
            return None
        if following == [""]:
            return text[begin:].strip()
        end = text.find(following[0], begin + 1)
        return None if end < 0 or _go_past(text, following, end) is None else text[begin:end].strip()

    return find


def _go_past(text: str, parts: Sequence[str], at: int) -> int | None:
    """The place after all parts, each where it first stands from `at` on; None: one is not there."""
    for part in parts:
        found = text.find(part, at)
        if found < 0:
            return None
        at = found + len(part)
    return at


def _first_group(match: Callable[[str], re.Match[str] | None]) -> Finder:
    def find(text: str) -> str | None:
        found = match(text)
        return None if found is None else found[1].strip()

    return find
