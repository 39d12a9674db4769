"""The files of a run do not tell whether it was interrupted, and nothing of what a kill leaves stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from folders import contents
from video_opd.cli import main
from video_opd.files.unfinished import hold
from video_opd.runs import checkpoint
from video_opd.runs.directory import RunDirectory
from video_opd.runs.leftovers import remove_leftovers
from video_opd.runs.old_checkpoints import KeepRule
from video_opd.train import loop

STEPS = 7
OF_TIME = {
    "seconds", "cpu_seconds", "seconds_by_phase", "cpu_seconds_by_phase", "seconds_to_decode", "extra_memory_bytes",
}  # fmt: skip
"""Keys of the files of a run that depend on the machine and its load, as docs/COMMANDS.md lists them."""
NOBODY = 2**22 + 1
"""The number of no process: Linux gives none above 2**22."""


class Killed(BaseException):
    """The process is gone: nothing catches this."""


@pytest.fixture
def command(write_recipe, tmp_path) -> list[str]:
    keys = {"method.name": "sft", "training.steps": STEPS, "schedule.checkpoint-every": 2,
            "schedule.evaluate-every": 4, "schedule.keep-checkpoints": 3, "training.batch-size": 2,
            "data.workers": 0}  # fmt: skip
    words = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    return ["train", str(write_recipe(tmp_path)), *words, "--out"]


def read(path: Path) -> Any:
    """What a file says, without times."""

    def drop_times(table: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in table.items() if key not in OF_TIME}

    content = path.read_bytes()
    if path.name in (".run.lock", "report.html", "environment.json"):
        return None
    if path.suffix not in (".json", ".jsonl") or "model" in path.parts:
        return content
    rows = [json.loads(line, object_hook=drop_times) for line in content.splitlines()] if path.suffix == ".jsonl" else [
        json.loads(content, object_hook=drop_times)
    ]  # fmt: skip
    if path.name == "COMPLETE.json":
        del rows[0]["files"]["state.json"]  # it has the time
    return rows


def read_all(run: Path) -> dict[str, Any]:
    return {str(path.relative_to(run)): read(path) for path in run.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_that_was_killed_and_stopped_has_the_same_files(command, tmp_path, monkeypatch):
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    assert main([*command, str(undisturbed)]) == 0

    take_step, delete_old = loop.take_step, checkpoint.delete_old_checkpoints
    stops = {5: "SIGTERM", 6: "kill"}  # after so many steps
    prunings = {2, STEPS}

    def step_or_die(*args, step, **more):
        match stops.pop(step + 1, None):
            case "SIGTERM":
                os.kill(os.getpid(), signal.SIGTERM)
            case "kill":
                raise Killed
        return take_step(*args, step=step, **more)

    def delete_or_die(folder, keep, *, newest):
        if newest in prunings:
            prunings.remove(newest)
            raise Killed
        delete_old(folder, keep, newest=newest)

    monkeypatch.setattr(loop, "take_step", step_or_die)
    monkeypatch.setattr(checkpoint, "delete_old_checkpoints", delete_or_die)
    endings = []
    while not endings or endings[-1] != 0:
        try:
            endings.append(main([*command, str(run)]))
        except Killed:
            endings.append(-9)
        if endings[-1] == -9 and len(endings) > 1:
            leave_behind(run)
    assert endings == [-9, 143, -9, -9, 0]

    theirs, ours = read_all(undisturbed), read_all(run)
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if ours[name] != theirs[name]] == []
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"step-000004", "step-000006", "step-000007"}


def leave_behind(run: Path) -> None:
    """What SIGKILL leaves: a checkpoint that was being written, and files."""
    unfinished = run / "checkpoints" / f"step-000007.tmp-{NOBODY}"
    unfinished.mkdir()
    (unfinished / "state.json").write_text("{")
    for name in (f".metrics.jsonl.tmp-{NOBODY}", f"evaluation/.student-after.json.tmp-{NOBODY}"):
        (run / name).write_text("{")


def test_files_of_others_and_of_a_process_that_runs_stay(tmp_path):
    run = RunDirectory(tmp_path)
    for step in (1, 2, 3):
        checkpoint.save_checkpoint(run.checkpoints, step, lambda folder: (folder / "model").mkdir())
    shutil.copytree(run.checkpoints / "step-000001", run.checkpoints / "step-000001-mine")
    (run.checkpoints / "step-000002" / "notes.txt").write_text("mine")
    (run.checkpoints / "step-000001.tmp").mkdir()
    (run.checkpoints / f"step-000007.tmp-{NOBODY}").write_text("a file")
    run.evaluation.mkdir()
    for name in (f".notes.txt.tmp-{NOBODY}", f"notes.json.tmp-{NOBODY}", ".report.html.tmp-1"):
        (run.path / name).write_text("mine")
    (run.path / f".x.json.tmp-{NOBODY}").mkdir()
    (run.evaluation / f".y.json.tmp-{NOBODY}").symlink_to(tmp_path)
    before = contents(tmp_path)
    for unfinished in (f".metrics.jsonl.tmp-{NOBODY}", f"evaluation/.student-after.json.tmp-{os.getpid()}"):
        (run.path / unfinished).write_text("{")
    with hold(run.path / ".report.html.tmp-1"):  # `video-opd report` holds it
        remove_leftovers(run, KeepRule(last=1), newest=3)
    gone = {f"checkpoints/step-00000{step}{inside}" for step in (1, 2) for inside in ("", "/model", "/COMPLETE.json")}
    kept = {
        f"checkpoints/step-000002.kept{inside}": before[f"checkpoints/step-000002{inside}"]
        for inside in ("", "/notes.txt")
    }
    left = {name: value for name, value in before.items() if name not in gone | {"checkpoints/step-000002/notes.txt"}}
    assert contents(tmp_path) == left | kept


def test_a_checkpoint_that_a_signal_caused_goes_when_there_is_a_newer_one():
    rule = KeepRule(last=2, steps={10}, is_scheduled=lambda step: step % 10 == 0)
    assert rule.choose([10, 20, 23]) == {10, 20, 23}
    assert rule.choose([20, 23, 30]) == {20, 30}
    assert rule.choose([10, 20, 23, 30, 34]) == {10, 30, 34}
    assert KeepRule().choose([1, 2]) == {1, 2}
    assert KeepRule(last=1).choose([]) == set()
