"""From run folders to numbers side by side: curves, scores, differences, and what each method cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from video_opd.compare.compared_run import Run
from video_opd.compare.estimates import SeedNoise, estimate, mean_and_sd
from video_opd.compare.sentences import write_sentences
from video_opd.config.comparison_recipe import ComparisonRecipe
from video_opd.files.comparison_records import Comparison
from video_opd.files.toml_text import load_toml
from video_opd.runs.run_costs import average_ledgers


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
    devices = sorted({run.read_environment()["device"] for run in finals})
    results: dict[str, Any] = {
        "name": recipe.name,
        "seeds": list(recipe.seeds),
        "device": ", ".join(devices),
        "num_devices": len(devices),
        "time": "seconds" if "cuda" in _device_setting(first) else "cpu_seconds",
        "target_miou": recipe.target_miou,
        "num_validation_queries": first.count_validation_queries(),
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


def _device_setting(run: Run) -> str:
    device = load_toml(run.directory.recipe.read_text(encoding="utf-8"))["compute"]["device"]
    return str(run.read_environment().get("accelerator", "cpu") if device == "auto" else device)


def _stack_ious(runs: Sequence[Run]) -> np.ndarray:
    """(seeds, queries), the queries in the same order in all."""
    read = [run.read_test_ious() for run in runs]
    assert all(ids == read[0][0] for ids, _ in read)
    return np.stack([ious for _, ious in read])


def _summarise_method(runs: Sequence[Run], target_miou: float | None) -> dict[str, Any]:
    """Put together one method over its seeds."""
    for run in runs[1:]:
        run.refuse_other_steps(runs[0])
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
        names = [name for name in names if all(each and name in each["scores"] for each in after)]
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
