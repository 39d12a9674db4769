"""One run of a comparison, read from its folder. Any program may have changed its files since they were written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from video_opd.data.manifest import read_manifest
from video_opd.errors import DataError
from video_opd.files.run_records import StepMetrics
from video_opd.files.strict_json import load_json
from video_opd.files.toml_text import load_toml
from video_opd.grounding import read_predictions, score
from video_opd.runs import RunDirectory, read_journal
from video_opd.runs.evaluation_files import list_validations, read_evaluation
from video_opd.runs.round_files import read_cost_of_selection
from video_opd.runs.run_costs import Clock, add_up_costs, measure_time

_RESTORE = "restore it from a copy, or move the folder of this run away and run the same command: it is done again"
_CLOCKS: tuple[Clock, ...] = get_args(Clock)
_ALWAYS = ("seconds_by_phase", "cpu_seconds_by_phase")
_SOMETIMES = (
    "seconds_to_decode", "num_prompts", "num_answer_tokens", "extra_memory_bytes", "model_bytes", "work",
)  # fmt: skip
"""Keys of a row of metrics.jsonl that a comparison adds up."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a comparison."""

    method: str
    learning_rate: float
    seed: int
    folder: Path

    @property
    def directory(self) -> RunDirectory:
        """The parts of the folder."""
        return RunDirectory(self.folder)

    @property
    def marker(self) -> Path:
        """Written when the run is done; says which manifests it saw."""
        return self.folder / "finished.json"

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do for the run."""
        return self.marker.exists()

    def read_evaluation(self, name: str) -> dict[str, Any] | None:
        """One file of `evaluation/`, if it is there.

        Raises:
            DataError: it is damaged.
        """
        path = self.directory.evaluation / f"{name}.json"
        return read_evaluation(path, remedy=_RESTORE) if path.exists() else None

    def read_environment(self) -> dict[str, Any]:
        """The versions and the machine at the first start.

        Raises:
            DataError: the file is not there or damaged.
        """
        path = self.directory.environment
        try:
            found = load_json(path.read_bytes())
            if not isinstance(found, dict) or not isinstance(found.get("device"), str):
                raise ValueError("it names no device")
        except (OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        return found

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one a step.

        Raises:
            DataError: one is missing, or has not the numbers that are added up.
        """
        rows = read_journal(self.directory.metrics)
        for step, row in enumerate(rows, start=1):
            if fault := _find_fault(row, step):
                raise _damaged(self.directory.metrics, f"the row of step {step}: {fault}")
        return rows

    @cached_property
    def selection_cost(self) -> dict[Clock, dict[int, float]]:
        """By clock: the time of scoring for a curriculum, by the step before which that was done."""
        rounds = self.directory.rounds
        return {clock: read_cost_of_selection(rounds, clock) for clock in _CLOCKS}

    @cached_property
    def curve(self) -> list[dict[str, float]]:
        """Step, seconds and CPU seconds of selecting and training until then, validation mIoU.

        Raises:
            DataError: a file of the run is damaged, or there is no evaluation.
        """
        seconds, cpu_seconds = (measure_time(self.rows, self.selection_cost[clock], clock) for clock in _CLOCKS)
        points = []
        for step, path in list_validations(self.directory.evaluation).items():
            if step not in seconds:
                raise _damaged(self.directory.metrics, f"it has no row of step {step}, and {path.name} is there")
            points.append(
                {
                    "step": step,
                    "seconds": seconds[step],
                    "cpu_seconds": cpu_seconds[step],
                    "miou": read_evaluation(path, remedy=_RESTORE)["scores"]["miou"],
                }
            )
        if not points:
            raise _damaged(self.directory.evaluation, "it holds no evaluation on the validation manifest")
        return points

    def refuse_other_steps(self, other: Run) -> None:
        """Refuse a run that was evaluated at other steps than another one of its method.

        Raises:
            DataError: it was.
        """
        mine, theirs = ([point["step"] for point in run.curve] for run in (self, other))
        if mine != theirs:
            step = min(set(mine) ^ set(theirs))
            lacking = self if step in theirs else other
            raise _damaged(lacking.directory.evaluation, f"it has no evaluation after step {step}, and other runs do")

    def count_validation_queries(self) -> int | None:
        """Count the queries that curves and learning rates are judged by; None: the file does not say it."""
        first = next(iter(list_validations(self.directory.evaluation).values()))
        count = read_evaluation(first, remedy=_RESTORE)["scores"].get("num_queries")
        return None if count is None else int(count)

    def read_last_validation_miou(self) -> float:
        """The mIoU on the validation manifest at the end, by which a learning rate is chosen."""
        return self.curve[-1]["miou"]

    @cached_property
    def ledger(self) -> dict[str, Any]:
        """Return what the run cost: time, memory and work of the models."""
        updates = load_toml(self.directory.recipe.read_text(encoding="utf-8"))["training"]["updates_per_batch"]
        steps = updates * sum(row.get("num_answer_tokens", 0) > 0 for row in self.rows)
        return {"optimiser_steps": steps} | add_up_costs(self.rows, self.selection_cost)

    def read_data_sha256(self) -> str:
        """Of the manifests the run was trained with."""
        return str(load_json(self.marker.read_text(encoding="utf-8"))["data_sha256"])

    def read_test_ious(self, who: str = "student-after") -> tuple[tuple[str, ...], np.ndarray]:
        """Read the ids of the test queries, and the IoU of the answer to each.

        Args:
            who: name of the evaluation, such as `teacher`.
        """
        recipe = load_toml(self.directory.recipe.read_text(encoding="utf-8"))
        predictions = read_predictions(self.directory.evaluation / f"{who}.predictions.jsonl")
        by_id = score(predictions, read_manifest(Path(recipe["data"]["test"])), num_resamples=1).iou_by_id
        return tuple(by_id), np.array(list(by_id.values()))


def _find_fault(row: Mapping[str, Any], step: int) -> str:
    """What is wrong with a row of metrics.jsonl; empty where nothing is."""
    if row.get("step") != step:
        return f"it is missing, and one of step {row.get('step')} is in its place"
    missing = [key for key in _ALWAYS if key not in row]
    if missing:
        return f"it has no {missing[0]}"
    read = StepMetrics.from_json(row).to_json()
    wrong = [key for key in (*_ALWAYS, *_SOMETIMES) if key in row and read.get(key) != row[key]]
    return f"its {wrong[0]} is not made of numbers" if wrong else ""


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged", reason=reason, remedy=_RESTORE)
