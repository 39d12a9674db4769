"""The table [tracker] of a recipe: who shows the numbers of a run. `video-opd track` has the same settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from video_opd.settings import Flagged, Settings

_Name = Annotated[str, Field(min_length=1)]


class TrackerSettings(Settings):
    """Where the numbers of a run are shown. Keys and passwords do not belong here: a tracker takes them from its own
    login or from variables of the environment."""

    name: Annotated[_Name, Flagged("to")]
    """Who shows the numbers: tensorboard, wandb, mlflow, trackio, or one of your own (with --plugin). In a recipe also
    none."""
    project: _Name | None = None
    """The project in Weights & Biases and trackio, the experiment in MLflow. Not set: WANDB_PROJECT or
    MLFLOW_EXPERIMENT_NAME, or else video-opd."""
    group: _Name | None = None
    """The group of the run. Not set: the name of the comparison that the run belongs to, or none."""
    run_name: _Name | None = None
    """The name of the run. Not set: that of its folder."""
    folder: Path | None = None
    """Folder for files of the tracker. Not set: `tensorboard` in the run folder, or where the tracker writes by
    itself."""
