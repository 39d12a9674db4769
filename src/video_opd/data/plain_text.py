"""The words of a query are always text: none of them becomes a control token.

A fast tokenizer looks for its added tokens (`<|im_end|>`, `<|video_pad|>`, `<think>`, …) before anything else, in the
chat template's text and in the user's alike; `split_special_tokens` leaves out only those that are marked as special.
So where a query spells one, one character of it is replaced by a stand-in that spells nothing, the prompt is tokenised,
and the stretch of ordinary tokens around it is tokenised again with the true character, by the same rules but without
added tokens. Added tokens cut a text before it is normalised and merged, so the other stretches are as they were; and
a query that spells no control token is not touched at all.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from video_opd.errors import QueryError

_INTERIM = "<|placeholder|>"
"""What processors of transformers put in the place of video tokens for a moment."""

_STAND_INS = range(0xF0000, 0xFFFFE)
"""Code points for private use, which no normalisation changes."""

CONTROL_LIKE = re.compile(
    r"<[|｜][^<>|｜\s]{1,40}[|｜]>"
    r"|</?(?:think|tool_call|tool_response|tools|image|img|IMG_CONTEXT|video|audio|s|pad|unk|bos|eos|mask)>"
    r"|<(?:start|end)_of_(?:turn|image)>|\[/?(?:INST|IMG)\]"
)
"""What control tokens of this field's models, and placeholders of its training files, look like."""


_NOTHING = {"Zs", "Zl", "Zp", "Cc", "Cf"}
"""Unicode's categories of what cannot be seen: blanks, control characters, marks of width 0."""


def has_words(text: str) -> bool:
    """Whether a text has at least one word."""
    return any(unicodedata.category(character) not in _NOTHING for character in text)


def refuse_unwritable(text: str, called: str) -> None:
    """Refuse a text that no tokenizer accepts.

    Raises:
        QueryError: it holds half of a surrogate pair, as text that was not UTF-8 does.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QueryError(
            f"{called} holds half of a surrogate pair ({text[error.start]!a} at character {error.start + 1})",
            reason="it stands for bytes that are not UTF-8, and no tokenizer can read it",
            remedy="write it anew, as UTF-8",
        ) from None


@dataclass(frozen=True, eq=False)
class PlainText:
    """Tokenizes text in which nothing is a control token."""

    tokenizer: Any
    """A fast one of transformers."""
    further: Sequence[str] = ()
    """What else a processor looks for in a text."""

    @cached_property
    def added(self) -> Mapping[int, str]:
        """Id -> text of every token that a tokenizer searches before it cuts a text into words."""
        return {id: token.content for id, token in self.tokenizer.added_tokens_decoder.items()}

    @cached_property
    def control(self) -> re.Pattern[str]:
        """Every control token: the special ones, and others in brackets. An added word is a word."""
        tokens = self.tokenizer.added_tokens_decoder.values()
        found = {token.content for token in tokens if token.special or re.fullmatch(r"[^\w\s].*[^\w\s]", token.content)}
        found |= {_INTERIM, *self.further}
        return re.compile("|".join(map(re.escape, sorted(filter(None, found), key=len, reverse=True))))

    def disguise(self, text: str, before: str = "", after: str = "") -> tuple[str, dict[str, str]]:
        """Replace characters, so that a text spells no control token, alone or with the text around it.

        Returns:
            The text, as long as before; and stand-in -> character that it stands for.
        """
        stand_ins: dict[str, str] = {}
        start, end = len(before), len(before) + len(text)
        whole = before + text + after
        while places := [
            max(match.start(), start)
            for match in self.control.finditer(whole)
            if match.start() < end and match.end() > start
        ]:
            characters = list(whole)
            for place in places:
                character = characters[place]
                if character not in stand_ins:
                    taken = {*whole, *stand_ins.values()}
                    stand_ins[character] = next(chr(code) for code in _STAND_INS if chr(code) not in taken)
                characters[place] = stand_ins[character]
            whole = "".join(characters)
        return whole[start:end], {stand_in: character for character, stand_in in stand_ins.items()}

    def locate_stand_ins(
        self, ids: Sequence[int], stand_ins: Mapping[str, str]
    ) -> Iterator[tuple[int, int, list[int]]]:
        """The stretches of a tokenised text that hold stand-ins: from, to, and the ids of what they stand for.

        Raises:
            QueryError: this tokenizer cannot be held to plain text.
        """
        start = 0
        for place in [*(place for place, id in enumerate(ids) if id in self.added), len(ids)]:
            if place > start:
                stretch = list(ids[start:place])
                text = self.tokenizer.decode(stretch, skip_special_tokens=False, clean_up_tokenization_spaces=False)
                if any(stand_in in text for stand_in in stand_ins):
                    if self._encode_without_added(text) != stretch:
                        raise self._unfit_error()
                    yield start, place, self._encode_without_added(text.translate(str.maketrans(dict(stand_ins))))
            start = place + 1

    def encode(self, text: str) -> list[int]:
        """The ids of a text that stands alone."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return self._encode_without_added(text) if self.control.search(text) else list(ids)

    def _encode_without_added(self, text: str) -> list[int]:
        found = self._bare.encode(text, add_special_tokens=False).ids
        if any(id in self.added for id in found):
            raise self._unfit_error()
        return list(found)

    @cached_property
    def _bare(self) -> Any:
        """The tokenizer without its added tokens; it shares the vocabulary."""
        from tokenizers import Tokenizer

        whole = getattr(self.tokenizer, "backend_tokenizer", None)
        if whole is None:
            raise self._unfit_error()
        bare = Tokenizer(whole.model)
        for part in ("normalizer", "pre_tokenizer"):
            if getattr(whole, part) is not None:
                setattr(bare, part, getattr(whole, part))
        return bare

    def _unfit_error(self) -> QueryError:
        return QueryError(
            "a query that spells a control token",
            reason=f"the tokenizer ({type(self.tokenizer).__name__}) cannot be made to read it as plain text",
            remedy="take the token's text out of the query",
        )
