"""Video-OPD on the tiny world: five seeds, sampled and exact, on a test set that chose nothing.

    python benchmarks/tiny_world.py --out runs/benchmark [--seeds 0 1 2 3 4] [--estimators sampled exact]

Each run is the recipe recipes/tiny-opd.toml with another seed (order of the examples, sampled answers). The test set is
never looked at but to report. Prints the table of the README as JSON; runs that are there already are not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from video_opd.config.recipe_file import load_recipe
from video_opd.demo import find_bundled_recipe
from video_opd.runs import read_json
from video_opd.train.run import run_recipe

SCORES = ("miou", "r1@0.3", "r1@0.5", "r1@0.7", "output_format_rate")


def run(out: Path, estimator: str, seed: int) -> dict[str, Any]:
    """One run, or its results if it is there."""
    world = out / "world"
    recipe = load_recipe(
        find_bundled_recipe("tiny-opd"),
        {
            "name": f"benchmark-{estimator}-{seed}",
            "seed": str(seed),
            "method.estimator": estimator,
            "data.tiny_world.render": "true",
            "data.videos": str(world / "videos"),
            **{f"data.{split}": str(world / f"{split}.jsonl") for split in ("train", "validation", "test")},
        },
    )
    folder = out / f"{estimator}-{seed}"
    results = run_recipe(recipe, folder, evaluate_teacher=True)
    before = read_json((folder / "evaluation" / "student-before.json").read_bytes())
    return results | {"best_constant": before["best_constant"]}


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    table: dict[str, Any] = {}
    for name in SCORES:
        values = [result["student_after"][name] for result in results]
        table[name] = {"mean": statistics.mean(values), "sd": statistics.stdev(values) if len(values) > 1 else 0.0}
    table["train_seconds"] = statistics.mean(result["train_seconds"] for result in results)
    return table


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--estimators", nargs="+", default=["sampled", "exact"])
    arguments = parser.parse_args()
    results = {name: [run(arguments.out, name, seed) for seed in arguments.seeds] for name in arguments.estimators}
    first = results[arguments.estimators[0]][0]
    report = {
        "num_test_queries": first["student_before"]["num_queries"],
        "best_constant_answer": first["best_constant"],
        "student_before": first["student_before"],
        "teacher": first["teacher"],
        **{name: summary(runs) for name, runs in results.items()},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
