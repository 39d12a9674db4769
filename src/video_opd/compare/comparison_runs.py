"""Every run of a comparison, once. Each is a run folder like any other; what is finished is not done again.

The same command started several times, on several devices, shares the work: a run that another process holds is left to
it. Whoever comes last puts the results together.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from video_opd.compare.compared_run import Run
from video_opd.compare.results import read_results
from video_opd.config import Recipe, WatchSettings
from video_opd.config.comparison_recipe import ComparisonRecipe, make_recipe
from video_opd.consoles import EscapingConsole
from video_opd.errors import ConfigurationError, explain_disk_failures, explain_write_errors
from video_opd.eval.progress_bar import say
from video_opd.files.durable import write_durably
from video_opd.files.outputs import refuse_foreign
from video_opd.files.strict_json import load_json
from video_opd.policy.description import require_device
from video_opd.ranks import join_job, num_started
from video_opd.report import write_comparison_report
from video_opd.report.page import refuse_foreign_page
from video_opd.runs.directory import RunDirectory
from video_opd.runs.inputs_file import read_inputs
from video_opd.runs.run_lock import RunInUse
from video_opd.train.build import describe_environment, find_device, prepare_compute, prepare_data, resolve_checkpoints
from video_opd.train.changed_inputs import refuse_changes
from video_opd.train.early_checks import refuse_early, refuse_unfit_job
from video_opd.train.input_identity import describe_differences, identify_inputs
from video_opd.train.run import identify_run, run_recipe
from video_opd.train.run_inputs import Inputs
from video_opd.train.shared_work import SharedWork

SECONDS_BETWEEN_LOOKS = 5.0
"""At a run that another process holds."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRuns:
    """Where its runs lie and what they are."""

    recipe: ComparisonRecipe
    tables: dict[str, Any]
    """The recipe all methods share, as tables."""
    out: Path
    shared: SharedWork = field(default_factory=SharedWork)
    console: Console = field(default_factory=lambda: EscapingConsole(stderr=True))

    def make_run(self, method: str, learning_rate: float | None, seed: int) -> tuple[Run, Recipe]:
        """Make the record and the recipe of one run; its folder is named after what differs."""
        recipe = resolve_checkpoints(make_recipe(self.recipe, self.tables, method, learning_rate, seed))
        rate = recipe.training.learning_rate
        folder = self.out / "runs" / f"{method}-lr{rate:g}-seed{seed}"
        return Run(method=method, learning_rate=rate, seed=seed, folder=folder), recipe

    def list_begun(self) -> Iterator[tuple[Run, Recipe]]:
        """List the runs that have a folder, of those that may belong to the comparison."""
        for method in self.recipe.methods:
            for rate in self.recipe.learning_rates or (None,):
                for seed in dict.fromkeys((*(self.recipe.sweep_seeds or ()), *self.recipe.seeds)):
                    run, recipe = self.make_run(method, rate, seed)
                    if run.folder.is_dir():
                        yield run, recipe

    def list_sweep(self) -> Iterator[tuple[Run, Recipe]]:
        """List the runs of every method at every learning rate that is tried."""
        seeds = self.recipe.sweep_seeds or self.recipe.seeds[:1]
        for method in self.recipe.methods:
            for rate in self.recipe.learning_rates:
                for seed in seeds:
                    yield self.make_run(method, rate, seed)

    def choose_rates(self) -> dict[str, float | None]:
        """Choose the learning rate of each method: the one with the best mean mIoU on the validation manifest at the
        end, the lowest of equals."""
        if not self.recipe.learning_rates:
            return dict.fromkeys(self.recipe.methods)
        by_rate: dict[str, dict[float, list[float]]] = {method: {} for method in self.recipe.methods}
        for run, _ in self.list_sweep():
            by_rate[run.method].setdefault(run.learning_rate, []).append(run.read_last_validation_miou())
        means = {
            method: {rate: sum(mious) / len(mious) for rate, mious in sorted(rates.items())}
            for method, rates in by_rate.items()
        }
        return {method: max(rates, key=rates.__getitem__) for method, rates in means.items()}

    def list_finals(self) -> Iterator[tuple[Run, Recipe]]:
        """List the runs of every method at its learning rate with every seed."""
        for method, rate in self.choose_rates().items():
            for seed in self.recipe.seeds:
                yield self.make_run(method, rate, seed)


@explain_disk_failures()
def compare(recipe: ComparisonRecipe, tables: dict[str, Any], out: Path) -> dict[str, Any]:
    """Run what is missing, and put the results together in `out/comparison.json` and `out/report.html`.

    Args:
        recipe: the methods, seeds and learning rates.
        tables: the recipe that all methods share, as tables.
        out: the folder of the comparison.

    Returns:
        What stands in comparison.json.

    Raises:
        Interrupted: a signal asked for a stop; what was done is kept.
        UserError: anything the user can mend, such as runs in the folder that saw other data.
    """
    comparison = ComparisonRuns(recipe=recipe, tables=tables, out=out)
    _refuse_foreign_results(out)
    plans = [comparison.make_run(method, rate, recipe.seeds[0]) for method in recipe.methods
             for rate in recipe.learning_rates or (None,)]  # fmt: skip
    for _, each in plans:
        refuse_unfit_job(each, num_started())
    compute = plans[0][1].compute
    prepare_compute(compute)  # or the environment of a finished run would look changed
    device = find_device(compute.device)
    require_device(device)
    join_job(device)  # from here on only the first process goes on
    for run, each in plans:  # what is wrong with the last run is known before the first is begun
        with contextlib.suppress(RunInUse):  # another process does it
            RunDirectory.refuse_unusable(run.folder, **identify_run(each))
    refuse_early(*(each for _, each in plans))
    prepare_data(plans[0][1])
    sha256 = Inputs().hash_data(plans[0][1])
    _refuse_unmeasured_target(recipe, plans[0][1])
    _refuse_other_inputs(comparison, sha256)
    _finish(comparison, list(comparison.list_sweep()))
    _finish(comparison, list(comparison.list_finals()))
    _refuse_other_inputs(comparison, sha256)  # hours may have passed
    results = read_results(
        recipe, [run for run, _ in comparison.list_finals()], [run for run, _ in comparison.list_sweep()]
    )
    write_durably(out / "comparison.json", (json.dumps(results, indent=2) + "\n").encode())
    write_comparison_report(out)
    return results


def _refuse_foreign_results(out: Path) -> None:
    """Refuse, before the first run, to replace something else with what is written last."""

    def is_ours(path: Path) -> bool:
        try:
            found = load_json(path.read_bytes())
        except ValueError:
            return False
        return isinstance(found, dict) and found.keys() >= {"name", "seeds", "data_sha256", "methods"}

    with explain_write_errors(out):
        refuse_foreign(out / "comparison.json", is_ours, "that of a comparison")
        refuse_foreign_page(out / "report.html")


def _refuse_unmeasured_target(comparison: ComparisonRecipe, recipe: Recipe) -> None:
    if comparison.target_miou is not None and not recipe.schedule.evaluate_every:
        raise ConfigurationError(
            f"target_miou = {comparison.target_miou:g} with schedule.evaluate_every = 0",
            reason="without evaluations during training, the step at which a method reaches the target is unknown",
            remedy="set schedule.evaluate_every under [shared], or leave out target_miou",
        )


def _refuse_other_inputs(comparison: ComparisonRuns, sha256: str) -> None:
    """Refuse runs in the folder that saw other manifests, models or videos than those that are there now, or that went
    on with others half-way."""
    _refuse_other_data(comparison.out, sha256)
    inputs = Inputs()
    for run, recipe in comparison.list_begun():
        recorded = read_inputs(run.folder)
        if recorded is None or not run.directory.has_begun:
            continue
        if recorded.changes:
            raise ConfigurationError(
                f"the run in {run.folder} went on with other inputs half-way ({recorded.changes[-1].differences[0]})",
                reason="its scores are not comparable with those of runs that saw the same from beginning to end",
                remedy="move its folder away and run the same command again, or compare in another folder with --out",
            )
        differences = describe_differences(recorded, identify_inputs(recipe, inputs, recorded))
        refuse_changes(run.directory, differences, reason="its scores would not be comparable with those of new runs")


def _refuse_other_data(out: Path, sha256: str) -> None:
    """Refuse runs in the folder that saw other manifests than those that are there now."""
    for marker in sorted(out.glob("runs/*/finished.json")):
        if _read_data_sha256(marker) != sha256:
            raise ConfigurationError(
                f"the run in {marker.parent} used other data",
                reason="the manifests have changed since, so its scores are not comparable with those of new runs",
                remedy="restore the manifests, or compare in another folder with --out",
            )


def _read_data_sha256(marker: Path) -> str:
    """Read which data a finished run saw; an empty text where the file of that name is not a marker."""
    try:
        return str(load_json(marker.read_bytes())["data_sha256"])
    except (ValueError, KeyError, TypeError):
        return ""


def _finish(comparison: ComparisonRuns, runs: list[tuple[Run, Recipe]]) -> None:
    """Do every run that is missing, and wait for those that other processes are doing."""
    waiting, told = runs, set[Path]()
    while waiting:
        held = []
        for run, recipe in waiting:
            if not run.is_finished and run.folder not in told:
                number = sum(other.is_finished for other, _ in runs) + 1
                what = f"{run.method}, learning rate {run.learning_rate:g}, seed {run.seed}"
                say(comparison.console, f"{what}: {number} of {len(runs)}")
                told.add(run.folder)
            try:
                _do(comparison, run, recipe)
            except RunInUse:
                held.append((run, recipe))
        if held and len(held) == len(waiting):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        waiting = held


def _never_stop(watch: WatchSettings | None) -> WatchSettings:
    """The watch of a run whose collapse is a result, such as that of a learning rate; a recipe that says so stops."""
    watch = watch or WatchSettings()
    return watch if "stop" in watch.model_fields_set else watch.model_copy(update={"stop": False})


def _do(comparison: ComparisonRuns, run: Run, recipe: Recipe) -> None:
    """Do one run; of a finished one only check that it has this recipe."""
    if run.is_finished:
        with RunDirectory.create_or_resume(run.folder, environment=describe_environment(), **identify_run(recipe)):
            pass
    else:
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        seen = {"data_sha256": Inputs().hash_data(recipe)}  # before the run: after it, they may be others
        recipe = recipe.model_copy(update={"watch": _never_stop(recipe.watch)})
        run_recipe(recipe, run.folder, evaluate_teacher=True, shared=comparison.shared)
        write_durably(run.marker, json.dumps(seen).encode())
    comparison.shared.note(recipe, run.directory)
