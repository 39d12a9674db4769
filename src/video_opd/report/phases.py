"""Where the time goes: the parts of it, what they are called, and the colour of each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import get_args

from video_opd.files.run_records import TEACHER_CHANGE, StepMetrics, StepPhase
from video_opd.runs.run_costs import SELECT

_BATCH: tuple[str, ...] = get_args(StepPhase)
"""The place of each is the number of its colour."""
_REST = 7
"""The colour of what no phase claims."""
_NAMES = {SELECT: "select examples"}
_COLOURS = {name: colour for colour, name in enumerate(_BATCH)} | {SELECT: 8, TEACHER_CHANGE: 9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the time."""

    name: str
    """As it is called on the page."""
    colour: int
    seconds: float = 0.0
    share: float = 0.0
    """Of the whole, 0 to 1."""


def sort_phases(names: Collection[str]) -> list[str]:
    """Phases as they follow one another; unknown ones come last."""
    known = [name for name in (SELECT, *_BATCH, TEACHER_CHANGE) if name in names]
    return known + [name for name in names if name not in _COLOURS]


def name_phase(phase: str) -> str:
    """What it is called on the page."""
    return _NAMES.get(phase, phase)


def choose_colours(phases: Sequence[str]) -> list[int]:
    """A phase looks the same wherever it is shown; unknown ones take the colours that are left, the palest first."""
    free = [colour for colour in range(_REST, -1, -1) if colour not in {_COLOURS.get(name) for name in phases}]
    strangers = [name for name in phases if name not in _COLOURS]
    return [_COLOURS[name] if name in _COLOURS else (free or [_REST])[strangers.index(name) % max(len(free), 1)]
            for name in phases]  # fmt: skip


def sum_time_by_phase(rows: Sequence[StepMetrics], *, elapsed: float, selecting: float) -> list[Phase]:
    """Seconds per phase over all steps, with what the clock saw and no phase claims.

    Args:
        elapsed: seconds of training.
        selecting: seconds of scoring models for the selections, which are no part of training.
    """
    seconds: dict[str, float] = {}
    for row in rows:
        for name, value in row.seconds_by_phase.items():
            seconds[name] = seconds.get(name, 0.0) + max(value, 0.0)
    if not any(seconds.values()):
        return []
    unclaimed = elapsed - sum(seconds.values())
    if unclaimed > 0.01 * sum(seconds.values()):
        seconds["anything else"] = unclaimed
    if selecting > 0:
        seconds[SELECT] = seconds.get(SELECT, 0.0) + selecting
    names, whole = sort_phases(seconds), sum(seconds.values())
    return [
        Phase(name=name_phase(name), colour=colour, seconds=seconds[name], share=seconds[name] / whole)
        for name, colour in zip(names, choose_colours(names), strict=True)
    ]
