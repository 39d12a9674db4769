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
    """On the validation manifest; None: no checkpoint was evaluated, and this is the newest from before."""


def find_best_checkpoint(run: RunDirectory, *, before: int) -> BestCheckpoint | None:
    """Find the checkpoint with the best validation mIoU; the first of equal ones. If none of them was evaluated, find
    the newest one of a step up to `before`. None: there is none.

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
    step = max(mious, key=mious.__getitem__) if mious else earlier[-1]
    return BestCheckpoint(step=step, folder=checkpoint_folder(run.checkpoints, step), miou=mious.get(step))
