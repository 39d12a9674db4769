"""What comparison.json says, read with the assumption that any part of it may be missing or not as expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_opd.errors import ConfigurationError
from video_opd.report.run.answer_cards import visible
from video_opd.report.run.run_contents import Evaluation, as_evaluation
from video_opd.report.values import interval, listed, mapping, number
from video_opd.runs import read_json
from video_opd.sample_size import MIN_QUERIES

_LONGEST_NAME = 80

CLOCKS = {"cpu_seconds": "CPU time", "seconds": "training time"}
"""By key of comparison.json: the clocks that training can be measured by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean, with what was said about how sure it is."""

    mean: float
    sd: float | None = None
    """Over seeds."""
    interval: tuple[float, float] | None = None
    """Of 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where a method stood at one evaluation."""

    step: float
    seconds: float | None
    """Until then, by the clock of the comparison."""
    miou: float
    """On the validation queries, mean over seeds."""
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What one run of a method used up; means over seeds."""

    counts: dict[str, float]
    """`examples`, `optimiser_steps`, `answer_tokens_learned_from`, `extra_memory_bytes`, `model_bytes`."""
    work: dict[str, dict[str, float]]
    """By model, `student`, `teacher`, `reference`: `prompt_passes`, `answers_written` …"""
    seconds: dict[str, float]
    """By phase, by the clock of the comparison."""

    @property
    def total_seconds(self) -> float | None:
        """Of training."""
        return sum(self.seconds.values()) if self.seconds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method over its seeds."""

    name: str
    learning_rate: float | None
    curve: list[Point]
    scores: dict[str, Estimate]
    """On the test queries, by metric; of `miou` with the interval if there is one."""
    side_questions: Estimate | None
    ledger: Ledger
    reached: list[tuple[float, float | None] | None] | None
    """By seed: step and seconds of the first evaluation at the target, None for a seed that never was there. None
    without a target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """By how much the test mIoU of one method is above that of another."""

    one: str
    other: str
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of the sweep."""

    method: str
    learning_rate: float
    miou: float
    """On the validation queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonContents:
    """Everything the page is made of."""

    name: str
    seeds: list[str]
    device: str
    data_sha256: str
    clock: str
    """A key of `CLOCKS`."""
    target_miou: float | None
    before: Evaluation | None
    """The student before training, on the test queries."""
    before_side_questions: Estimate | None
    teacher: Evaluation | None
    teacher_side_questions: Estimate | None
    num_side_questions: int | None
    methods: list[Method]
    differences: list[Difference]
    sweep: list[Trial]
    sentences: list[str]


def read_comparison(folder: Path) -> ComparisonContents:
    """Read the comparison.json of a folder.

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
    if not isinstance(mapping(found).get("methods"), Mapping):
        raise ConfigurationError(f"{path} is not that of a comparison", reason="it names no methods", remedy=remedy)
    return _contents(found)


def _contents(found: Mapping[str, Any]) -> ComparisonContents:
    clock = next((clock for clock in CLOCKS if clock == found.get("time")), "seconds")
    before, teacher = mapping(found.get("student_before")), mapping(found.get("teacher"))
    asked = number(mapping(before.get("side_questions")).get("num_questions"))
    of_test = number(mapping(before.get("scores")).get("num_queries"))
    if of_test is not None and of_test < MIN_QUERIES:  # earlier versions wrote intervals
        found = {key: value for key, value in found.items() if key != "differences"}
    differences = [(each, _estimate(each)) for each in map(mapping, listed(found.get("differences")))]
    return ComparisonContents(
        name=_name(found.get("name", "")),
        seeds=[_name(seed) for seed in listed(found.get("seeds"))],
        device=_name(found.get("device") or ""),
        data_sha256=_name(found.get("data_sha256") or ""),
        clock=clock,
        target_miou=number(found.get("target_miou")),
        before=_evaluation("student-before", before),
        before_side_questions=_estimate(mapping(before.get("side_questions"))),
        teacher=_evaluation("teacher", teacher),
        teacher_side_questions=_estimate(mapping(teacher.get("side_questions"))),
        num_side_questions=None if asked is None else int(asked),
        methods=[_method(name, mapping(method), clock) for name, method in found["methods"].items()],
        differences=[
            Difference(one=_name(each.get("one")), other=_name(each.get("other")), estimate=estimate)
            for each, estimate in differences
            if estimate is not None and estimate.interval is not None
        ],
        sweep=[trial for trial in map(_trial, map(mapping, listed(found.get("sweep")))) if trial is not None],
        sentences=[visible(said) for said in listed(found.get("sentences")) if isinstance(said, str)],
    )


def _name(value: object) -> str:
    return visible(str(value), _LONGEST_NAME)


def _evaluation(name: str, found: Mapping[str, Any]) -> Evaluation | None:
    try:
        return as_evaluation(name, found)
    except ValueError:
        return None


def _method(name: str, found: Mapping[str, Any], clock: str) -> Method:
    scores = {key: _estimate(mapping(score)) for key, score in mapping(found.get("scores")).items()}
    # The one with an interval.
    scores["miou"] = _estimate(mapping(found.get("test_miou"))) or scores.get("miou")
    points = (_point(mapping(point), clock) for point in listed(found.get("curve")))
    reached = found.get("to_target")
    return Method(
        name=_name(name),
        learning_rate=number(found.get("learning_rate")),
        curve=[point for point in points if point is not None],
        scores={key: score for key, score in scores.items() if score is not None},
        side_questions=_estimate(mapping(found.get("side_questions"))),
        ledger=_ledger(mapping(found.get("ledger")), clock),
        reached=[_reached(mapping(each), clock) for each in reached] if isinstance(reached, list) else None,
    )


def _estimate(found: Mapping[str, Any]) -> Estimate | None:
    mean = number(found.get("mean", found.get("accuracy")))
    if mean is None:
        return None
    sd = number(found.get("sd_over_seeds", found.get("sd")))
    asked = number(found.get("num_questions", found.get("num_queries")))
    small = asked is not None and asked < MIN_QUERIES  # earlier versions wrote an interval
    return Estimate(mean=mean, sd=sd, interval=None if small else interval(found.get("interval")))


def _point(found: Mapping[str, Any], clock: str) -> Point | None:
    miou = mapping(found.get("miou"))
    step, mean = number(found.get("step")), number(miou.get("mean"))
    if step is None or mean is None:
        return None
    lowest, highest = number(miou.get("lowest")), number(miou.get("highest"))
    return Point(
        step=step,
        seconds=number(mapping(found.get(clock)).get("mean")),
        miou=mean,
        lowest=mean if lowest is None else lowest,
        highest=mean if highest is None else highest,
    )


def _reached(found: Mapping[str, Any], clock: str) -> tuple[float, float | None] | None:
    step = number(found.get("step"))
    return None if step is None else (step, number(found.get(clock)))


def _ledger(found: Mapping[str, Any], clock: str) -> Ledger:
    work = mapping(found.get("work"))
    return Ledger(
        counts=_numbers(found),
        work={_name(who): _numbers(mapping(counts)) for who, counts in work.items()},
        seconds={key: max(value, 0.0) for key, value in _numbers(mapping(found.get(f"{clock}_by_phase"))).items()},
    )


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    known = ((_name(key), number(value)) for key, value in found.items())
    return {key: value for key, value in known if value is not None}


def _trial(found: Mapping[str, Any]) -> Trial | None:
    rate, miou = number(found.get("learning_rate")), number(found.get("validation_miou"))
    if rate is None or miou is None:
        return None
    return Trial(method=_name(found.get("method")), learning_rate=rate, miou=miou)
