"""Rules that more than one benchmark shares: which option does an answer name?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from video_opd.eval.benchmarks._question import Option, Question, Rating

STRICT = (
    "an option's letter, standing alone as a capital, or the option's text; \"A\" before a word in lower case is the "
    'article, except in "A is", "A because", "option A" and the like; several letters name none, unless the answer '
    "begins with one; every question counts"
)

_GOES_ON = r" +(?:is|was|would|seems|looks|appears|fits|matches|shows|describes|because|since|as|and|or|but|if)\b"
"""Behind a letter; no noun phrase goes on like this behind the article."""
_ANNOUNCES = r"(?i:option|choice|letter)\W*"
"""Before a letter."""


def rate_strictly(answer: str, question: Question) -> Rating:
    """Our own rule: see `STRICT`."""
    read = find_stated_label(answer, question.options)
    return Rating(correct=read == question.right_label, read=read)


def find_stated_label(answer: str, options: Sequence[Option]) -> str | None:
    """The label of the option that an answer names, for options labelled A, B, C …; None where that is not clear."""
    said = _plain(answer)
    named = [option.label for option in options if said and said in (_plain(option.text), _plain(option.content))]
    if len(named) == 1:
        return named[0]
    labels = {option.label for option in options}
    letters = [match for match in re.finditer(r"(?<![\w'’-])[A-Z](?![\w'’-])", answer) if match.group() in labels]
    if not letters or _is_article(letters[0]):
        return None
    first = letters[0]
    clear = {match.group() for match in letters if not _is_article(match)}
    begins = not re.search(r"\w", answer[: first.start()])
    return first.group() if begins or len(clear) == 1 else None


def _is_article(match: re.Match[str]) -> bool:
    before, behind = match.string[: match.start()], match.string[match.end() :]
    if match.group() != "A" or not re.match(r" +[a-z]", behind):
        return False
    return not (re.match(_GOES_ON, behind) or re.search(rf"\b{_ANNOUNCES}\Z", before))


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".").casefold()


def rating_of(read: str | None, question: Question, *, counted: bool = True) -> Rating:
    """Right where the option read is the right one."""
    return Rating(correct=read == question.right_label, read=read, counted=counted)
