"""What our trackers do themselves, with a stand-in for their package where it needs no real one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from video_opd.errors import ConfigurationError
from video_opd.trackers import TrackedRun
from video_opd.trackers.mlflow_tracker import MLflowTracker
from video_opd.trackers.tensorboard_tracker import TensorBoardTracker
from video_opd.trackers.trackio_tracker import TrackioTracker


def stand_in(monkeypatch, name: str, **names: object) -> None:
    module = ModuleType(name)
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, name, module)


class Refused(Exception):
    def __init__(self, error_code: str) -> None:
        super().__init__(error_code)
        self.error_code = error_code


class Client:
    """Keeps what it is told; `code` is the error of deleting the old run, which is in the trash already or not."""

    code, stage = "", "active"
    told: list[str]

    def __init__(self, tracking_uri: str) -> None:
        type(self).told = []

    def get_experiment_by_name(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(experiment_id="1")

    def create_run(self, *_: object, **__: object) -> SimpleNamespace:
        self.told.append("create")
        return SimpleNamespace(info=SimpleNamespace(run_id="new"))

    def log_batch(self, *_: object, **__: object) -> None:
        pass

    def get_run(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(info=SimpleNamespace(lifecycle_stage=self.stage))

    def delete_run(self, id: str) -> None:
        self.told.append(f"delete {id}")
        if self.code and id == "old":
            raise Refused(self.code)


@pytest.mark.parametrize(
    ("code", "stage", "told"),
    [("", "active", ["create", "delete old"]), ("RESOURCE_DOES_NOT_EXIST", "active", ["create", "delete old"]),
     ("", "deleted", ["create"]), ("PERMISSION_DENIED", "active", ["create", "delete old", "delete new"])],
)  # fmt: skip
def test_mlflow_replaces_a_run_when_the_new_one_is_there(code, stage, told, monkeypatch, tmp_path):
    stand_in(monkeypatch, "mlflow", MlflowClient=Client, get_tracking_uri=lambda: "sqlite:////a b/mlflow.db")
    stand_in(monkeypatch, "mlflow.entities", Param=lambda *given: given)
    stand_in(monkeypatch, "mlflow.exceptions", MlflowException=Refused)
    monkeypatch.setattr(Client, "code", code)
    monkeypatch.setattr(Client, "stage", stage)
    run = TrackedRun(folder=tmp_path, name="run", config={}, id="old", replaces=True)
    if code == "PERMISSION_DENIED":
        with pytest.raises(Refused):
            MLflowTracker().start(run)
    else:
        assert MLflowTracker().start(run).where == "`mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db'`"
    assert Client.told == told


def test_trackio_has_one_folder_for_all_runs_of_a_program(monkeypatch, tmp_path):
    stand_in(monkeypatch, "trackio", init=lambda *_, **__: None)
    monkeypatch.setattr(TrackioTracker, "_stores", set())
    monkeypatch.setenv("TRACKIO_DIR", "before")
    for store in (tmp_path / "a", tmp_path / "a"):
        TrackioTracker().start(TrackedRun(folder=tmp_path, name="run", config={}, store=store))
    for other in (tmp_path / "b", None):
        with pytest.raises(ConfigurationError, match="trackio writes all runs of a program to one folder"):
            TrackioTracker().start(TrackedRun(folder=tmp_path, name="run", config={}, store=other))


@pytest.mark.parametrize("name", ["../run", "/run", "..", ".", "a/b", "a\\b"])
def test_a_name_does_not_leave_the_folder_of_tensorboard(name, tmp_path):
    pytest.importorskip("tensorboard")
    run = TrackedRun(folder=tmp_path / "run", name=name, config={}, store=tmp_path / "store" / "x")
    with pytest.raises(ConfigurationError, match="it is not the name of a folder"):
        TensorBoardTracker().start(run)
    assert list(Path(tmp_path).iterdir()) == []
