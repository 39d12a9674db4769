"""MLflow: a run of an experiment on the server of MLFLOW_TRACKING_URI, or in a SQLite file."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from typing import ClassVar

from video_opd.files.dotted_keys import flatten_tables
from video_opd.trackers import DEFAULT_PROJECT, StartedRun, TrackedRun


class MLflowTracker:
    """A run that is replaced goes to MLflow's own trash, and a new one takes its name."""

    package: ClassVar[str] = "mlflow"

    def start(self, run: TrackedRun) -> StartedRun:
        """Create the run with the recipe as its parameters, or go on with it."""
        from mlflow import MlflowClient, get_tracking_uri
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        if run.store:
            run.store.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{run.store.absolute()}/mlflow.db" if run.store else get_tracking_uri()
        where = (
            f"`mlflow ui --backend-store-uri {shlex.quote(uri)}`" if uri.startswith(("sqlite:", "file:", "/")) else uri
        )
        self._client = MlflowClient(tracking_uri=uri)
        if run.id and not run.replaces:
            self._id = run.id
            self._client.update_run(self._id, status="RUNNING")
            return StartedRun(self._id, where)
        name = run.project or os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_PROJECT
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        tags = {"group": run.group} if run.group else {}
        self._id = self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        params = [Param(key, str(value)) for key, value in flatten_tables(run.config).items()]
        try:
            for first in range(0, len(params), 100):  # a request takes no more
                self._client.log_batch(self._id, params=params[first : first + 100])
            if run.id:
                self._delete(run.id)
        except MlflowException:
            self._client.delete_run(self._id)  # else the next try would make a second one
            raise
        return StartedRun(self._id, where)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Send the numbers in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value in numbers.items()])

    def _delete(self, id: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            if self._client.get_run(id).info.lifecycle_stage != "deleted":  # some stores refuse to delete it again
                self._client.delete_run(id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def finish(self) -> None:
        """Say that the run has ended."""
        self._client.set_terminated(self._id)
