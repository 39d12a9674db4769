"""Trackers show the numbers of a run while it is trained: TensorBoard, Weights & Biases, MLflow, trackio.

`metrics.jsonl` and `evaluation/` stay the truth. A tracker is given what stands there, by a process beside the training
(`tracking_process`) or afterwards by `video-opd track`; the training itself tells it nothing. A tracker is one file in
this folder and one line in `TRACKERS`. Users register their own with `register_tracker`, from a plugin file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from video_opd.errors import ConfigurationError
from video_opd.plugin_table import PluginTable, require_name

DEFAULT_PROJECT = "video-opd"
NO_TRACKER = "none"
"""The name of no tracker, in a recipe and with `--tracker`."""


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A run, as a tracker is told of it when it starts."""

    folder: Path
    """The run folder."""
    name: str
    """The name to show."""
    project: str | None = None
    """None: what the tracker's own variable of the environment says, or `DEFAULT_PROJECT`."""
    group: str | None = None
    """The runs of a comparison have the same."""
    store: Path | None = None
    """Folder for a tracker that writes files; None: where the tracker writes them by itself."""
    config: Mapping[str, Any]
    """The tables of the recipe."""
    id: str | None = None
    """What `start` returned before, if the tracker has the run already; the run goes on, or is replaced."""
    replaces: bool = False
    """Whether what the tracker has under `id` is given again from the beginning."""
    next_step: int = 0
    """The first step that is given. The tracker may have it and later ones already, from before the run resumed."""
    is_live: bool = False
    """Whether the run is being trained by the parent of this process."""


@dataclass(frozen=True)
class StartedRun:
    """What a tracker says when a run has started."""

    id: str
    """By which the tracker finds the run again."""
    where: str
    """Where a user finds it: an address, a folder, or a command in backticks."""


class Tracker(Protocol):
    """What is told the numbers of one run. Any of the calls may raise: the training does not notice."""

    package: str
    """The package that must be installed; empty: none."""

    def start(self, run: TrackedRun) -> StartedRun:
        """Begin the run, or go on with it."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of a step. A step may come in several parts, and again after the run resumed.

        Args:
            step: optimiser steps taken.
            numbers: by names such as `train/reverse_kl` and `evaluation/validation/miou`.
        """

    def finish(self) -> None:
        """Hand over what waits, and close."""


TRACKERS: PluginTable[Callable[[], Tracker]] = PluginTable(
    "a tracker",
    __name__,
    {
        "tensorboard": "tensorboard_tracker.TensorBoardTracker",
        "wandb": "wandb_tracker.WandbTracker",
        "mlflow": "mlflow_tracker.MLflowTracker",
        "trackio": "trackio_tracker.TrackioTracker",
    },
    reserved=(NO_TRACKER,),
)
"""Every tracker by its name in a recipe. The name is also that of the extra which installs it."""

SomeTracker = TypeVar("SomeTracker", bound=type)


def register_tracker(name: str) -> Callable[[SomeTracker], SomeTracker]:
    """Register a class as a tracker, so that recipes and `--tracker` can name it. Use it as a decorator.

    Raises:
        ConfigurationError: the name is taken or not valid, or the class lacks a method.
    """
    require_name("a tracker", name)

    def register(tracker: SomeTracker) -> SomeTracker:
        missing = [method for method in ("start", "log", "finish") if not callable(getattr(tracker, method, None))]
        if not isinstance(tracker, type) or missing:
            raise ConfigurationError(
                f"the tracker {name!r}",
                reason=f"it has no {missing[0]}" if missing else "it is no class",
                remedy="register a class with start, log and finish",
            )
        TRACKERS.register(name, tracker)
        return tracker

    return register
