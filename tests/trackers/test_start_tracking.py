"""A tracker beside a run: it gets everything, and whatever it does, the run notices nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trackers.tracked_runs import ALL_STEPS, add_evaluation, add_rows, make_run, told, told_steps
from video_opd.config.comparison_recipe import load_comparison, make_recipe
from video_opd.config.recipe_file import load_recipe
from video_opd.config.tracker_settings import TrackerSettings
from video_opd.runs.directory import RunDirectory
from video_opd.trackers import start_tracking
from video_opd.trackers.sent_record import hold_sent
from video_opd.trackers.start_tracking import track_beside

SETTINGS = TrackerSettings(name="fake", project="p")


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", steps=2, is_done=False)


def beside(run: Path, resumes_after: int = 0):
    """As a run does it; what is told is appended to the list that the block gets."""
    lines: list[str] = []
    return lines, track_beside(run, SETTINGS, resumes_after=resumes_after, tell=lines.append)


def wait_until(is_so, most_s: float = 30.0) -> None:
    until = time.monotonic() + most_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


def finish_run(run: Path) -> None:
    add_rows(run, 3, 4)
    add_evaluation(run, "student-after", 0.4)


@pytest.mark.usefixtures("fake")
def test_rows_are_sent_while_they_are_written(run):
    lines, tracked = beside(run)
    with tracked:
        wait_until(lambda: len(told(run, "log")) == 5)
        finish_run(run)
    assert told_steps(run) == ALL_STEPS
    assert len(told(run, "finish")) == 1
    (start,) = told(run, "start")
    assert (start["is_live"], start["project"], start["name"]) == (True, "p", "run")
    assert lines == ["fake: on the wall"]


@pytest.mark.usefixtures("fake")
def test_a_run_that_resumes_goes_on_with_the_same_run(run):
    with beside(run)[1]:
        finish_run(run)
    (run / "evaluation" / "student-after.json").unlink()
    add_evaluation(run, "validation-000003", 0.3)
    rows = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(rows[:2]))  # the newest checkpoint was of step 2
    (run / "told.jsonl").unlink()
    with beside(run, resumes_after=2)[1]:
        finish_run(run)
    (start,) = told(run, "start")
    assert (start["id"], start["next_step"]) == ("id-1", 3)
    assert told_steps(run) == ["3 train", "3 evaluation/validation", "4 train", "4 evaluation/student-after"]
    (run / "told.jsonl").unlink()
    with beside(run, resumes_after=4)[1]:  # nothing is new: the tracker is not asked
        pass
    assert not (run / "told.jsonl").exists()


@pytest.mark.usefixtures("fake")
def test_a_run_that_resumes_is_tracked_at_once(run):
    """Also before it is as far as it was: its steps are done again."""
    with beside(run)[1]:
        finish_run(run)
    rows = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(rows[:2]))
    (run / "told.jsonl").unlink()
    with beside(run, resumes_after=2)[1]:
        add_rows(run, 3)
        wait_until(lambda: "3 train" in told_steps(run))
    assert [start["next_step"] for start in told(run, "start")] == [3]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("fails", "sent", "warnings"),
    [
        ("start raises", 0, ["fake failed: RuntimeError: the wall is wet",
                             "8 of 8 rows and evaluations are not in fake"]),
        ("log exits", 0, ["fake failed: SystemExit: 3", "8 of 8 rows"]),
        ("log raises once", 8, ["fake takes no rows; they are kept and sent later: RuntimeError: the wall"]),
        ("finish raises", 8, ["fake failed: RuntimeError: the wall is wet", "did not finish"]),
    ],
)  # fmt: skip
def test_what_fails_is_told_once_and_the_run_goes_on(fails, sent, warnings, run, monkeypatch):
    monkeypatch.setenv("FAKE_FAILS", fails)
    lines, tracked = beside(run)
    with tracked:
        wait_until(lambda: (run / "failed").exists() or "once" not in fails)
        finish_run(run)
    assert len(told(run, "log")) == sent
    found = [line for line in lines if "warning: " in line]
    assert len(found) == len(warnings)
    assert all(said in line for said, line in zip(warnings, found, strict=True)), lines
    assert all("and more" not in line for line in lines)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("fails", ["log hangs", "finish hangs"])
def test_what_hangs_is_ended_and_counted(fails, run, monkeypatch):
    monkeypatch.setenv("FAKE_FAILS", fails)
    monkeypatch.setattr(start_tracking, "FINISH_S", 2.0)
    monkeypatch.setattr(start_tracking, "QUIET_S", 1.5)
    lines, tracked = beside(run)
    with tracked:
        finish_run(run)
        wait_until(lambda: (run / "tracker.json").exists())
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert "waiting for fake, for at most 2 s" in lines
    again = f"`video-opd track {run} --to fake"
    if fails == "log hangs":
        said = f"8 of 8 rows and evaluations are not in fake; {again}` sends them"
    else:
        said = f"fake did not finish, so the last rows may not be there; {again} --replace` sends all again"
    assert lines[-1] == f"warning: {said}"


@pytest.mark.usefixtures("fake")
def test_a_run_that_stops_early_does_not_wait_long(run, monkeypatch):
    monkeypatch.setenv("FAKE_FAILS", "log hangs")
    monkeypatch.setattr(start_tracking, "STOP_S", 0.5)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), beside(run)[1]:
        raise KeyboardInterrupt
    assert time.monotonic() - began < 10


KILLED = """
import os, sys, time
from pathlib import Path
from trackers.test_start_tracking import beside, finish_run
from video_opd.plugins import load_plugin

load_plugin(sys.argv[2])
with beside(Path(sys.argv[1]))[1]:
    while not Path(sys.argv[1], "tracker.json").exists():
        time.sleep(0.05)
    finish_run(Path(sys.argv[1]))
    os.kill(os.getpid(), 9)
"""


def test_a_run_that_is_killed_is_sent_as_far_as_it_got(run, fake):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(run), str(fake)], env=environment, timeout=60)
    assert done.returncode == -9
    wait_until(lambda: told(run, "finish"))
    assert told_steps(run) == ALL_STEPS


HASTY = """
import sys
from video_opd.trackers import tracking_process

tracking_process.LAST_S = 1
sys.exit(tracking_process.main())
"""


@pytest.mark.parametrize("fails", ["start hangs", "log hangs", "another process holds the lock"])
def test_what_hangs_ends_soon_after_a_run_that_was_killed(fails, run, fake):
    """Nobody is there to end it, and it would hold the lock."""
    order = {"run": str(run), "settings": SETTINGS.model_dump(mode="json"), "resumes_after": 0, "plugin": str(fake)}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FAKE_FAILS": fails}
    with hold_sent(run, waits=False) if "lock" in fails else contextlib.nullcontext():
        process = subprocess.Popen([sys.executable, "-c", HASTY, json.dumps(order)], stdin=subprocess.PIPE,
                                   env=environment)  # fmt: skip
        try:
            if fails == "log hangs":
                wait_until(lambda: (run / "tracker.json").exists())
            process.stdin.close()
            assert process.wait(30) == -signal.SIGALRM
        finally:
            process.kill()
            process.wait()


def test_no_tracker_is_no_process(run, monkeypatch):
    monkeypatch.setattr(start_tracking, "PROGRAM", "there.is.none")
    for settings in (None, TrackerSettings(name="none")):
        with track_beside(run, settings, resumes_after=0, tell=pytest.fail):
            finish_run(run)
    assert not (run / "tracker.json").exists()


def test_a_run_is_refused_before_anything_is_loaded(recipe_file, tmp_path, refused, monkeypatch):
    monkeypatch.setattr("video_opd.train.early_checks._refuse_early_here", lambda *_: pytest.fail("too late"))
    words = ("train", recipe_file, "--out", tmp_path / "run", "--tracker")
    assert "tracker 'wandbb': no tracker has that name. Perhaps wandb is meant" in refused(*words, "wandbb")
    monkeypatch.setattr("video_opd.trackers.unfit_trackers.find_spec", lambda _: None)
    assert "Run `pip install 'video-opd[mlflow]'`" in refused(*words, "mlflow")
    assert not (tmp_path / "run").exists()


def test_a_tracker_of_a_notebook_needs_a_file(recipe_file, tmp_path, refused):
    from video_opd.trackers import TRACKERS, register_tracker

    register_tracker("cell")(type("Cell", (), {"start": int, "log": int, "finish": int}))
    try:
        said = refused("train", recipe_file, "--out", tmp_path / "run", "--tracker", "cell")
        assert "a process beside the training loads it from a plugin file" in said
    finally:
        TRACKERS.unregister("cell")


def test_a_run_may_go_on_with_another_tracker(recipe_file, tmp_path):
    from video_opd.train.run import identify_run

    folder, recipe = tmp_path / "run", load_recipe(recipe_file)
    with RunDirectory.create_or_resume(folder, environment={}, **identify_run(recipe)):
        (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    for key, value in (("tracker.name", "wandb"), ("tracker.project", "p"), ("tracker.name", "none")):
        recipe = load_recipe(recipe_file, {"tracker.name": "mlflow", key: value})
        RunDirectory.refuse_unusable(folder, **identify_run(recipe))


def test_the_runs_of_a_comparison_are_a_group(recipe_file, tmp_path):
    (tmp_path / "both.toml").write_text(
        f'name = "both"\nrecipe = "{recipe_file.name}"\n[methods.opd]\n[methods.grpo.method]\nname = "grpo"\n'
    )
    for keys, groups in (({}, {None}), ({"tracker.name": "wandb"}, {"both"}),
                         ({"tracker.name": "wandb", "tracker.group": "mine"}, {"mine"})):  # fmt: skip
        comparison, tables = load_comparison(tmp_path / "both.toml", keys)
        recipes = [make_recipe(comparison, tables, method, None, 0) for method in comparison.methods]
        assert {recipe.tracker and recipe.tracker.group for recipe in recipes} == groups


def test_a_recipe_without_a_tracker_is_written_as_before(recipe_file):
    assert "tracker" not in load_recipe(recipe_file).to_toml()
    recipe = load_recipe(recipe_file, {"tracker.name": "trackio"})
    assert '\n[tracker]\nname = "trackio"\n\n[' in recipe.to_toml()
