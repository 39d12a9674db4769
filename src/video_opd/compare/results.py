"""From run folders to numbers side by side: curves, scores, differences, and what each method cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from video_opd.compare.estimates import SeedNoise, estimate, mean_and_sd
from video_opd.compare.sentences import write_sentences
from video_opd.config.comparison_recipe import ComparisonRecipe
from video_opd.data.manifest import read_manifest
from video_opd.files.comparison_records import Comparison
from video_opd.files.strict_json import load_json
from video_opd.files.toml_text import load_toml
from video_opd.grounding import read_predictions, score
from video_opd.runs import RunDirectory, read_journal
from video_opd.runs.evaluation_files import read_evaluation
from video_opd.runs.round_files import read_cost_of_selection

_RESTORE = "restore it from a copy, or move the folder of this run away and run the same command: it is done again"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a comparison, read from its folder."""

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
        """One file of `evaluation/`, if it is there."""
        path = self.directory.evaluation / f"{name}.json"
        return read_evaluation(path, remedy=_RESTORE) if path.exists() else None

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one a step."""
        return read_journal(self.directory.metrics)

    @cached_property
    def selection_cost(self) -> tuple[dict[int, float], dict[int, float]]:
        """Seconds and CPU seconds of scoring for a curriculum, by the step before which that was done."""
        rounds = self.directory.rounds
        return read_cost_of_selection(rounds, "seconds"), read_cost_of_selection(rounds, "cpu_seconds")

    @cached_property
    def curve(self) -> list[dict[str, float]]:
        """Step, seconds and CPU seconds of selecting and training until then, validation mIoU."""
        seconds, cpu_seconds = {0: 0.0}, {0: 0.0}
        for row in self.rows:
            step, selecting = row["step"], [cost.get(row["step"] - 1, 0.0) for cost in self.selection_cost]
            seconds[step] = seconds[step - 1] + selecting[0] + sum(_seconds(row).values())
            cpu_seconds[step] = cpu_seconds[step - 1] + selecting[1] + sum(row["cpu_seconds_by_phase"].values())
        found = (read_evaluation(path, remedy=_RESTORE) for path in
                 sorted(self.directory.evaluation.glob("validation-*.json")))  # fmt: skip
        return [
            {
                "step": each["step"],
                "seconds": seconds[each["step"]],
                "cpu_seconds": cpu_seconds[each["step"]],
                "miou": each["scores"]["miou"],
            }
            for each in found
        ]

    def read_last_validation_miou(self) -> float:
        """The mIoU on the validation manifest at the end, by which a learning rate is chosen."""
        return self.curve[-1]["miou"]

    @cached_property
    def ledger(self) -> dict[str, Any]:
        """Return what the run cost: time, memory and work of the models."""
        work: dict[str, Counter[str]] = {}
        for row in self.rows:
            for who, counts in row.get("work", {}).items():
                work.setdefault(who, Counter()).update(counts)
        selecting = [[{"select": cost} for cost in costs.values()] for costs in self.selection_cost]
        updates = load_toml(self.directory.recipe.read_text(encoding="utf-8"))["training"]["updates_per_batch"]
        return {
            "optimiser_steps": updates * sum(row.get("num_answer_tokens", 0) > 0 for row in self.rows),
            "examples": sum(row.get("num_prompts", 0) for row in self.rows),
            "answer_tokens_learned_from": sum(row.get("num_answer_tokens", 0) for row in self.rows),
            "work": {who: dict(counts) for who, counts in work.items()},
            "seconds_by_phase": _totals([*map(_seconds, self.rows), *selecting[0]]),
            "cpu_seconds_by_phase": _totals([*(row["cpu_seconds_by_phase"] for row in self.rows), *selecting[1]]),
            "extra_memory_bytes": max((row.get("extra_memory_bytes", 0) for row in self.rows), default=0),
            "model_bytes": max((sum(row.get("model_bytes", {}).values()) for row in self.rows), default=0),
        }

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


def _seconds(row: dict[str, Any]) -> dict[str, float]:
    """Wall seconds by phase, with decoding at what it cost when it was done: runs of a comparison share it."""
    by_phase: dict[str, float] = row["seconds_by_phase"]
    return by_phase | {"decode": row.get("seconds_to_decode", by_phase.get("decode", 0.0))}


def _totals(tables: Any) -> dict[str, float]:
    totals: Counter[str] = Counter()
    for table in tables:
        totals.update(table)
    return dict(totals)


def read_results(recipe: ComparisonRecipe, finals: Sequence[Run], sweep: Sequence[Run]) -> dict[str, Any]:
    """Put together everything that the page and the sentences are made of, as JSON.

    Args:
        recipe: of the comparison.
        finals: every method with every seed.
        sweep: the runs by which learning rates were chosen.
    """
    by_method = {name: [run for run in finals if run.method == name] for name in recipe.methods}
    first = finals[0]
    before = first.read_evaluation("student-before")
    judged_by = [run.read_evaluation("teacher") for run in finals]
    teachers = {each["model"]: each for each in judged_by if each is not None}
    devices = sorted({load_json(run.directory.environment.read_text(encoding="utf-8"))["device"] for run in finals})
    results: dict[str, Any] = {
        "name": recipe.name,
        "seeds": list(recipe.seeds),
        "device": ", ".join(devices),
        "num_devices": len(devices),
        "time": "seconds" if "cuda" in _device_setting(first) else "cpu_seconds",
        "target_miou": recipe.target_miou,
        "num_validation_queries": _count_validation_queries(first),
        "data_sha256": first.read_data_sha256(),
        "student_before": before,
        "teacher": next(iter(teachers.values())) if len(teachers) == 1 else None,
        "sweep": [
            {
                "method": run.method,
                "learning_rate": run.learning_rate,
                "seed": run.seed,
                "validation_miou": run.read_last_validation_miou(),
                "side_questions": (run.read_evaluation("student-after") or {}).get("side_questions"),
            }
            for run in sweep
        ],
        "methods": {name: _summarise_method(runs, recipe.target_miou) for name, runs in by_method.items()},
    }
    if before is not None:
        ious = {name: _stack_ious(runs) for name, runs in by_method.items()}
        noise = SeedNoise.from_scores(ious)
        for name, table in ious.items():
            results["methods"][name]["test_miou"] = estimate(table, noise)
            if (by_method[name][0].directory.evaluation / "teacher.predictions.jsonl").exists():
                _, its_teacher = by_method[name][0].read_test_ious("teacher")
                results["methods"][name]["over_its_teacher"] = estimate(table - its_teacher, noise)
        names = list(ious)
        results["differences"] = [
            {"one": one, "other": other, **estimate(ious[one] - ious[other], noise, num_methods=2)}
            for number, one in enumerate(names)
            for other in names[number + 1 :]
        ]
    results["sentences"] = write_sentences(results)
    return Comparison(**results).to_json()


def _count_validation_queries(run: Run) -> int | None:
    """Count the queries that curves and learning rates are judged by; None: there was no evaluation during training."""
    files = sorted(run.directory.evaluation.glob("validation-*.json"))
    return int(load_json(files[0].read_text(encoding="utf-8"))["scores"]["num_queries"]) if files else None


def _device_setting(run: Run) -> str:
    device = load_toml(run.directory.recipe.read_text(encoding="utf-8"))["compute"]["device"]
    environment = load_json(run.directory.environment.read_text(encoding="utf-8"))
    return str(environment.get("accelerator", "cpu") if device == "auto" else device)


def _stack_ious(runs: Sequence[Run]) -> np.ndarray:
    """(seeds, queries), the queries in the same order in all."""
    read = [run.read_test_ious() for run in runs]
    assert all(ids == read[0][0] for ids, _ in read)
    return np.stack([ious for _, ious in read])


def _summarise_method(runs: Sequence[Run], target_miou: float | None) -> dict[str, Any]:
    """Put together one method over its seeds."""
    after = [run.read_evaluation("student-after") for run in runs]
    method: dict[str, Any] = {
        "learning_rate": runs[0].learning_rate,
        "runs": [
            {
                "seed": run.seed,
                "folder": f"runs/{run.folder.name}",
                "curve": run.curve,
                "scores": each["scores"] if each else None,
                "side_questions": each.get("side_questions") if each else None,
                "ledger": run.ledger,
            }
            for run, each in zip(runs, after, strict=True)
        ],
        "curve": [
            {
                "step": points[0]["step"],
                "seconds": mean_and_sd([point["seconds"] for point in points]),
                "cpu_seconds": mean_and_sd([point["cpu_seconds"] for point in points]),
                "miou": mean_and_sd([point["miou"] for point in points])
                | {"lowest": min(point["miou"] for point in points), "highest": max(point["miou"] for point in points)},
            }
            for points in zip(*(run.curve for run in runs), strict=True)
        ],
        "ledger": average_ledgers([run.ledger for run in runs]),
    }
    if all(after):
        names = [name for name in (after[0] or {})["scores"] if name != "num_queries"]
        method["scores"] = {name: mean_and_sd([each["scores"][name] for each in after if each]) for name in names}
        if all(each and "side_questions" in each for each in after):
            accuracies = [each["side_questions"]["accuracy"] for each in after if each]
            method["side_questions"] = mean_and_sd(accuracies)
    if target_miou is not None:
        method["to_target"] = [_find_target(run.curve, target_miou) for run in runs]
    return method


def _find_target(curve: Sequence[dict[str, float]], target_miou: float) -> dict[str, float] | None:
    """Find the first evaluation with a validation mIoU of at least the target; None: there is none."""
    return next((dict(point) for point in curve if point["miou"] >= target_miou), None)


def average_ledgers(ledgers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of numbers in the same places of nested tables; of memory, the most."""
    mean: dict[str, Any] = {}
    for key in dict.fromkeys(key for ledger in ledgers for key in ledger):
        values = [ledger.get(key, 0) for ledger in ledgers]
        if any(isinstance(value, dict) for value in values):
            mean[key] = average_ledgers([value for value in values if isinstance(value, dict)])
        else:
            mean[key] = max(values) if key in ("extra_memory_bytes", "model_bytes") else sum(values) / len(values)
    return mean
