"""Every tracker for real, without a network: what it wrote is read back by its own reader. What is not installed skips.

`make test-trackers` installs all of them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackers.tracked_runs import add_evaluation, add_rows, make_run
from video_opd.cli import main
from video_opd.config.tracker_settings import TrackerSettings
from video_opd.trackers.start_tracking import track_beside

NEW_RUN = {"train/loss": {1: 0.5, 2: 1.0, 3: 1.5, 4: 2.0}, "evaluation/validation/miou": {0: 0.2, 2: 0.3},
           "evaluation/student-after/miou": {4: 0.4}}  # fmt: skip
RESUMED = NEW_RUN | {"train/loss": {1: 0.5, 2: 1.0, 3: 1.5, 4: 2.0, 5: 2.5}, "evaluation/student-after/miou": {5: 0.7}}


pytestmark = pytest.mark.filterwarnings("default")  # of other packages


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Nothing is written elsewhere, and nothing is sent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "TRACKIO_SPACE_ID", "TRACKIO_DIR"):
        monkeypatch.delenv(name, raising=False)


def track(run: Path, tracker: str, *more: str) -> str:
    """The command, in a process of its own where the tracker's package keeps much in this one."""
    given = ["--to", tracker, "--project", "grounding", "--group", "both", "--folder", "store", *more]
    if tracker == "tensorboard":
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main(["track", str(run), *given]) == 0
        return out.getvalue()
    paths = os.pathsep.join([str(Path(__file__).parents[2] / "src"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "video_opd", "track", str(run), *given],
        capture_output=True, text=True, timeout=200, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def train_beside(run: Path, tracker: str) -> list[str]:
    """Two steps are known; the others come while it is tracked."""
    lines: list[str] = []
    settings = TrackerSettings(name=tracker, project="grounding", group="both", folder=Path("store"))
    with track_beside(run, settings, resumes_after=0, tell=lines.append):
        add_rows(run, 3, 4)
        add_evaluation(run, "student-after", 0.4)
    return lines


def resume_beside(run: Path, tracker: str) -> None:
    """The newest checkpoint was of step 2; a step and an evaluation are new."""
    rows = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(rows[:2]))
    (run / "evaluation" / "student-after.json").unlink()
    settings = TrackerSettings(name=tracker, project="grounding", group="both", folder=Path("store"))
    with track_beside(run, settings, resumes_after=2, tell=lambda _: None):
        add_rows(run, 3, 4, 5)
        add_evaluation(run, "student-after", 0.7)


def read_tensorboard() -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    multiplexer = EventMultiplexer().AddRunsFromDirectory("store").Reload()
    ((name, tags),) = multiplexer.Runs().items()
    assert name == "run"
    assert "recipe/text_summary" in tags["tensors"]
    found: dict[str, dict[int, float]] = {}
    for tag in tags["scalars"]:
        points = [(event.step, round(event.value, 6)) for event in multiplexer.Scalars(name, tag)]
        assert len(dict(points)) == len(points), "a step is there twice"
        found[tag] = dict(points)
    return found


def read_records(content: bytes) -> Iterator[bytes]:
    """The records of W&B's file: a log of LevelDB (blocks of 32 KiB; records in pieces, each after 7 bytes)."""
    place, record = 7, b""  # a header of W&B's own
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        if left < 7 or not kind:
            place += left
            continue
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


def read_wandb() -> dict[str, dict[int, float]]:
    """All offline folders of the run; `wandb sync` uploads them in this order."""
    from wandb.proto import wandb_internal_pb2

    found: dict[str, dict[int, float]] = {}
    ids = set()
    for path in sorted(Path("store/wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        for data in read_records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                ids.add((record.run.run_id, record.run.project, record.run.run_group, record.run.display_name))
            row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            for key in row.keys() - {"step"}:
                if "/" in key:
                    found.setdefault(key, {})[row["step"]] = row[key]
    ((_, project, group, name),) = ids
    assert (project, group, name) == ("grounding", "both", "run")
    return found


def read_mlflow() -> dict[str, dict[int, float]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{Path('store').absolute()}/mlflow.db")
    experiment = client.get_experiment_by_name("grounding")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.data.tags["group"], run.info.status) == ("run", "both", "FINISHED")
    assert run.data.params["training.learning_rate"] == "0.001"
    return {
        key: {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, key)}
        for key in run.data.metrics
    }


def read_trackio() -> dict[str, dict[int, float]]:
    program = (
        "import json, trackio; from trackio.sqlite_storage import SQLiteStorage\n"
        "(run,) = trackio.Api().runs('grounding')\n"
        "rows = SQLiteStorage.get_logs('grounding', run.name)\n"
        "numbers = [{key: row[key] for key in row if key != 'timestamp'} for row in rows]\n"
        "print(json.dumps([run.name, run.config, numbers]))"
    )
    environment = {**os.environ, "TRACKIO_DIR": str(Path("store").absolute()), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    name, config, rows = json.loads(done.stdout.splitlines()[-1])
    assert name.startswith("run-")
    assert config["training"]["learning_rate"] == 0.001
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        for key in row.keys() - {"step"}:
            found.setdefault(key, {})[row["step"]] = row[key]
    return found


READERS = {"tensorboard": read_tensorboard, "wandb": read_wandb, "mlflow": read_mlflow, "trackio": read_trackio}
EACH = pytest.mark.parametrize("tracker", READERS)


def among(found: dict[str, dict[int, float]]) -> dict[str, dict[int, float]]:
    return {key: found[key] for key in NEW_RUN}


@EACH
def test_a_run_that_is_replayed_has_all_its_numbers_once(tracker, tmp_path):
    pytest.importorskip(tracker)
    run = make_run(tmp_path / "run")
    assert "8 rows and evaluations sent" in track(run, tracker)
    assert among(READERS[tracker]()) == NEW_RUN
    assert "Nothing was sent" in track(run, tracker)
    assert among(READERS[tracker]()) == NEW_RUN
    add_evaluation(run, "student-after", 0.9)
    assert "8 rows and evaluations sent" in track(run, tracker, "--replace")
    assert among(READERS[tracker]()) == NEW_RUN | {"evaluation/student-after/miou": {4: 0.9}}


@EACH
def test_a_run_is_there_while_it_is_trained_and_goes_on_when_it_resumes(tracker, tmp_path):
    pytest.importorskip(tracker)
    run = make_run(tmp_path / "run", steps=2, is_done=False)
    lines = train_beside(run, tracker)
    assert [line for line in lines if "warning" in line] == []
    assert [line for line in lines if line.startswith(f"{tracker}: `")]
    assert among(READERS[tracker]()) == NEW_RUN
    resume_beside(run, tracker)
    found = among(READERS[tracker]())
    if tracker != "tensorboard":  # what was there before the run resumed stays there
        assert found["evaluation/student-after/miou"].pop(4) == 0.4
    assert found == RESUMED
