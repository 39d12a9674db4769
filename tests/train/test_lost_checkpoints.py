"""A run whose checkpoints are gone does not begin again in silence."""

from __future__ import annotations

import contextlib
import json
import shutil

import pytest

from trackers.tracked_runs import make_run
from train.test_runs import NOTHING_TRAINED, STEPS, short_recipe
from video_opd.cli import main
from video_opd.errors import ConfigurationError, DataError
from video_opd.files.journal import truncate_journal
from video_opd.runs.directory import RunDirectory
from video_opd.trackers.sent_record import hold_sent
from video_opd.train import loop
from video_opd.train.lost_checkpoints import set_aside_for_restart
from video_opd.train.run import run_recipe

EVERY = 2


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def train(world, tmp_path, monkeypatch):
    """A run without training; it may be killed in a step. Returns the steps that were taken."""

    def run(*, until: int = STEPS, every: int = EVERY, restart: bool = False) -> list[int]:
        taken: list[int] = []

        def take_step(*_, step, **__):
            if step == until:
                raise Killed
            taken.append(step)
            return NOTHING_TRAINED

        monkeypatch.setattr(loop, "take_step", take_step)
        recipe = short_recipe(world, **{"schedule.checkpoint_every": str(every), "schedule.evaluate_every": "2"})
        with contextlib.suppress(Killed):
            run_recipe(recipe, tmp_path / "run", restart=restart)
        return taken

    return run


def content(folder):
    return {
        path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".run.lock"
    }


@pytest.mark.parametrize(
    ("until", "every", "is_folder_gone"), [(STEPS, EVERY, True), (EVERY + 1, EVERY, False), (STEPS, 100, False)]
)
def test_it_is_refused_and_nothing_is_changed(until, every, is_folder_gone, train, tmp_path, capsys):
    """A finished run, one that was killed after its first checkpoint, and one whose only checkpoint is the last."""
    run = tmp_path / "run"
    train(until=until, every=every)
    shutil.rmtree(run / "checkpoints")
    if not is_folder_gone:
        (run / "checkpoints").mkdir()
    before = content(run)
    with pytest.raises(ConfigurationError, match=f"holds no checkpoint, and .* has trained {until} steps") as refused:
        train(every=every)
    assert "begin again with `train --restart`" in str(refused.value)
    assert content(run) == before


def test_with_restart_it_begins_again_and_keeps_the_old_files(train, tmp_path, capsys):
    run = tmp_path / "run"
    train()
    shutil.rmtree(run / "checkpoints")
    before = content(run)
    assert train(restart=True) == list(range(STEPS))
    assert f"the run begins again at step 1; its old files are in {run / 'before-restart-1'}" in " ".join(
        capsys.readouterr().err.split("\n")
    )
    for name in ("metrics.jsonl", "answers.jsonl", "evaluation/validation-000004.json", "report.html"):
        old = run / "before-restart-1" / name
        assert old.exists() == ((run / name) in before)
        if old.exists():
            assert old.read_bytes() == before[run / name]
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4, 5, 6]

    with pytest.raises(ConfigurationError, match="has a checkpoint of step 6: the run can go on from there"):
        train(restart=True)


def test_where_all_checkpoints_are_damaged_restart_begins_again(train, tmp_path):
    run = tmp_path / "run"
    train(until=3)
    (run / "checkpoints" / "step-000002" / "state.json").write_text("{}")
    assert train(restart=True) == list(range(STEPS))
    assert (run / "before-restart-1" / "checkpoints" / "step-000002").is_dir()


def test_what_was_sent_is_set_aside_when_nothing_is_sent_any_more(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "tracker.json").write_text("[]")
    with hold_sent(run, waits=False), pytest.raises(DataError, match="is being sent to a tracker by another process"):
        set_aside_for_restart(RunDirectory(run))
    assert not list(run.glob("before-restart-*"))
    folder = set_aside_for_restart(RunDirectory(run))
    assert (folder / "tracker.json").exists()
    assert not (run / "tracker.json").exists()


def test_steps_that_are_done_again_are_told_before_their_rows_go(train, tmp_path, capsys, monkeypatch):
    train(until=1)
    capsys.readouterr()
    told = []
    monkeypatch.setattr(
        "video_opd.train.run.truncate_journal",
        lambda *a, **k: told.append(capsys.readouterr().err) or truncate_journal(*a, **k),
    )
    assert train(until=5)[0] == 0, "killed before the first checkpoint"
    assert "step 1 is done again, because there is no checkpoint; the new rows replace the old ones" in told[0]
    told.clear()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000004")
    (tmp_path / "run" / "answers.jsonl").write_text('{"step": 2}\n{"step": 3}\n')
    assert train()[0] == 2
    assert "3 steps, 3 to 5, are done again, because the newest checkpoint is of step 2" in told[0]
    assert "done again" not in "".join(told[1:])
    assert (tmp_path / "run" / "answers.jsonl").read_text() == '{"step": 2}\n'


@pytest.mark.parametrize("words", [[], ["--restart"]])
def test_the_flag_reaches_the_run(words, monkeypatch, tmp_path, capsys):
    seen = []
    monkeypatch.setattr("video_opd.train.run.run_recipe", lambda *_, restart, **__: seen.append(restart) or {})
    assert main(["train", "tiny-opd", "--out", str(tmp_path / "run"), "--json", *words]) == 0
    assert seen == [bool(words)]
    assert capsys.readouterr().out == "{}\n"
