"""A run that trained further than its first checkpoint and has none: it does not begin again without being asked."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from video_opd.config import Recipe
from video_opd.curriculum.round_plan import RoundPlan
from video_opd.errors import ConfigurationError, EngineError, explain_write_errors
from video_opd.files.durable import sync_folder
from video_opd.files.journal import iterate_journal
from video_opd.runs.checkpoint import find_latest_checkpoint, has_checkpoints
from video_opd.runs.directory import RunDirectory
from video_opd.runs.inputs_file import INPUTS_FILE
from video_opd.trackers.sent_record import TRACKER_FILE, TRACKER_LOCK, hold_sent
from video_opd.train.build import count_steps, prepare_data
from video_opd.train.run_inputs import Inputs


def refuse_lost_checkpoints(recipe: Recipe, run: RunDirectory, inputs: Inputs) -> None:
    """Refuse a run that has no checkpoint and must have saved one, before anything is loaded or changed.

    Raises:
        ConfigurationError: to go on would mean to train from step 1 again.
    """
    trained = _find_last_step(run)
    is_ended = (run.evaluation / "student-after.json").exists()
    if has_checkpoints(run.checkpoints) or not (trained or is_ended):
        return
    first = _find_first_scheduled(recipe, inputs)
    # The checkpoint of a step is saved after its row in the journal, and before the student is evaluated there.
    evaluated = max((int(path.stem.rpartition("-")[2]) for path in _list_validations(run)), default=0)
    if not is_ended and trained <= first and evaluated < first:
        return
    raise ConfigurationError(
        f"{run.checkpoints} holds no checkpoint, and the run in {run.path} has trained {max(trained, evaluated)} steps",
        reason=f"its first checkpoint was saved at step {first} or earlier, so the checkpoints were removed or moved, "
        "and it would train from step 1 again",
        remedy="restore the checkpoints from a copy; or begin again with `train --restart`, which keeps the old files "
        "in a folder beside the new ones, or in another folder with --out",
    )


def set_aside_for_restart(run: RunDirectory) -> Path | None:
    """Move what a run without a usable checkpoint has left into a folder of its own. Nothing is deleted.

    Returns:
        The folder; None where there was nothing to move.

    Raises:
        ConfigurationError: there is a checkpoint that the run can go on from.
        DataError: the run is still being sent to a tracker.
    """
    _refuse_usable_checkpoint(run)
    left = (run.metrics, run.answers, run.rounds, run.evaluation, run.checkpoints, run.report, run.memory)
    found = [path for path in left if (any(path.iterdir()) if path.is_dir() else path.exists())]
    if not found:
        return None
    number = 1
    while os.path.lexists(folder := run.path / f"before-restart-{number}"):
        number += 1
    # A tracking process lives a little longer than its run, and may still write what was sent.
    was_tracked = (run.path / TRACKER_LOCK).exists()
    sent = hold_sent(run.path, waits=False) if was_tracked else contextlib.nullcontext()
    with sent, explain_write_errors(folder):
        found += [path for path in (run.path / INPUTS_FILE, run.path / TRACKER_FILE) if path.exists()]
        folder.mkdir()
        # The journal is moved last: as long as it is there, the run is refused without --restart.
        for path in reversed(found):
            os.rename(path, folder / path.name)
        sync_folder(folder)
        sync_folder(run.path)
        run.checkpoints.mkdir(exist_ok=True)
        run.evaluation.mkdir(exist_ok=True)
    return folder


def describe_repeated_steps(run: RunDirectory, step: int) -> str:
    """Say which steps of the journal a run that goes on after `step` does again; empty where there are none."""
    last = _find_last_step(run)
    if last <= step:
        return ""
    num = last - step
    which = f"step {last} is" if num == 1 else f"{num} steps, {step + 1} to {last}, are"
    after = f"the newest checkpoint is of step {step}" if has_checkpoints(run.checkpoints) else "there is no checkpoint"
    return f"{which} done again, because {after}; the new rows replace the old ones in the journals"


def _refuse_usable_checkpoint(run: RunDirectory) -> None:
    try:
        checkpoint = find_latest_checkpoint(run.checkpoints)
    except EngineError:  # all are damaged
        return
    if checkpoint is not None:
        raise ConfigurationError(
            f"--restart, and {run.path} has a checkpoint of step {checkpoint.step}",
            reason="the run can go on from there, and to begin again would lose that work",
            remedy="leave out --restart; to train the same again, choose another folder with --out",
        )


def _find_last_step(run: RunDirectory) -> int:
    """The last step with a row in the journal; 0 where there is none."""
    steps = (row.get("step") for row in iterate_journal(run.metrics))
    return max((step for step in steps if isinstance(step, int)), default=0)


def _find_first_scheduled(recipe: Recipe, inputs: Inputs) -> int:
    """The step of the first checkpoint that is certain."""
    prepare_data(recipe)
    total = count_steps(recipe, inputs.read_manifest(recipe, recipe.data.train), inputs)
    end = RoundPlan(num_rounds=getattr(recipe.curriculum, "num_rounds", 1), total_steps=total).end(1)
    return min(recipe.schedule.checkpoint_every, end)


def _list_validations(run: RunDirectory) -> list[Path]:
    return [path for path in run.evaluation.glob("validation-*.json") if path.stem.rpartition("-")[2].isdigit()]
