"""What a killed process leaves in a run folder beside the run: it is removed when the run goes on.

.NAME.tmp-PID                  a file that was being written (`files.outputs.replace_file`)
checkpoints/step-N.tmp-PID/    a checkpoint that was being written or deleted
checkpoints/step-N/            one that should have been deleted when a newer one was complete
"""

from __future__ import annotations

from video_opd.files.unfinished import sweep
from video_opd.runs.directory import RunDirectory
from video_opd.runs.old_checkpoints import KeepRule, delete_old_checkpoints, sweep_unfinished

_UNFINISHED = r"\..+\.(?:html|jsonl?|sha256|toml)\.tmp-\d+"
"""A file of a run while it is written. Some process may hold it: `video-opd report` writes without the run's lock."""


def remove_leftovers(run: RunDirectory, keep: KeepRule, *, newest: int) -> None:
    """Remove them. Only the process that holds the run's lock calls this, once it has accepted the newest checkpoint.

    Args:
        run: the folder.
        keep: which checkpoints stay.
        newest: step of the checkpoint that the run goes on from.
    """
    sweep_unfinished(run.checkpoints)
    delete_old_checkpoints(run.checkpoints, keep, newest=newest)
    for folder in (run.path, run.evaluation, run.rounds, *run.rounds.glob("*")):
        sweep(folder, _UNFINISHED)
