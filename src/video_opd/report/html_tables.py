"""What a table is made of; `table_of` in `macros.html.j2` draws it."""

from __future__ import annotations

from dataclasses import dataclass, field

from markupsafe import Markup

_NOTHING = Markup("")


@dataclass(frozen=True, slots=True)
class Cell:
    """One number as text, with smaller ones below it."""

    value: str
    """Empty: not known, or not asked."""
    notes: tuple[str, ...] = ()
    style: str = ""
    """CSS class."""
    image: Markup = _NOTHING
    """In place of the value."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    who: str
    cells: list[Cell]
    note: str = ""
    key: Markup = _NOTHING
    """By which it is known in the figures."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows by columns; it scrolls where the screen is narrow."""

    columns: list[str]
    rows: list[Row]
    groups: list[tuple[str, int]] = field(default_factory=list)
    """Headings over several columns each, and how many; from the first column to the last."""
