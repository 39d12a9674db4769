"""`demo`, `train`, `compare`, `doctor`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any

from cyclopts import Parameter

from video_opd.cli.argument_types import (
    DEFAULT_OPTIONS,
    DecodeHere,
    Json,
    Positive,
    Rates,
    RecipeKeys,
    RecipeName,
    RecipeOptions,
    TrackerName,
    Whole,
    load_plugins,
)
from video_opd.cli.path_roles import GoesOn
from video_opd.terminal import show


def demo(
    *, out: GoesOn = Path("runs/demo"), seed: Whole | None = None, steps: Positive | None = None, json: Json = False
) -> int:
    """Watch a tiny model learn when things happen (about two minutes on a CPU).

    Args:
        out: run folder
        seed: seed of the training run (default: 0)
        steps: optimiser steps (default: 60)

    Example:
        video-opd demo
    """
    from video_opd.demo import describe_next_steps, run_demo
    from video_opd.train.interruption import Interrupted

    try:
        results = run_demo(out, seed=seed, steps=steps)
    except Interrupted as stop:
        return _report_stop(stop)
    if json:
        results.pop("side_questions", None)  # they are in the run folder; the object keeps its documented keys
        return _report_results(results, as_json=True)
    status = _report_results(results, as_json=False)
    show(f"\n{describe_next_steps(out)}", end="")
    return status


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunChoices:
    """Options of a run that are not in its recipe."""

    out: GoesOn | None = None
    """run folder (default: runs/NAME of the recipe)"""
    name: str | None = None
    """name of the run"""
    seed: Whole | None = None
    """seed of the run"""
    steps: Positive | None = None
    """optimiser steps"""
    tracker: TrackerName | None = None
    restart: bool = False
    """begin again at step 1 where the checkpoints of the run are lost; the old files are set aside"""
    accept_changed: list[str] | None = None
    """go on although these inputs have changed since the run was begun (train, validation, test, student, teacher,
    videos …); the change is recorded"""
    restarts: Positive | None = None
    """start again after a crash, at most so often; not after a mistake or a signal that asks for a stop"""
    decode_here: DecodeHere = False

    def as_keys(self) -> dict[str, str]:
        """The options as recipe keys."""
        said = {"name": self.name, "seed": self.seed, "training.steps": self.steps, "tracker.name": self.tracker}
        return {key: str(value) for key, value in said.items() if value is not None}


AS_THE_RECIPE_SAYS = RunChoices()


def train(
    recipe: RecipeName,
    /,
    *,
    run: RunChoices = AS_THE_RECIPE_SAYS,
    options: RecipeOptions = DEFAULT_OPTIONS,
    keys: RecipeKeys,
) -> int:
    """Train with a recipe, or continue an interrupted run.

    Args:
        recipe: TOML file, or the name of a shipped recipe

    Example:
        video-opd train tiny-opd --out runs/tiny --training.learning-rate 5e-4
    """
    from video_opd.config.recipe_file import load_recipe

    load_plugins(options.plugin)
    read = load_recipe(recipe, {**keys, **run.as_keys()}, are_flags=True)
    out = run.out or Path("runs") / read.name
    if run.restarts:
        from video_opd.cli.supervision import supervise_command

        return supervise_command(out, run.restarts, begins_again=run.restart)

    from video_opd.train.interruption import Interrupted
    from video_opd.train.run import run_recipe

    try:
        results = run_recipe(read, out, restart=run.restart, accept_changed=run.accept_changed or ())
    except Interrupted as stop:
        return _report_stop(stop)
    return _report_results(results, as_json=options.json)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ComparisonChoices:
    """Options of a comparison that are not in its file."""

    out: GoesOn | None = None
    """folder (default: runs/NAME of the comparison)"""
    seeds: list[Whole] | None = None
    """seeds, instead of those in the file"""
    methods: list[str] | None = None
    """only these methods of the file"""
    learning_rates: Rates | None = None
    """learning rates to try, instead of those in the file; none: no sweep"""
    tracker: TrackerName | None = None
    restarts: Positive | None = None
    """start again after a crash, at most so often; not after a mistake or a signal that asks for a stop"""
    decode_here: DecodeHere = False


AS_THE_FILE_SAYS = ComparisonChoices()


def compare(
    recipe: RecipeName,
    /,
    *,
    of: ComparisonChoices = AS_THE_FILE_SAYS,
    options: RecipeOptions = DEFAULT_OPTIONS,
    keys: RecipeKeys,
) -> int:
    """Run several methods on the same data, student and seeds, and compare them.

    Args:
        recipe: TOML file of a comparison, or the name of a shipped one

    Example:
        video-opd compare compare-tiny --out runs/compare --seeds 0 1 --methods opd grpo
    """
    from video_opd.config.comparison_recipe import load_comparison

    load_plugins(options.plugin)
    tracker = {} if of.tracker is None else {"tracker.name": of.tracker}
    read, tables = load_comparison(
        recipe, {**keys, **tracker}, only=of.methods, seeds=of.seeds, learning_rates=of.learning_rates
    )
    out = of.out or Path("runs") / read.name
    if of.restarts:
        from video_opd.cli.supervision import supervise_command

        return supervise_command(out, of.restarts)

    from video_opd.compare import compare
    from video_opd.train.interruption import Interrupted

    try:
        results = compare(read, tables, out)
    except Interrupted as stop:
        return _report_stop(stop)
    if options.json:
        show(dumps(results))
    else:
        from video_opd.cli.result_tables import show_comparison

        show_comparison(results, out)
    return 0


def doctor(
    recipe: RecipeName,
    /,
    *,
    examples: Positive = 8,
    options: RecipeOptions = DEFAULT_OPTIONS,
    keys: RecipeKeys,
) -> int:
    """Check models, prompts and teacher before a long training, and compare the settings with those of the paper.

    Args:
        recipe: TOML file, or the name of a shipped recipe
        examples: number of examples of each manifest whose videos are decoded; the models answer the training ones

    Example:
        video-opd doctor tiny-opd
    """
    from video_opd.config.recipe_file import load_recipe

    load_plugins(options.plugin)
    read = load_recipe(recipe, dict(keys), are_flags=True)

    from video_opd.doctor import examine
    from video_opd.doctor.published_settings import compare_with_published

    findings, published = examine(read, num_examples=examples), compare_with_published(read)
    failed = sum(finding.verdict == "fail" for finding in findings)
    if options.json:
        report = {
            "recipe": str(recipe),
            "failed": failed,
            "findings": [f.to_dict() for f in findings],
            "published": published and published.to_dict(),
        }
        show(dumps(report, indent=2))
    else:
        from video_opd.cli.result_tables import show_findings, show_published

        show_findings(findings)
        show_published(published)
    return 1 if failed else 0


def _report_stop(stop: Any) -> int:
    show(f"video-opd: {stop}. Run the same command to go on.", file=sys.stderr)
    return int(stop.exit_code)


def _report_results(results: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        show(dumps(results))
    else:
        from video_opd.cli.result_tables import show_run

        show_run(results)
    return 0
