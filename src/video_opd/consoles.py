"""Tables and bars for a person, drawn by rich: text in them is escaped as `terminal` says, rich's own codes are not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from video_opd.terminal import escape_controls


class EscapingConsole(Console):
    """A console of rich whose texts cannot send commands to the terminal."""

    def render_str(self, text: str, **how: Any) -> Text:
        """A text that was given as it is, such as a cell: escaped before its width is measured."""
        return super().render_str(escape_controls(text), **how)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """The parts of a table, a bar or a text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escape_controls(segment.text), segment.style)
