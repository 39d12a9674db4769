import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from video_opd.errors import ConfigurationError
from video_opd.runs import RunDirectory

RECIPE = """
method = "opd"
seed = 1
out = "runs/a"

[learner]
learning_rate = 1e-5
betas = [0.9, 0.95]

[curriculum]
easy = nan
"""
ENVIRONMENT = {"python": "3.11", "torch": "2.12"}


def open_run(path: Path, recipe: str = RECIPE, ignore_keys: frozenset[str] = frozenset()) -> RunDirectory:
    """Open, take a step and let go again, for tests about what is found on the way in."""
    with RunDirectory.create_or_resume(
        path, recipe_toml=recipe, environment=ENVIRONMENT, ignore_keys=ignore_keys
    ) as run:
        run.metrics.write_text('{"step": 1}\n')
        return run


def test_a_run_that_never_began_takes_another_recipe(tmp_path: Path) -> None:
    """A model that could not be loaded leaves a folder behind; the mended recipe may have it."""
    with RunDirectory.create_or_resume(tmp_path, recipe_toml=RECIPE, environment=ENVIRONMENT):
        pass
    mended = RECIPE.replace("seed = 1", "seed = 2")
    with RunDirectory.create_or_resume(tmp_path, recipe_toml=mended, environment=ENVIRONMENT) as run:
        assert run.recipe.read_text() == mended


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_new_run_has_its_recipe_and_environment(tmp_path: Path) -> None:
    run = open_run(tmp_path / "new" / "run")
    assert not run.resumed
    assert run.recipe.read_text() == RECIPE
    assert json.loads(run.environment.read_text()) == ENVIRONMENT
    assert run.checkpoints.is_dir()
    assert run.evaluation.is_dir()
    assert {run.metrics.name, run.answers.name, run.report.name} == {"metrics.jsonl", "answers.jsonl", "report.html"}


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    assert not open_run(tmp_path).resumed


def test_the_same_recipe_goes_on_and_deletes_nothing(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run")
    run.metrics.write_text('{"step": 1}\n')
    before = content(run.path)
    again = open_run(run.path, RECIPE.replace("seed = 1", "seed   =   1  # as before"))
    assert again.resumed
    assert content(run.path) == before


def test_another_recipe_is_refused_key_by_key(tmp_path: Path) -> None:
    open_run(tmp_path / "run")
    before = content(tmp_path / "run")
    other = RECIPE.replace("1e-5", "3e-5").replace("seed = 1", "").replace("0.95", "0.99") + "rounds = 3\n"
    with pytest.raises(ConfigurationError) as caught:
        open_run(tmp_path / "run", other)
    assert caught.value.cause.endswith(
        "(curriculum.rounds: absent -> 3; learner.betas: [0.9, 0.95] -> [0.9, 0.99]; "
        "learner.learning_rate: 1e-05 -> 3e-05; seed: 1 -> absent)"
    )
    assert "--out" in caught.value.remedy
    assert content(tmp_path / "run") == before


@pytest.mark.parametrize(("old", "new"), [("seed = 1", "seed = true"), ("seed = 1", "seed = 1.0")])
def test_equal_in_python_is_not_the_same_recipe(tmp_path: Path, old: str, new: str) -> None:
    open_run(tmp_path / "run")
    with pytest.raises(ConfigurationError, match="seed: 1 -> "):
        open_run(tmp_path / "run", RECIPE.replace(old, new))


def test_keys_that_may_differ_may_differ(tmp_path: Path) -> None:
    open_run(tmp_path / "run")
    other = RECIPE.replace("runs/a", "runs/b").replace("1e-5", "3e-5")
    assert open_run(tmp_path / "run", other, frozenset({"out", "learner"})).resumed
    with pytest.raises(ConfigurationError, match=r"\(learner\.learning_rate: "):
        open_run(tmp_path / "run", other, frozenset({"out", "lear"}))


def test_many_differences_are_cut_short(tmp_path: Path) -> None:
    open_run(tmp_path / "run")
    with pytest.raises(ConfigurationError, match="and 17 more"):
        open_run(tmp_path / "run", RECIPE + "\n".join(f"key{n} = 1" for n in range(25)))


def test_an_unreadable_recipe_is_not_overwritten(tmp_path: Path) -> None:
    open_run(tmp_path)
    (tmp_path / "recipe.toml").write_text("method = ")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        open_run(tmp_path)
    assert (tmp_path / "recipe.toml").read_text() == "method = "


def test_another_environment_is_written_beside_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for torch in ("2.12", "2.13", "2.13", "2.12"):
        with RunDirectory.create_or_resume(tmp_path, recipe_toml=RECIPE, environment={"torch": torch}):
            pass
    assert sorted(path.name for path in tmp_path.glob("environment*")) == ["environment-2.json", "environment.json"]
    assert json.loads((tmp_path / "environment.json").read_text()) == {"torch": "2.12"}
    assert caplog.text.count("another environment") == 1


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all my work")
    with pytest.raises(ConfigurationError, match=r"thesis\.tex.*not the folder of a run"):
        open_run(tmp_path)
    assert content(tmp_path) == {"thesis.tex": b"all my work"}


def test_a_file_or_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigurationError, match=r"cannot be used.*--out"):
            open_run(path)


def test_the_operating_systems_refusal_is_explained_but_not_that_of_the_run_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(PermissionError, match="inside"),
        RunDirectory.create_or_resume(tmp_path / "run", recipe_toml=RECIPE, environment={}),
    ):
        raise PermissionError("inside")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        open_run(tmp_path / "other")


HOLD = """
import sys
from pathlib import Path
from video_opd.runs import RunDirectory
with RunDirectory.create_or_resume(Path(sys.argv[1]), recipe_toml=sys.argv[2], environment={}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_dies_however_it_dies(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), RECIPE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        before = content(path)
        with pytest.raises(ConfigurationError, match=f"in use by process {first.pid} on "):
            open_run(path)
        assert content(path) == before
        assert set(json.loads((path / ".run.lock").read_text())) == {"host", "pid", "boot_id"}
        first.kill()
    assert open_run(path).resumed


def test_the_same_process_is_refused_too_and_the_lock_ends_with_the_block(tmp_path: Path) -> None:
    with RunDirectory.create_or_resume(tmp_path, recipe_toml=RECIPE, environment={}):
        with pytest.raises(ConfigurationError, match=f"process {os.getpid()}"):
            open_run(tmp_path)
        (tmp_path / ".run.lock").write_text("")
        with pytest.raises(ConfigurationError, match="in use by another process"):
            open_run(tmp_path)
    open_run(tmp_path)
    assert (tmp_path / ".run.lock").read_bytes() == b"", "this process lives on and works on it no more"


@pytest.mark.parametrize("lock", ["", '{"ho', '{"host": "node-1", "pi'])
def test_a_run_killed_before_it_had_a_recipe_can_be_started_again(tmp_path: Path, lock: str) -> None:
    (tmp_path / ".run.lock").write_text(lock)
    (tmp_path / ".recipe.toml.tmp-17").write_text('method = "o')
    assert not open_run(tmp_path).resumed
