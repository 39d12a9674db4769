"""Nothing that a command did not make is replaced or deleted, one test for every place that writes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from folders import contents, kept
from video_opd.cli import main
from video_opd.data.manifest import read_manifest
from video_opd.runs import RunDirectory, save_checkpoint
from video_opd.runs.checkpoint import verify_checkpoint
from video_opd.runs.old_checkpoints import KeepRule

# --out FILE


MINE = {
    "a manifest made by hand": '{"id":"mine","video":"a.mp4","query":"q","spans":[[1,2]],"duration":10.0}\n',
    "rows of another order": '{"query": "q", "id": "x", "video": "a.mp4", "spans": [[1.0, 2.0]], "duration": 10.0}\n',
    "prose": "It was a dark and stormy night.\n",
    "a list": "[1, 2]\n",
    "bytes": b"\x00\xff\xfe\x80" * 50,
    "a page of one's own": "<!doctype html><title>mine</title>\n",
}


@pytest.fixture
def files(world, tmp_path, monkeypatch) -> Path:
    """The tests' manifests and annotations, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "test"):
        shutil.copy(world / f"{name}.jsonl", tmp_path / f"{name}.jsonl")
    shutil.copy(world / "train.jsonl", tmp_path / "copy.jsonl")
    (tmp_path / "records").write_text('{"video": "a.mp4", "query": "q", "start": 1, "end": 2, "duration": 10}\n')
    return tmp_path


WRITERS = {
    "import": "data import jsonl records --out {out}",
    "sample": "data sample train.jsonl --count 2 --out {out}",
    "merge": "data merge train.jsonl test.jsonl --out {out}",
    "without": "data overlap train.jsonl test.jsonl --without {out}",
    "pairs": "data overlap train.jsonl copy.jsonl --out {out}",
    "picture": "data stats train.jsonl --picture {out}",
}


@pytest.mark.parametrize("content", MINE.values(), ids=MINE)
@pytest.mark.parametrize("command", WRITERS.values(), ids=WRITERS)
def test_out_replaces_no_file_of_another_kind(command, content, refused, files):
    out = files / "mine.svg"
    out.write_bytes(content if isinstance(content, bytes) else content.encode())
    (files / "link.svg").symlink_to("mine.svg")
    before = contents(files)
    for name in ("mine.svg", "link.svg"):
        assert f"{name} is there already" in refused(*command.format(out=name).split(), late=True)
    assert contents(files) == before


@pytest.mark.parametrize("command", WRITERS.values(), ids=WRITERS)
def test_out_replaces_what_a_command_of_the_kind_wrote_and_an_empty_file(command, files, capsys):
    out = files / "out.svg"
    out.touch()
    for _ in range(2):
        assert main(command.format(out="out.svg").split()) == 0
    written = out.read_bytes()
    assert written
    for other in (WRITERS["pairs"], WRITERS["picture"], WRITERS["import"]):
        of_the_kind = other == command or {other, command}.isdisjoint({WRITERS["pairs"], WRITERS["picture"]})
        assert main(other.format(out="out.svg").split()) == (0 if of_the_kind else 2), f"{other} over {command}"
        assert of_the_kind or out.read_bytes() == written


def test_predictions_and_scores_replace_no_manifest(files, models, world, refused, monkeypatch):
    monkeypatch.setattr("video_opd.policy.load.load_policy", lambda *_, **__: pytest.fail("loaded a model"))
    before = contents(files)
    ask = (models["student"], "test.jsonl", "--videos", world / "videos", "--out")
    assert "it is not a file of predictions" in refused("evaluate", *ask, "train.jsonl")
    refused("score", *ask, "train.jsonl")
    assert contents(files) == before


def test_selections_and_merged_scores_replace_no_manifest(files, models, world, refused, capsys):
    words = ["score", models["student"], "train.jsonl", "--videos", str(world / "videos"), "--answers", "2"]
    assert main([*words, "--out", "scores.jsonl", "--device", "cpu"]) == 0
    before = contents(files)
    assert "it is not a selection" in refused("select", "--student", "scores.jsonl", "--count", 2, "--threshold", 0,
                                              "--out", "train.jsonl")  # fmt: skip
    assert "it is not a file of scores" in refused("merge-scores", "scores.jsonl", "--out", "train.jsonl")
    assert contents(files) == before
    for _ in range(2):
        assert main(["merge-scores", "scores.jsonl", "--out", "merged.jsonl"]) == 0
        words = ["select", "--student", "scores.jsonl", "--count", "2", "--threshold", "0"]
        assert main([*words, "--out", "selection.jsonl"]) == 0


def test_other_programs_write_scores_too(files):
    """Results of somebody's own, whose rows have a key `scores`, are no file of scores of this program."""
    from video_opd.cli.earlier_outputs import Kind

    (files / "results").write_text('{"scores": {"mIoU": 0.5, "R1@0.5": 0.4}}\n{"scores": {"mIoU": 0.6}}\n')
    assert not Kind.SCORES.is_in(files / "results")


def test_answers_to_a_benchmark_replace_nothing_else(files, refused, monkeypatch):
    monkeypatch.setattr("video_opd.policy.load.load_policy", lambda *_, **__: pytest.fail("loaded a model"))
    from video_opd.cli.earlier_outputs import Kind

    assert not Kind.ANSWERS.is_in(files / "train.jsonl")
    (files / "answers").write_text('{"id": "1", "video": "a", "categories": {}, "right": "A", "answer": "A"}\n')
    assert Kind.ANSWERS.is_in(files / "answers")


def test_a_part_of_a_split_follows_no_link(files, refused):
    """Also one that leads nowhere: it would be followed, and taken away when a later part fails."""
    (files / "parts").mkdir()
    (files / "parts" / "b.jsonl").symlink_to(files / "not-there")
    before = contents(files)
    split = ("data", "split", "train.jsonl", "--out", "parts", "--parts", "a=0.5", "b=0.5")
    assert "b.jsonl is there already" in refused(*split)
    assert contents(files) == before


# Run folders


RUN_FILES = ("recipe.toml", "environment.json", "inputs.json", "metrics.jsonl", "answers.jsonl", "report.html",
             ".run.lock", ".recipe.sha256", "checkpoints/step-000010/model.safetensors",
             "evaluation/student-before.json", "evaluation/student-after.predictions.jsonl",
             "rounds/teacher-scores.jsonl", "result.json", "comparison.json", "finished.json")  # fmt: skip


@pytest.mark.parametrize("name", RUN_FILES)
@pytest.mark.parametrize("command", ["train", "demo", "report"])
def test_a_folder_with_a_file_of_the_name_is_no_run_folder(name, command, recipe_file, refused, tmp_path):
    folder = tmp_path / "mine"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("mine")
    before = contents(folder)
    if command == "report":
        main(["report", str(folder)])
        assert kept(before, folder)
        return
    refused(command, *([recipe_file] if command == "train" else []), "--out", folder)
    assert contents(folder) == before


def test_ones_own_recipe_is_not_resolved_in_its_place(recipe_file, refused, tmp_path, monkeypatch):
    """`train recipe.toml --out .` once replaced the recipe by what was made of it."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "recipe.toml").write_text(recipe_file.read_text() + "# mine\n")
    monkeypatch.chdir(project)
    before = contents(project)
    assert "recipe.toml is there already" in refused("train", "recipe.toml", "--out", ".")
    assert "recipe.toml is there already" in refused("train", recipe_file, "--out", project)
    assert contents(project) == before


def test_a_recipe_that_was_edited_in_a_run_that_never_began_is_kept(tmp_path):
    from video_opd.errors import ConfigurationError

    def opened(recipe: str) -> None:
        with RunDirectory.create_or_resume(tmp_path, recipe_toml=recipe, environment={}):
            pass

    opened("seed = 1\n")
    opened("seed = 2\n")
    (tmp_path / "recipe.toml").write_text("seed = 2  # mine\n")
    before = contents(tmp_path)
    for recipe in ("seed = 2\n", "seed = 3\n"):
        with pytest.raises(ConfigurationError, match=r"recipe\.toml is there already"):
            opened(recipe)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["answers.jsonl", "report.html"])
def test_a_run_that_never_began_takes_no_file_of_others(name, recipe_file, refused, tmp_path):
    from video_opd.config.recipe_file import load_recipe

    run, recipe = tmp_path / "run", load_recipe(recipe_file)
    with RunDirectory.create_or_resume(run, recipe_toml=recipe.to_toml(), environment={}):
        pass
    (run / name).write_text("mine")
    before = contents(run)
    assert f"{name} is there already" in refused("train", recipe_file, "--out", run)
    assert contents(run) == before


@pytest.mark.slow
def test_the_page_of_a_run_replaces_no_page_of_ones_own(recipe_file, refused, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(recipe_file), "--out", str(run), "--steps", "1"]) == 0
    assert main(["report", str(run)]) == 0
    (run / "notes.txt").write_text("mine")
    (run / "report.html").write_text("<p>mine")
    before = {name: text for name, text in contents(run).items() if name != ".run.lock"}
    for command in (("report", run), ("train", recipe_file, "--out", run, "--steps", "1")):
        assert "report.html is there already" in refused(*command)
    assert kept(before, run)


# Checkpoints


def write(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_text("weights")
    (folder / "state.json").write_text("{}")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("predictions.jsonl", "mine"),
        ("model/README.md", "mine"),
        ("model/model.safetensors", "another"),
        ("model/model.safetensors", "WEIGHTS"),
        ("converted/model.gguf", "mine"),
    ],
)
def test_pruning_leaves_what_no_save_put_there(name, content, tmp_path):
    """Predictions beside the model that made them, a converted copy, weights that were replaced (also by as many
    bytes)."""
    save_checkpoint(tmp_path, 10, write)
    file = tmp_path / "step-000010" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    marker = (tmp_path / "step-000010" / "COMPLETE.json").stat().st_mtime_ns
    os.utime(file, ns=(marker + 10**9, marker + 10**9))
    (tmp_path / "notes.txt").write_text("mine")
    for step in (20, 30):
        save_checkpoint(tmp_path, step, write, keep=KeepRule(last=1))
    left = {path: text for path, text in contents(tmp_path).items() if text != "folder"}
    found = {path for path in left if not path.startswith("step-000030/")}
    assert found == {f"step-000010.kept/{name}", "notes.txt"}
    assert (tmp_path / "step-000010.kept" / name).read_text() == content


def test_pruning_deletes_a_checkpoint_that_is_as_it_was_saved(tmp_path):
    for step in (10, 20):
        save_checkpoint(tmp_path, step, write, keep=KeepRule(last=1))
    assert [path.name for path in tmp_path.iterdir()] == ["step-000020"]
    shutil.copytree(tmp_path / "step-000020", tmp_path / "step-000005", copy_function=shutil.copy)
    save_checkpoint(tmp_path, 30, write, keep=KeepRule(last=1))
    assert {path.name for path in tmp_path.iterdir()} == {"step-000030"}, "times of a copy say nothing; hashes do"


@pytest.mark.parametrize("name", ["step-000010", "step-000010.tmp-7"])
def test_a_checkpoint_that_was_moved_and_linked_stays_where_it_is(name, tmp_path):
    checkpoints, elsewhere = tmp_path / "checkpoints", tmp_path / "elsewhere"
    save_checkpoint(checkpoints, 10, write)
    os.rename(checkpoints / "step-000010", elsewhere)
    (checkpoints / name).symlink_to(elsewhere)
    before = contents(tmp_path)
    save_checkpoint(checkpoints, 20, write, keep=KeepRule(last=1))
    assert kept(before, tmp_path)


def test_what_is_no_checkpoint_is_set_aside_and_never_deleted(tmp_path):
    (tmp_path / "step-000010").mkdir()
    (tmp_path / "step-000010" / "mine").write_text("mine")
    (tmp_path / "step-000005").mkdir()
    (tmp_path / "step-000005" / "COMPLETE.json").write_text("mine")
    (tmp_path / "step-000003.tmp-1").write_text("a file")
    for step in (10, 20):
        save_checkpoint(tmp_path, step, write, keep=KeepRule(last=1))
    assert (tmp_path / "step-000010.damaged" / "mine").read_text() == "mine"
    assert (tmp_path / "step-000005" / "COMPLETE.json").read_text() == "mine"
    assert (tmp_path / "step-000003.tmp-1").read_text() == "a file"
    assert verify_checkpoint(tmp_path / "step-000020") is None


# Comparisons, lmms-eval, demo, caches


@pytest.mark.parametrize("name", ["comparison.json", "report.html", "runs/opd-lr0.001-seed0/finished.json"])
def test_a_comparison_replaces_nothing(name, recipe_file, refused, tmp_path):
    comparison, out = tmp_path / "comparison.toml", tmp_path / "out"
    comparison.write_text(f'name = "c"\nrecipe = "{recipe_file.name}"\nseeds = [0]\n[methods.opd.method]\nname = "opd"')
    (out / name).parent.mkdir(parents=True)
    for content in ("mine", "{}", "[]"):
        (out / name).write_text(content)
        before = contents(out)
        refused("compare", comparison, "--out", out)
        assert contents(out) == before


def test_a_marker_of_somebody_elses_is_of_no_data(tmp_path):
    from video_opd.compare.comparison_runs import _read_data_sha256

    for content in ("mine", "[]", "{}", '"x"'):
        (tmp_path / "finished.json").write_text(content)
        assert _read_data_sha256(tmp_path / "finished.json") == ""


@pytest.mark.parametrize(
    ("name", "content"), [("command.json", '{"mine": 1}'), ("command.json", "mine"), ("report.json", '{"mine": 1}')]
)
def test_lmms_eval_replaces_nothing(name, content, refused, tmp_path):
    words = ("evaluate", "tiny-student", "--with", "lmms-eval", "--tasks", "a", "--write-only", "--out", tmp_path)
    if name != "command.json":
        assert main([*map(str, words)]) == 0
        assert main([*map(str, words)]) == 0, "its own files"
    (tmp_path / name).write_text(content)
    before = contents(tmp_path)
    refused(*words)
    refused(*words[:4], "--read-only", "--out", tmp_path)
    assert contents(tmp_path) == before


def test_a_cache_of_scores_adds_files_and_replaces_none(recipe_file, tmp_path, world):
    """Scores of another model under the very name that a run would take."""
    cache, run = tmp_path / "cache", tmp_path / "run"
    words = ["train", str(recipe_file), "--steps", "1", "--curriculum.name", "rounds", "--curriculum.num-rounds", "1",
             "--curriculum.count", "4", "--curriculum.num-answers", "2", "--curriculum.threshold", "0",
             "--curriculum.strategy", "top-k", "--curriculum.cache", str(cache)]  # fmt: skip
    assert main([*words, "--out", str(run)]) == 0
    names = sorted(path.name for path in cache.iterdir())
    assert names
    for name in names:
        (cache / name).write_text("mine")
    before = contents(cache)
    assert main([*words, "--out", str(tmp_path / "again")]) == 0
    assert contents(cache) == before
    assert read_manifest(world / "train.jsonl")
    assert json.loads((run / "rounds" / "1" / "selection-facts.json").read_text())
