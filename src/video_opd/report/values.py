"""Values of files that anybody may have written: what is not as expected is a missing value, never an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from video_opd.types import Span


def number(value: object) -> float | None:
    """The value if it is a finite number, and one that can be calculated with without overflow; else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a table, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listed(value: object) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def interval(value: object) -> tuple[float, float] | None:
    """The value if it is a list of two numbers."""
    if isinstance(value, list) and len(value) == 2:
        low, high = number(value[0]), number(value[1])
        if low is not None and high is not None:
            return low, high
    return None


def span(value: object) -> Span | None:
    """The value as a span if it is a list of two numbers."""
    ends = interval(value)
    return None if ends is None else Span(*ends)


def spans(value: object) -> tuple[Span, ...]:
    """The spans in a list; what is none is left out."""
    return tuple(found for found in map(span, listed(value)) if found is not None)
