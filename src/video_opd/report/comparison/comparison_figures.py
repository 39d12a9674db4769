"""Draw means with their intervals, one above the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from video_opd.report.figures import choose_ticks, shorten


@dataclass(frozen=True, slots=True)
class Strip:
    """A common horizontal scale for strips as wide as their place, one above the other, zero among them."""

    low: float
    high: float

    @classmethod
    def enclose(cls, values: Sequence[float]) -> Strip:
        """Zero and all values, with some room at both ends."""
        low, high = min(0.0, *values), max(0.0, *values)
        room = 0.08 * (high - low) or 1.0
        return cls(low - room, high + room)

    def place(self, value: float) -> str:
        """Where a value lies."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"

    def draw_scale(self) -> Markup:
        """Round numbers where they lie."""
        inside = [tick for tick in choose_ticks(self.low, self.high, 5) if self.low <= tick <= self.high]
        texts = [
            Markup('<text x="{}" y="13">{}</text>').format(self.place(tick), shorten(tick).replace("-", "−"))
            for tick in inside
        ]
        return Markup('<svg class="forest scale" role="img" aria-label="scale">{}</svg>').format(Markup("").join(texts))

    def draw_whisker(self, title: str, mean: float, interval: tuple[float, float]) -> Markup:
        """A dot with its interval beside the line of zero; a ring if the interval holds zero."""
        low, high = interval
        style = "ring" if low <= 0 <= high else "dot"
        return Markup(
            '<svg class="forest" role="img" aria-label="{}"><line class="origin" x1="{z}" x2="{z}" y1="0" y2="100%"/>'
            '<line class="whisker" x1="{}" x2="{}" y1="50%" y2="50%"/>'
            '<circle class="{}" cx="{}" cy="50%" r="4.5"/></svg>'
        ).format(title, self.place(low), self.place(high), style, self.place(mean), z=self.place(0.0))
