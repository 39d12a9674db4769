"""One run from beginning to end: score the student, train it, score it again, write the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from video_opd.assemble import assemble, environment, load_student, make_source, prepare_compute, prepare_data
from video_opd.data.manifest import read_manifest
from video_opd.evaluation.evaluate import Evaluation, evaluate, write_predictions
from video_opd.policy.load import Policy
from video_opd.recipe import Recipe
from video_opd.report import write_report
from video_opd.runs.directory import RunDirectory
from video_opd.runs.durable import write_durably
from video_opd.training.loop import train
from video_opd.vocabulary import Example

MAY_CHANGE = frozenset(
    {"compute.threads", "compute.evaluation_batch_size", "data.workers", "schedule.keep_checkpoints"}
)
"""Keys that may differ when a run goes on: they change its speed."""


def run_recipe(recipe: Recipe, out: Path, *, evaluate_teacher: bool = False) -> dict[str, Any]:
    """Train by a recipe into the folder `out`, or go on where an earlier call stopped.

    Returns:
        `student_before`, `student_after` and, if asked for, `teacher`: scores on the test manifest (None without one);
        `steps`, `train_seconds`, `run`.

    Raises:
        Interrupted: a signal asked for a stop; the state is saved.
        UserError: anything the user can mend.
    """
    console = Console(stderr=True)
    prepare_compute(recipe.compute)
    with RunDirectory.create_or_resume(
        out, recipe_toml=recipe.to_toml(), environment=environment(), ignore_keys=MAY_CHANGE
    ) as run:
        if recipe.data.tiny_world is not None and not recipe.data.train.exists():
            console.print("rendering the tiny world's clips", highlight=False)
        prepare_data(recipe.data)
        test = read_manifest(recipe.data.test) if recipe.data.test else []
        results: dict[str, Any] = {}
        if test:
            results["student_before"] = _test(recipe, run, "student-before", test, None, console)
        parts, state = assemble(recipe, run)
        if test and evaluate_teacher:
            results["teacher"] = _test(recipe, run, "teacher", test, parts.teacher, console)
        if state.step:
            console.print(f"going on after step {state.step} of {parts.learner.total_steps}", highlight=False)
        train(parts, state, run)
        if test:
            results["student_after"] = _test(recipe, run, "student-after", test, parts.student, console)
        write_report(run.path)
        return results | {"steps": state.step, "train_seconds": state.seconds, "run": str(run.path)}


def _test(
    recipe: Recipe, run: RunDirectory, name: str, examples: Sequence[Example], policy: Policy | None, console: Console
) -> dict[str, Any]:
    """Scores on the test manifest, from the run folder if they are there already."""
    path = run.evaluation / f"{name}.json"
    if not path.exists():
        policy = policy or load_student(recipe, recipe.student.model)
        evaluation = evaluate_with_bar(recipe, policy, examples, name.replace("-", ", "), console)
        write_predictions(run.evaluation / f"{name}.predictions.jsonl", evaluation)
        report = evaluation.to_report(name=name, step=None, split="test", model=policy.name)
        write_durably(path, (json.dumps(report, indent=2) + "\n").encode())
    scores: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["scores"]
    return scores


def evaluate_with_bar(
    recipe: Recipe, policy: Policy, examples: Sequence[Example], title: str, console: Console
) -> Evaluation:
    """Evaluate under a progress bar on stderr; one plain line without a terminal."""
    source = make_source(recipe, policy, examples)
    if not console.is_terminal:
        console.print(f"evaluating {title} on {len(examples)} queries", highlight=False)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar, closing(source):
        task = bar.add_task(f"evaluating {title}", total=len(examples))
        return evaluate(
            policy,
            examples,
            source,
            max_new_tokens=recipe.answers.max_new_tokens,
            batch_size=recipe.compute.evaluation_batch_size,
            on_batch=lambda count: bar.advance(task, count),
        )
