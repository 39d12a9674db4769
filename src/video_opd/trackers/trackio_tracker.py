"""trackio: a run of a project in local SQLite files, or in the Hugging Face Space of TRACKIO_SPACE_ID."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Mapping
from typing import ClassVar

from video_opd.errors import ConfigurationError
from video_opd.trackers import DEFAULT_PROJECT, StartedRun, TrackedRun


class TrackioTracker:
    """trackio finds a run by its name, so the name gets four random digits and is the id."""

    package: ClassVar[str] = "trackio"
    _stores: ClassVar[set[str]] = set()
    """Of this process: none or one, because trackio keeps the folder that it found when it was imported."""

    def start(self, run: TrackedRun) -> StartedRun:
        """Begin a run, or go on with it. What is replaced is deleted where the files are local."""
        variables, store = "", str(run.store.absolute()) if run.store else ""
        if self._stores - {store}:
            raise ConfigurationError(
                f"{run.folder} is of another folder of trackio than the runs before it",
                reason="trackio writes all runs of a program to one folder",
                remedy="send it with a command of its own; or give one --folder for all",
            )
        self._stores.add(store)
        if store:
            os.environ["TRACKIO_DIR"] = store  # read when trackio is imported
            variables = f"TRACKIO_DIR={shlex.quote(store)} "
        import trackio

        project, name = run.project or DEFAULT_PROJECT, run.id or f"{run.name}-{secrets.token_hex(2)}"
        if run.replaces:
            for old in list(trackio.Api().runs(project)):
                if old.name == run.id:
                    old.delete()
        watches = None if run.is_live else False  # whether the machine is measured too; None: where it can be
        self._run = trackio.init(
            project,
            name=name,
            group=run.group,
            config=dict(run.config),
            resume="never" if run.replaces else "allow",
            embed=False,
            auto_log_gpu=watches,
            auto_log_cpu=watches,
        )
        return StartedRun(name, f"`{variables}trackio show --project {shlex.quote(project)}`")

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Hand the numbers to trackio's own thread."""
        self._run.log(dict(numbers), step=step)

    def finish(self) -> None:
        """Write what waits."""
        self._run.finish()
