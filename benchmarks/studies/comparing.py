"""What the results of a study say about two of its methods, in figures and in words."""

from __future__ import annotations

from typing import Any, NamedTuple

Results = dict[str, Any]


class Gap(NamedTuple):
    """The difference of two mIoUs with half of its 95 % interval."""

    mean: float
    reach: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.reach

    def __str__(self) -> str:
        return f"{round(self.mean, 3) + 0.0:+.3f} ± {self.reach:.3f}"  # no -0.000


def gap(results: Results | None, one: str, other: str) -> Gap | None:
    """`one` less `other`; None where one of them was not run."""
    for each in results["differences"] if results else ():
        for sign, pair in ((1, (one, other)), (-1, (other, one))):
            if (each["one"], each["other"]) == pair and each["interval"]:
                return Gap(sign * each["mean"], (each["interval"][1] - each["interval"][0]) / 2)
    return None


def miou(results: Results, method: str) -> float:
    """Mean over seeds, on the test queries."""
    return float(results["methods"][method]["test_miou"]["mean"])


def mious(results: Results, method: str) -> list[float]:
    """Of each run of a method, on the test queries."""
    return [run["scores"]["miou"] for run in results["methods"][method]["runs"]]


def step_figure(results: Results, method: str, key: str) -> float | None:
    """Mean over seeds of a figure about a run's steps."""
    values = [run["steps"].get(key) for run in results["methods"][method]["runs"]]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def phase_ms(results: Results, method: str, phase: str) -> float:
    """CPU milliseconds of a phase in one step, mean over seeds."""
    ledger = results["methods"][method]["ledger"]
    return float(1000 * ledger["cpu_seconds_by_phase"].get(phase, 0.0) / ledger["optimiser_steps"])


def verdict(one: str, other: str, difference: Gap) -> str:
    """A sentence that compares two methods."""
    if not difference.is_clear:
        return f"{one} and {other} show no clear difference ({difference})."
    return f"{one} is {'better' if difference.mean > 0 else 'worse'} than {other} ({difference})."
