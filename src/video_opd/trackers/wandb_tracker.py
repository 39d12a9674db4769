"""Weights & Biases: a run of a project on wandb.ai, on your own server, or offline in a folder (WANDB_MODE=offline)."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Mapping
from typing import ClassVar

from video_opd.trackers import DEFAULT_PROJECT, StartedRun, TrackedRun

INIT_S = 60.0
"""How long the server may take to accept the run."""


class WandbTracker:
    """The step is a metric of its own, because W&B drops what comes with a smaller step than before."""

    package: ClassVar[str] = "wandb"

    def start(self, run: TrackedRun) -> StartedRun:
        """Begin a run, resume it, or begin it again under the same id."""
        import wandb

        id = run.id or secrets.token_hex(4)
        self._run = wandb.init(
            project=run.project or os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT,
            id=id,
            name=run.name,
            group=run.group,
            dir=run.store,
            config=dict(run.config),
            allow_val_change=True,  # a resumed run may have another table [tracker]
            resume=None if run.replaces else "allow",
            settings=wandb.Settings(
                console="off",
                silent=run.is_live,
                init_timeout=INIT_S,
                x_disable_stats=not run.is_live,
                x_stats_pid=os.getppid() if run.is_live else os.getpid(),
            ),
        )
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        if self._run.settings.mode in ("offline", "dryrun") or not self._run.url:
            return StartedRun(id, f"`wandb sync {shlex.quote(os.path.abspath(self._run.settings.sync_dir))}`")
        return StartedRun(id, str(self._run.url))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Hand the numbers to the process of W&B."""
        self._run.log({**numbers, "step": step})

    def finish(self) -> None:
        """Wait until all is sent. What is not stays in the folder `wandb`, and `wandb sync` sends it."""
        self._run.finish()
