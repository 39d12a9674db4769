"""What each token of an answer is for: reasoning, the digits of the times, the words around them, or the end of turn.

Where a student differs from its teacher says what it has to learn: to see, or to speak. Video-OPD, appendix D.6,
compares answers with and without reasoning; with it, most of the tokens are reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

Region = Literal["thinking", "digits", "format", "end"]
REGIONS: tuple[Region, ...] = get_args(Region)


def find_regions(pieces: Sequence[str], *, truncated: bool, answer_starts: str = "") -> tuple[Region, ...]:
    """The region of every token.

    Args:
        pieces: the tokens' texts, the end of turn included unless `truncated`.
        answer_starts: what the final answer begins with; everything before its last occurrence is thinking, and so is
            a whole answer that never gets there. Empty: the template asks for no reasoning.
    """
    words = pieces if truncated else pieces[:-1]
    starts_at = "".join(words).rfind(answer_starts) if answer_starts else 0
    regions: list[Region] = []
    position = 0
    for piece in words:
        position += len(piece)
        if starts_at == -1 or position <= starts_at:
            regions.append("thinking")
        else:
            regions.append("digits" if any(character.isdigit() for character in piece) else "format")
    return (*regions, "end") if len(words) < len(pieces) else tuple(regions)
