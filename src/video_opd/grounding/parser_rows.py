"""Which columns of a list are the start and the end: `[[5.0, 9.5, 0.93], [20.0, 25.0, 0.5]]`.

Rows of two are spans. In longer ones the head of a table names the columns. Without one, two neighbouring columns are
the span if every other column has an explanation: a score, a duration, a row number. The same columns hold for all
rows. Rows of an even number that have no such explanation are spans one after the other, `[3, 5, 10, 12]`; otherwise
the columns are unclear.
"""

from __future__ import annotations

from collections.abc import Sequence

from video_opd.grounding.parser_tokens import ParserToken
from video_opd.grounding.parser_words import END, START

Row = Sequence[ParserToken]
_MAX_COLUMNS = 8
"""Longer rows are no table with scores."""
_SAME_S = 0.051
"""A duration agrees with start and end to one decimal."""


def find_span_columns(rows: Sequence[Row], head: Sequence[str], *, in_brackets: bool) -> list[tuple[int, int]] | None:
    """The columns of starts and ends; None if it is not clear.

    Args:
        rows: all of one length, two or more.
        head: roles of the words before the first row, which name its columns if they are as many.
        in_brackets: in prose, less passes for a score.
    """
    width = len(rows[0])
    if width > 2 and len(head) == width and START in head and END in head:
        return [(head.index(START), head.index(END))]
    starts = [0] if width == 2 else _find_starts(rows, in_brackets)
    return None if starts is None else [(column, column + 1) for column in starts]


def _find_starts(rows: Sequence[Row], in_brackets: bool) -> list[int] | None:
    width = len(rows[0])
    in_turn = list(range(0, width, 2)) if width % 2 == 0 else None
    with_unit = [column for column in range(width) if all(row[column].scale is not None for row in rows)]
    if len(with_unit) == 2 and with_unit[1] == with_unit[0] + 1:
        return with_unit[:1]  # ["00:05", "00:09", 0.93]
    in_pairs = in_turn is not None and all(_is_span(row, column) for row in rows for column in in_turn)
    if width % 3 == 0 and width > 3 and not in_pairs and _are_scores(rows, range(2, width, 3)):
        return list(range(0, width, 3))  # [4.0, 9.0, 0.93, 20.0, 25.0, 0.5]
    if width > _MAX_COLUMNS:
        return in_turn
    explained = [column for column in range(width - 1) if _is_explained(rows, column, in_brackets)]
    if in_pairs:
        # [12.0, 15.0, 0.2, 0.9] is a span with two scores, for all that 0.2 - 0.9 would be a second one.
        return [0] if explained == [0] and width > 2 and _are_broken_scores(rows, range(2, width)) else in_turn
    if len(explained) == 1 or (explained[:1] == [0] and _are_scores(rows, range(2, width))):
        return explained[:1]
    return in_turn


def _is_explained(rows: Sequence[Row], first: int, in_brackets: bool) -> bool:
    """Whether the span may begin in this column: one row at least is one, and the other columns are something else."""
    width = len(rows[0])
    if width == 3 and first == 0 and _are_scores(rows, [2]):
        return True  # [start, end, score], the form of the field, is read so even if the start comes last
    if not any(_is_span(row, first) for row in rows):
        return False
    right = range(first + 2, width)
    scored = bool(right) and _are_scores(rows, right)
    return all(_may_be_added(rows, first, column, in_brackets) for column in right) and all(
        _may_lead(rows, first, column, scored=scored) for column in range(first)
    )


def _may_be_added(rows: Sequence[Row], first: int, column: int, in_brackets: bool) -> bool:
    """A score in 0..1, the duration, or a score of another scale that can be no time."""
    if _are_scores(rows, [column]):
        return True
    if all(abs(row[first + 1].seconds - row[first].seconds - row[column].seconds) <= _SAME_S for row in rows):
        return True
    if not all(0 <= row[column].seconds <= 100 for row in rows):
        return False
    written_otherwise = all(_is_whole(row[column]) for row in rows) and not any(
        _is_whole(row[at]) for row in rows for at in (first, first + 1)
    )
    return written_otherwise or (in_brackets and any(row[column].seconds < row[first + 1].seconds for row in rows))


def _may_lead(rows: Sequence[Row], first: int, column: int, *, scored: bool) -> bool:
    """A row number, or a score in 0..1. One row alone shows neither, unless a score follows or it can be no time."""
    whole = all(_is_whole(row[column]) for row in rows)
    if len(rows) == 1:
        row = rows[0]
        decimals = not (_is_whole(row[first]) or _is_whole(row[first + 1]))
        return whole and decimals and (scored or row[column].seconds > row[first + 1].seconds)
    numbers = [row[column].seconds for row in rows]
    counted = whole and numbers[0] in (0, 1) and all(n == numbers[0] + i for i, n in enumerate(numbers))
    return counted or _are_broken_scores(rows, [column])


def _are_scores(rows: Sequence[Row], columns: Sequence[int]) -> bool:
    return all(row[column].is_bare and 0 <= row[column].seconds <= 1 for row in rows for column in columns)


def _are_broken_scores(rows: Sequence[Row], columns: Sequence[int]) -> bool:
    """Scores that are not all 0 or 1, which might be times or flags, beside spans that go beyond them."""
    broken = any(0 < row[column].seconds < 1 for row in rows for column in columns)
    return broken and _are_scores(rows, columns) and any(token.seconds > 1 for row in rows for token in row)


def _is_span(row: Row, column: int) -> bool:
    return 0 <= row[column].seconds <= row[column + 1].seconds


def _is_whole(token: ParserToken) -> bool:
    return token.text.isdigit()
