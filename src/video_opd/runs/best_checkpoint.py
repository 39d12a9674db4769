"""The best checkpoint of a run among those that are still there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from video_opd.runs.checkpoint_folders import MARKER, checkpoint_folder, list_saved
from video_opd.runs.directory import RunDirectory
from video_opd.runs.evaluation_files import list_validations, read_evaluation


@dataclass(frozen=True, kw_only=True)
class BestCheckpoint:
    """A checkpoint, and how good it is."""

    step: int
    folder: Path
    miou: float | None
    """On the validation manifest; None: this one was not evaluated."""


def find_best_checkpoint(run: RunDirectory, *, before: int) -> BestCheckpoint | None:
    """Find the checkpoint with the best validation mIoU; the first of equal ones. If no checkpoint of a step up to
    `before` was evaluated, find the newest of these: a later one may be the best only of ruined ones. None: there is
    none.

    Args:
        run: the folder of the run.
        before: the last step after which the student was still sound.

    Raises:
        DataError: an evaluation is damaged.
    """
    saved = sorted(step for step, folder in list_saved(run.checkpoints) if (folder / MARKER).exists())
    evaluated = list_validations(run.evaluation)
    mious = {step: float(read_evaluation(evaluated[step])["scores"]["miou"]) for step in saved if step in evaluated}
    earlier = [step for step in saved if step <= before]
    if not mious and not earlier:
        return None
    is_unknown = earlier and not any(step in mious for step in earlier)
    step = earlier[-1] if is_unknown else max(mious, key=mious.__getitem__)
    return BestCheckpoint(step=step, folder=checkpoint_folder(run.checkpoints, step), miou=mious.get(step))
