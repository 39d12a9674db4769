"""What runs cost, by their rows of metrics.jsonl: time, memory, and the work of the models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

Clock = Literal["seconds", "cpu_seconds"]
SELECT = "select"
"""The phase in which models are scored for a curriculum."""
_MEMORY = ("extra_memory_bytes", "model_bytes")


def measure_time(rows: Iterable[Mapping[str, Any]], selecting: Mapping[int, float], clock: Clock) -> dict[int, float]:
    """Time of selecting and training until the end of each step; 0 at step 0.

    Args:
        rows: of metrics.jsonl, in the order of steps.
        selecting: the step before which examples were selected, and what that took by this clock.
        clock: the clock that the time is measured by.
    """
    total, found = 0.0, {0: 0.0}
    for row in rows:
        total = total + selecting.get(row["step"] - 1, 0.0) + sum(_list_phases(row, clock).values())
        found[row["step"]] = total
    return found


def add_up_costs(rows: Sequence[Mapping[str, Any]], selecting: Mapping[Clock, Mapping[int, float]]) -> dict[str, Any]:
    """What a run cost, as in the record of a comparison.

    Args:
        rows: of metrics.jsonl.
        selecting: by clock, as for `measure_time`.
    """
    work: dict[str, Counter[str]] = {}
    for row in rows:
        for who, counts in row.get("work", {}).items():
            work.setdefault(who, Counter()).update(counts)
    return {
        "examples": sum(row.get("num_prompts") or 0 for row in rows),
        "answer_tokens_learned_from": sum(row.get("num_answer_tokens") or 0 for row in rows),
        "work": {who: dict(counts) for who, counts in work.items()},
        "seconds_by_phase": _add_up_phases(rows, selecting, "seconds"),
        "cpu_seconds_by_phase": _add_up_phases(rows, selecting, "cpu_seconds"),
        "extra_memory_bytes": max((row.get("extra_memory_bytes") or 0 for row in rows), default=0),
        "model_bytes": max((sum(row.get("model_bytes", {}).values()) for row in rows), default=0),
    }


def _add_up_phases(
    rows: Sequence[Mapping[str, Any]], selecting: Mapping[Clock, Mapping[int, float]], clock: Clock
) -> dict[str, float]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update(_list_phases(row, clock))
    for taken in selecting[clock].values():
        total.update({SELECT: taken})
    return dict(total)


def _list_phases(row: Mapping[str, Any], clock: Clock) -> dict[str, float]:
    """Time by phase. Decoding counts with the seconds that it took when it was done: runs of a comparison share it."""
    by_phase: dict[str, float] = row[f"{clock}_by_phase"]
    if clock == "cpu_seconds":
        return by_phase
    decoded = row.get("seconds_to_decode")
    return by_phase | {"decode": by_phase.get("decode", 0.0) if decoded is None else decoded}


def average_ledgers(ledgers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of numbers in the same places of nested tables; of memory, the most."""
    mean: dict[str, Any] = {}
    for key in dict.fromkeys(key for ledger in ledgers for key in ledger):
        values = [ledger.get(key, 0) for ledger in ledgers]
        if any(isinstance(value, Mapping) for value in values):
            mean[key] = average_ledgers([value for value in values if isinstance(value, Mapping)])
        else:
            mean[key] = max(values) if key in _MEMORY else sum(values) / len(values)
    return mean
