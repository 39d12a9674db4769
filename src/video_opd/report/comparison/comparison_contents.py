"""The comparison.json of a folder as a record, and what the page asks of it.

Any part of the file may be missing or not as expected; only a file that is no comparison is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video_opd.errors import ConfigurationError
from video_opd.files.comparison_records import Comparison, Difference, MethodResult, RunPoint
from video_opd.files.run_records import EvaluationReport
from video_opd.report.visible_text import make_visible
from video_opd.runs import read_json
from video_opd.runs.run_costs import Clock
from video_opd.sample_size import MIN_QUERIES

_LONGEST_NAME, _LONGEST_SENTENCE = 80, 400
_SENTENCES = ("sentences", "convention")

CLOCKS: dict[Clock, str] = {"cpu_seconds": "CPU time", "seconds": "training time"}
"""By key of comparison.json: the clocks that training can be measured by."""


def read_comparison(folder: Path) -> Comparison:
    """Read the comparison.json of a folder. No text in it is longer than a page can show, or plays tricks on it.

    Raises:
        ConfigurationError: there is none, or it is not one of a comparison.
    """
    path = folder / "comparison.json"
    remedy = "run `video-opd compare` again: runs that are finished are not repeated"
    try:
        found = read_json(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"{path} cannot be read", reason=reason, remedy=remedy) from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is broken", reason=f"it is not JSON ({error})", remedy=remedy) from error
    if not (isinstance(found, Mapping) and isinstance(found.get("methods"), Mapping)):
        raise ConfigurationError(f"{path} is not that of a comparison", reason="it names no methods", remedy=remedy)
    return Comparison.from_json(_make_texts_visible(found))


def _make_texts_visible(value: Any, longest: int = _LONGEST_NAME) -> Any:
    if isinstance(value, str):
        return make_visible(value, longest)
    if isinstance(value, list):
        return [_make_texts_visible(each, longest) for each in value]
    if isinstance(value, Mapping):
        limits = {key: _LONGEST_SENTENCE if key in _SENTENCES else longest for key in value}
        return {make_visible(key, _LONGEST_NAME): _make_texts_visible(each, limits[key]) for key, each in value.items()}
    return value


def choose_clock(found: Comparison) -> Clock:
    """The clock that training is measured by."""
    return "cpu_seconds" if found.time == "cpu_seconds" else "seconds"


def find_student_before(found: Comparison) -> EvaluationReport | None:
    """The student before training on the test queries, if it was evaluated."""
    return _keep_if_evaluated(found.student_before)


def find_teacher(found: Comparison) -> EvaluationReport | None:
    """The teacher of all methods on the test queries, if there is one and it was evaluated."""
    return _keep_if_evaluated(found.teacher)


def _keep_if_evaluated(found: EvaluationReport | None) -> EvaluationReport | None:
    return found if found is not None and found.is_evaluation else None


def seconds_by_phase(method: MethodResult, clock: str) -> dict[str, float]:
    """Seconds of training by phase, by the clock of the comparison."""
    ledger = method.ledger
    seconds = ledger.cpu_seconds_by_phase if clock == "cpu_seconds" else ledger.seconds_by_phase
    return {phase: max(value, 0.0) for phase, value in seconds.items()}


def seconds_until(point: RunPoint, clock: str) -> float | None:
    """Seconds of training until an evaluation, by the clock of the comparison."""
    return point.cpu_seconds if clock == "cpu_seconds" else point.seconds


def list_certain_differences(found: Comparison) -> list[tuple[Difference, tuple[float, float]]]:
    """The differences with their intervals; none with few test queries, where earlier versions wrote some."""
    before = found.student_before
    if before is not None and before.num_queries is not None and before.num_queries < MIN_QUERIES:
        return []
    return [(each, each.certain) for each in found.differences if each.certain is not None]
