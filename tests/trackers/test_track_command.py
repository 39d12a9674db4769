"""`video-opd track`: runs are sent, never twice, and what fails is told in one sentence."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from importlib.util import find_spec

import pytest

from trackers.tracked_runs import ALL_STEPS, add_rows, make_run, told, told_steps
from video_opd.cli import main
from video_opd.cli.application import understand
from video_opd.errors import ConfigurationError
from video_opd.trackers import TRACKERS, register_tracker, unfit_trackers
from video_opd.trackers.sent_record import hold_sent

pytestmark = pytest.mark.usefixtures("fake")


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def track(*words: object) -> int:
    return main(["track", *map(str, words), "--to", "fake"])


def test_a_run_is_sent_once(run, capsys):
    assert track(run, "--project", "p", "--group", "g", "--run-name", "n") == 0
    (start,) = told(run, "start")
    assert start == {
        "name": "n", "project": "p", "group": "g", "id": None, "replaces": False, "next_step": 0, "is_live": False,
        "rate": 0.001, "videos": "https://[hidden]@host/x",
    }  # fmt: skip
    assert told_steps(run) == ALL_STEPS
    assert len(told(run, "finish")) == 1
    out, err = capsys.readouterr()
    assert out == f"{run}: 8 rows and evaluations sent to fake, on the wall\n"
    assert "a tracker that prints" in err
    assert track(run) == 0  # of the same project, as nothing else is said
    assert "Nothing was sent; --replace sends it again." in capsys.readouterr().out
    assert told_steps(run) == ALL_STEPS
    assert len(told(run, "start")) == 1


def test_what_came_later_is_added_and_nothing_else(run):
    track(run)
    add_rows(run, 5)
    assert track(run) == 0
    assert told_steps(run) == [*ALL_STEPS, "5 train"]
    assert [(start["id"], start["next_step"]) for start in told(run, "start")] == [(None, 0), ("id-1", 5)]


def test_it_is_replaced_on_demand(run):
    track(run)
    assert track(run, "--replace") == 0
    assert told_steps(run) == ALL_STEPS * 2
    assert [(start["id"], start["replaces"]) for start in told(run, "start")] == [(None, False), ("id-1", True)]


def test_another_project_is_another_run(run):
    track(run)
    track(run, "--project", "other")
    assert [start["id"] for start in told(run, "start")] == [None, None]
    assert len(json.loads((run / "tracker.json").read_text())) == 2


def test_what_failed_goes_on_with_the_same_command(run, monkeypatch, refused):
    monkeypatch.setenv("FAKE_FAILS", "log raises")
    said = refused("track", run, "--to", "fake", late=True)
    assert f"fake did not take {run}: RuntimeError: the wall is wet. " in said
    monkeypatch.setenv("FAKE_FAILS", "")
    assert track(run) == 0
    assert told_steps(run) == ALL_STEPS
    for fails in ("start exits", "start raises"):
        monkeypatch.setenv("FAKE_FAILS", fails)
        said = refused("track", run, "--to", "fake", "--replace", late=True)
        assert "fake did not take" in said
        assert "run the same command again: it sends what is missing" in said


def test_what_failed_at_its_end_is_sent_again_as_a_whole(run, monkeypatch, refused, capsys):
    """All is noted as sent: the same command would send nothing."""
    monkeypatch.setenv("FAKE_FAILS", "finish raises")
    said = refused("track", run, "--to", "fake", late=True)
    assert "Correct this, and run the same command again with --replace: it sends all again" in said
    monkeypatch.setenv("FAKE_FAILS", "")
    (run / "told.jsonl").unlink()
    assert track(run, "--replace") == 0
    assert told_steps(run) == ALL_STEPS


def test_a_folder_is_the_same_from_everywhere(run, tmp_path, monkeypatch):
    for here, folder in ((tmp_path, "store"), (run, "../store"), (run, "store")):
        monkeypatch.chdir(here)
        assert track(run, "--folder", folder) == 0
    folders = [each["folder"] for each in json.loads((run / "tracker.json").read_text())]
    assert folders == [str(tmp_path / "store"), str(run / "store")]
    assert len(told(run, "start")) == 2


def test_where_a_run_is_has_no_secret(run, fake, capsys):
    fake_class = TRACKERS["fake"]
    start = fake_class.start
    fake_class.start = lambda *given: replace(start(*given), where="postgresql://u:pa/ss@h/db")
    assert track(run) == 0
    assert "ss@" not in capsys.readouterr().out + (run / "tracker.json").read_text()


def test_a_comparison_gives_all_its_runs_in_one_group(tmp_path, capsys):
    runs = [make_run(tmp_path / "both" / "runs" / name) for name in ("opd-seed0", "grpo-seed0")]
    (tmp_path / "both" / "comparison.json").write_text('{"name": "opd against grpo"}')
    assert track(tmp_path / "both", "--json") == 0
    sent = json.loads(capsys.readouterr().out)
    assert [(each["run"], each["sent"]) for each in sent] == [(str(run), 8) for run in sorted(runs)]
    assert [told(run, "start")[0]["name"] for run in runs] == ["opd-seed0", "grpo-seed0"]
    assert {told(run, "start")[0]["group"] for run in runs} == {"opd against grpo"}


def test_the_recipe_says_the_rest(run):
    with (run / "recipe.toml").open("a") as file:
        file.write('\n[tracker]\nname = "fake"\nproject = "p"\ngroup = "g"\n')
    track(run, "--group", "mine")
    (start,) = told(run, "start")
    assert (start["project"], start["group"]) == ("p", "mine")


def test_what_cannot_be_sent_is_refused(run, refused, tmp_path, monkeypatch):
    assert "is not the folder of a run" in refused("track", tmp_path, "--to", "fake")
    assert "Perhaps tensorboard is meant" in refused("track", run, "--to", "tensorbord")
    assert "it shows nothing. Choose one of tensorboard" in refused("track", run, "--to", "none")
    assert "all would have the same name" in refused(
        "track", run, make_run(tmp_path / "other"), "--to", "fake", "--run-name", "n"
    )
    with hold_sent(run, waits=False):
        assert "is being sent to a tracker by another process" in refused("track", run, "--to", "fake")
    (run / "tracker.json").write_text("{}")
    assert "tracker.json cannot be read" in refused("track", run, "--to", "fake")
    monkeypatch.setattr(unfit_trackers, "find_spec", lambda name: None if name == "wandb" else find_spec(name))
    said = refused("track", run, "--to", "wandb")
    assert "the package wandb is not installed. Run `pip install 'video-opd[wandb]'`" in said
    TRACKERS["fake"].package = "there_is_none.inside"
    assert "the package there_is_none.inside is not installed" in refused("track", run, "--to", "fake")
    assert told(run, "start") == []


def test_a_lock_that_the_disk_does_not_take_is_told(run, refused, monkeypatch):
    def lock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", lock)
    assert ".tracker.lock cannot be written: No locks available." in refused("track", run, "--to", "fake")


def test_the_help_offers_what_the_command_takes(run, capsys):
    with pytest.raises(SystemExit):
        main(["track", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "or one of your own (with --plugin). In a recipe also none." in said
    assert "a list on stdout, with one JSON object for each run" in said
    assert track(run, "--json") == 0
    assert [each["run"] for each in json.loads(capsys.readouterr().out)] == [str(run)]


def test_a_tracker_is_a_class_with_three_methods():
    for given, reason in ((lambda: None, "has no start"), (type("T", (), {"start": int, "log": int}), "has no finish")):
        with pytest.raises(ConfigurationError, match=reason):
            register_tracker("mine")(given)
    with pytest.raises(ConfigurationError, match="the name is taken"):
        register_tracker("none")(TRACKERS["fake"])


def test_the_command_is_understood_with_every_setting(run):
    call = understand(["track", str(run), "--to", "wandb", "--folder", "x", "--project", "p", "--replace"])
    assert call.is_given("replace")
