"""The tokens of an answer as they are shown: coloured by advantage, with the log-probs of each at hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from video_opd.report.visible_text import make_visible

_FIRST, _LAST = 32, 64
"""Tokens that are shown of a long answer: its times stand at its end."""
_LEVELS = 4
"""Shades of praise and of blame."""
REGION_NAMES = {"thinking": "reasoning", "digits": "digits of times", "format": "wording", "end": "end of turn"}
"""Region of `grounding.regions` -> what it is called on a page."""


class Token(NamedTuple):
    """One token of an answer; nats, None where they were not recorded."""

    text: str
    advantage: float | None
    logprobs: tuple[tuple[str, float | None], ...]
    """Who computed it, and the log-prob."""
    region: str = ""
    """What the token is for, in the words of the page."""

    @classmethod
    def zip_columns(
        cls,
        texts: Sequence[str],
        advantages: Sequence[float | None],
        logprobs: Mapping[str, Sequence[float | None]],
        regions: Sequence[str] = (),
    ) -> list[Token]:
        """The tokens of an answer. A list of another length than the tokens' belongs to something else: not shown.

        Args:
            texts: of the tokens.
            advantages: of the tokens.
            logprobs: who computed them, and the log-probs.
            regions: what the tokens are for, as in `REGION_NAMES`.
        """

        def known(column: Sequence[float | None]) -> Sequence[float | None]:
            return column if len(column) == len(texts) else [None] * len(texts)

        names = [REGION_NAMES.get(region, "") for region in regions]
        names = names if len(names) == len(texts) else [""] * len(texts)
        rows = list(zip(*map(known, logprobs.values()), strict=True))
        return [
            cls(text, advantage, tuple(zip(logprobs, row, strict=True)), name)
            for text, advantage, row, name in zip(texts, known(advantages), rows, names, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A token as it is shown."""

    text: str
    style: str
    """CSS class: `plus-1` to `plus-4`, `minus-1` to `minus-4`, or `zero`."""
    advantage: str
    numbers: str
    """Everything that is known of it, in words."""
    breaks: bool
    """The token ends a line."""
    gap: int = 0
    """Tokens before this one that are not shown."""


def build_chips(tokens: Sequence[Token], scale: float) -> list[Chip]:
    """The tokens of one answer; of a long one the first and the last.

    Args:
        tokens: of the answer.
        scale: the advantage that gets the strongest colour.
    """
    hidden = max(len(tokens) - _FIRST - _LAST, 0)
    chips = [_build_chip(token, scale, gap=0) for token in tokens[: _FIRST if hidden else None]]
    if hidden:
        last = tokens[-_LAST:]
        chips += [_build_chip(token, scale, gap=hidden if place == 0 else 0) for place, token in enumerate(last)]
    return chips


def build_legend(scale: float) -> list[tuple[str, str]]:
    """(CSS class, label or "") from the deepest blame to the highest praise; empty if no advantage was recorded."""
    if not scale:
        return []
    minus = [(f"minus-{level}", f"−{scale:.2g}" if level == _LEVELS else "") for level in range(_LEVELS, 0, -1)]
    plus = [(f"plus-{level}", f"+{scale:.2g}" if level == _LEVELS else "") for level in range(1, _LEVELS + 1)]
    return [*minus, ("zero", "0"), *plus]


def choose_scale(answers: Iterable[Sequence[Token]]) -> float:
    """The advantage that gets the strongest colour: all but the largest twentieth lie below it. 0 if there is none."""
    sizes = sorted(abs(token.advantage) for tokens in answers for token in tokens if token.advantage is not None)
    return sizes[int(0.95 * (len(sizes) - 1))] if sizes else 0.0


def _build_chip(token: Token, scale: float, *, gap: int) -> Chip:
    advantage = token.advantage
    said = [] if advantage is None else [f"advantage {format_signed(advantage, 3)}"]
    said += [f"{who} {format_signed(value, 3)}" for who, value in token.logprobs if value is not None]
    return Chip(
        text=make_visible(token.text, 60).replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥") or "∅",
        style=_choose_shade(advantage, scale),
        advantage="" if advantage is None else format_signed(advantage),
        numbers=", ".join([*said, *([token.region] if token.region else [])]),
        breaks="\n" in token.text,
        gap=gap,
    )


def _choose_shade(advantage: float | None, scale: float) -> str:
    if advantage is None or not scale:
        return "zero"
    level = min(_LEVELS, int(abs(advantage) / scale * _LEVELS + 0.5))
    return "zero" if level == 0 else f"{'plus' if advantage > 0 else 'minus'}-{level}"


def format_signed(value: float, decimals: int = 2) -> str:
    """A few digits, a true minus sign, and no sign on a zero.

    Args:
        value: the number.
        decimals: of a small number.
    """
    text = f"{value:+.{decimals}f}" if abs(value) < 9.995 else f"{value:+.3g}"
    return "0" if float(text) == 0 else text.replace("-", "−")
