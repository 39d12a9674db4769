"""`demo`, `train`, `compare`, `doctor`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from video_opd.commands.asking import Overrides


def demo(arguments: argparse.Namespace, _: Overrides) -> int:
    """Render, train, compare."""
    from video_opd.demo import run_demo
    from video_opd.train.interruption import Interrupted

    try:
        results = run_demo(arguments.out, seed=arguments.seed, steps=arguments.steps)
    except Interrupted as stop:
        return _stopped(stop)
    if arguments.json:
        results.pop("side_questions", None)  # they are in the run folder; the object has the keys it was promised with
    return _finished(results, arguments.json)


def train(arguments: argparse.Namespace, overrides: Overrides) -> int:
    """Train by a recipe."""
    from video_opd.config.recipe_file import load_recipe

    said = {"name": arguments.name, "seed": arguments.seed, "training.steps": arguments.steps}
    overrides |= {key: str(value) for key, value in said.items() if value is not None}
    recipe = load_recipe(arguments.recipe, overrides)

    from video_opd.train.interruption import Interrupted
    from video_opd.train.run import run_recipe

    try:
        results = run_recipe(recipe, arguments.out or Path("runs") / recipe.name)
    except Interrupted as stop:
        return _stopped(stop)
    return _finished(results, arguments.json)


def compare(arguments: argparse.Namespace, overrides: Overrides) -> int:
    """Several methods side by side."""
    from video_opd.config.comparison_recipe import load_comparison

    recipe, tables = load_comparison(
        arguments.recipe,
        overrides,
        only=arguments.methods,
        seeds=arguments.seeds,
        learning_rates=arguments.learning_rates,
    )

    from video_opd.compare import compare
    from video_opd.train.interruption import Interrupted

    out = arguments.out or Path("runs") / recipe.name
    try:
        results = compare(recipe, tables, out)
    except Interrupted as stop:
        return _stopped(stop)
    if arguments.json:
        print(json.dumps(results))
    else:
        from video_opd.terminal import show_comparison

        show_comparison(results, out)
    return 0


def doctor(arguments: argparse.Namespace, overrides: Overrides) -> int:
    """Pre-flight checks; exit status 1 if one failed."""
    from video_opd.config.recipe_file import load_recipe

    recipe = load_recipe(arguments.recipe, overrides)

    from video_opd.doctor import examine

    findings = examine(recipe, num_examples=arguments.examples)
    failed = sum(finding.verdict == "fail" for finding in findings)
    if arguments.json:
        report = {"recipe": str(arguments.recipe), "failed": failed, "findings": [f.to_dict() for f in findings]}
        print(json.dumps(report, indent=2))
    else:
        from video_opd.terminal import show_findings

        show_findings(findings)
    return 1 if failed else 0


def _stopped(stop: Any) -> int:
    print(f"video-opd: {stop}. Run the same command to go on.", file=sys.stderr)
    return int(stop.exit_code)


def _finished(results: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print(json.dumps(results))
    else:
        from video_opd.terminal import show_run

        show_run(results)
    return 0
