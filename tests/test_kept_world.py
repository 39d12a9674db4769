"""Rendering the tiny world changes no file of the user's, whatever the paths, and whatever an earlier call left."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from folders import contents, kept
from video_opd.cli import main
from video_opd.config.comparison_recipe import load_comparison, make_recipe
from video_opd.config.recipe_file import load_recipe, overlay
from video_opd.data import tiny_world
from video_opd.data.tiny_world import BuildSettings, build
from video_opd.data.video.video_io import write_video
from video_opd.demo import find_bundled_recipe
from video_opd.errors import ConfigurationError
from video_opd.train.build import needs_rendering, prepare_data
from video_opd.train.build_inputs import find_side_questions_file

SPLITS = ("train", "validation", "test")
SIZES = {"train": 4, "validation": 2, "test": 2}
SETTINGS = BuildSettings(num_queries=SIZES)
PATHS = ("--data.videos", "videos", *(word for split in SPLITS for word in (f"--data.{split}", f"{split}.jsonl")))


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A user's data set, which is also the working directory: manifests beside videos/, and a clip called train-…"""
    folder = tmp_path / "own"
    (folder / "videos").mkdir(parents=True)
    write_video(folder / "videos" / "train-kitchen.mp4", np.full((16, 64, 64, 3), 90, np.uint8), 2.0)
    for split in SPLITS:
        row = {"video": "train-kitchen.mp4", "query": "the red circle", "spans": [[1.0, 2.0]], "duration": 8.0}
        rows = [{"id": f"{split}-{number}"} | row for number in range(4)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def with_world(recipe_file, tmp_path) -> Path:
    """The tests' recipe with a small tiny world in the places of recipes/tiny-opd.toml, and its side questions."""
    tables = tomllib.loads(recipe_file.read_text())
    root = "data/tiny-world"
    tables["data"] = {"videos": f"{root}/videos", **{split: f"{root}/{split}.jsonl" for split in SPLITS}}
    tables["data"]["tiny_world"] = {f"num_{split}": size for split, size in SIZES.items()}
    tables["training"]["steps"] = 1
    tables["side_questions"] = {"template": "tiny-before"}
    path = tmp_path / "world.toml"
    path.write_text(tomli_w.dumps(tables))
    return path


def own_recipe(with_world: Path, path: Path, **data: str) -> Path:
    """The same with other data paths in the file itself, beside [data.tiny_world]."""
    tables = tomllib.loads(with_world.read_text())
    tables["data"] |= data
    path.write_text(tomli_w.dumps(tables))
    return path


# The two routes of the issue


def test_train_on_ones_own_manifests_trains_on_them(own, with_world, tmp_path, caplog):
    before = contents(own)
    assert main(["train", str(with_world), *PATHS, "--out", str(tmp_path / "run")]) == 0
    assert contents(own) == before
    rows = [json.loads(line) for line in (tmp_path / "run" / "answers.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} <= {f"train-{number}" for number in range(4)}
    assert "no side questions are asked" in caplog.text
    assert tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())["data"]["tiny_world"]["render"] is False


@pytest.mark.parametrize("record", ["earlier version", "under way", "finished", "something else", "no JSON"])
@pytest.mark.parametrize("missing", [*SPLITS, "videos"])
def test_a_record_left_in_the_folder_gives_no_leave_to_render(own, with_world, refused, record, missing, tmp_path):
    described = SETTINGS.describe()
    content = {
        "earlier version": json.dumps(described),
        "under way": json.dumps(described | {"files": None}),
        "finished": json.dumps(described | {"files": {f"{split}.jsonl": "0" * 64 for split in SPLITS}}),
        "something else": '{"planet": "earth"}',
        "no JSON": "earth",
    }[record]
    (own / "world.json").write_text(content)
    if missing == "videos":
        shutil.rmtree(own / "videos")
    else:
        (own / f"{missing}.jsonl").unlink()
    before = contents(own)
    sentence = refused("train", with_world, *PATHS, "--out", tmp_path / "run")
    assert f"data.{missing} = " in sentence
    assert "video-opd tiny-world build --out" in sentence
    in_file = own_recipe(
        with_world, tmp_path / "own.toml", videos="videos", **{split: f"{split}.jsonl" for split in SPLITS}
    )
    for command in ("train", "doctor"):
        refused(command, in_file, *(("--out", tmp_path / "run") if command == "train" else ()))
    refused(
        "tiny-world", "build", "--out", ".", *(word for split in SPLITS for word in (f"--{split}", str(SIZES[split])))
    )
    assert contents(own) == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("record", ["earlier version", "under way", "finished", "a rendered world's"])
@pytest.mark.parametrize("side_questions", [None, "a letter to a friend\n", "rendered"])
def test_a_record_left_in_the_folder_asks_no_side_questions(own, with_world, record, side_questions, tmp_path, caplog):
    """Those of the tiny world are about its clips; a file of that name may be anybody's."""
    build(tmp_path / "world", SETTINGS)
    rendered, described = (tmp_path / "world" / "before.jsonl").read_text(), SETTINGS.describe()
    files = {f"{name}.jsonl": "0" * 64 for name in (*SPLITS, "before")}
    content = {
        "earlier version": json.dumps(described),
        "under way": json.dumps(described | {"files": None}),
        "finished": json.dumps(described | {"files": files}),
        "a rendered world's": (tmp_path / "world" / "world.json").read_text(),
    }[record]
    (own / "world.json").write_text(content)
    if side_questions:
        (own / "before.jsonl").write_text(rendered if side_questions == "rendered" else side_questions)
    vouched = (record, side_questions) == ("a rendered world's", "rendered")
    recipe = load_recipe(with_world, dict(zip((flag[2:] for flag in PATHS[::2]), PATHS[1::2], strict=True)))
    assert find_side_questions_file(recipe) == (Path("before.jsonl") if vouched else None)
    if record == "earlier version" and side_questions != "rendered":
        before = contents(own)
        assert main(["train", str(with_world), *PATHS, "--out", str(tmp_path / "run")]) == 0
        assert contents(own) == before
        assert "no side questions are asked" in caplog.text


# Whose data they are


@pytest.mark.parametrize(
    ("overrides", "missing"),
    [
        ({"videos": "."}, "train"),
        ({"videos": "empty"}, "train"),
        ({"videos": "link"}, "train"),
        ({"train": "train.jsonl"}, "videos"),
        ({"validation": "validation.jsonl"}, "videos"),
        ({"test": "test.jsonl"}, "videos"),
        ({"videos": "new/videos"} | {split: f"new/{split}.jsonl" for split in SPLITS}, "videos"),
        ({"videos": "videos"} | {split: f"new/{split}.jsonl" for split in SPLITS}, "train"),
    ],
)
@pytest.mark.parametrize("command", ["train", "doctor", "compare"])
def test_other_data_paths_render_nothing(own, with_world, refused, overrides, missing, command, tmp_path):
    (own / "empty").mkdir()
    (own / "link").symlink_to("videos")
    (own.parent / "comparison.toml").write_text(
        f'name = "c"\nrecipe = "{with_world.name}"\nseeds = [0]\n[methods.opd.method]\nname = "opd"\n'
    )
    before = contents(own)
    words = [word for key, value in overrides.items() for word in (f"--data.{key}", value)]
    recipe = own.parent / "comparison.toml" if command == "compare" else with_world
    out = () if command == "doctor" else ("--out", tmp_path / "run")
    assert f"data.{missing} = " in refused(command, recipe, *words, *out)
    assert contents(own) == before
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_based_on_another_means_its_own_data(own, with_world, refused, tmp_path):
    """`base`, and [shared.data] of a comparison, are other paths without a word of the tiny world too."""
    data = {"videos": "videos", **{split: f"{split}.jsonl" for split in SPLITS}}
    based = tmp_path / "based.toml"
    based.write_text(tomli_w.dumps({"base": with_world.name, "data": data}))
    assert load_recipe(based).data.tiny_world.render is False
    comparison = tmp_path / "comparison.toml"
    tables = {"name": "c", "recipe": with_world.name, "shared": {"data": data}, "methods": {"opd": {}}}
    comparison.write_text(tomli_w.dumps(tables))
    recipe, shared = load_comparison(comparison)
    assert make_recipe(recipe, shared, "opd", None, 0).data.tiny_world.render is False
    (own / "test.jsonl").unlink()
    before = contents(own)
    assert "data.test = " in refused("train", based, "--out", tmp_path / "run")
    assert "data.test = " in refused("compare", comparison, "--out", tmp_path / "run")
    assert contents(own) == before
    # Whoever says both means the tiny world, there.
    both = overlay(tomllib.loads(with_world.read_text()), {"data": data | {"tiny_world": {"seed": 1}}})
    assert "render" not in both["data"]["tiny_world"]
    assert load_recipe(with_world, {"data.videos": "x/videos", "data.tiny_world.seed": "1"}).data.tiny_world.render


@pytest.mark.parametrize(
    "data",
    [
        {"videos": "."},
        {"videos": "clips", "train": "train.jsonl"},
        {"videos": "videos", "train": "annotations/train.jsonl"},
        {"videos": "videos", **{split: f"{split}.jsonl" for split in SPLITS}},
        {"videos": "link/videos", **{split: f"link/{split}.jsonl" for split in SPLITS}},
    ],
    ids=["dot", "other-name", "other-folder", "occupied", "occupied-through-a-link"],
)
def test_a_recipe_of_ones_own_renders_into_no_folder_of_ones_own(own, with_world, refused, data, tmp_path):
    (own / "test.jsonl").unlink()
    (own / "link").symlink_to(".")
    recipe = own_recipe(with_world, own / "mine.toml", **data)
    before = contents(own)
    refused("train", recipe, "--out", tmp_path / "run")
    refused("doctor", recipe)
    with pytest.raises(ConfigurationError):
        prepare_data(load_recipe(recipe))
    assert contents(own) == before
    assert not (tmp_path / "run").exists()


def test_data_that_are_all_there_are_used_as_they_are(own, with_world):
    """A recipe of one's own in which [data.tiny_world] was left: there is nothing to render."""
    recipe = load_recipe(
        own_recipe(with_world, own / "mine.toml", videos="videos", **{split: f"{split}.jsonl" for split in SPLITS})
    )
    before = contents(own)
    assert not needs_rendering(recipe)
    prepare_data(recipe)
    assert contents(own) == before


def test_a_recipe_in_another_working_directory_finds_what_lies_there(own, with_world, refused, tmp_path):
    """The paths of a recipe are relative to where the command is typed."""
    mine = own / "data" / "tiny-world"
    mine.mkdir(parents=True)
    (mine / "train.jsonl").write_text("mine")
    before = contents(own)
    assert "so it is a manifest of something else" in refused("train", with_world, "--out", tmp_path / "run")
    assert contents(own) == before
    (own / "elsewhere").mkdir()
    os.chdir(own / "elsewhere")
    prepare_data(load_recipe(with_world))
    assert {path.name for path in (own / "elsewhere" / "data" / "tiny-world").iterdir()} == {
        "videos", "world.json", "before.jsonl", *(f"{split}.jsonl" for split in SPLITS)
    }  # fmt: skip
    assert kept(before, own)


@pytest.mark.parametrize("entry", ["notes.txt", "videos/mine.mp4", "train.jsonl", "world.json", "before.jsonl"])
def test_tiny_world_build_mixes_with_nothing(entry, refused, tmp_path):
    (tmp_path / entry).parent.mkdir(exist_ok=True)
    (tmp_path / entry).write_text("mine")
    before = contents(tmp_path)
    assert "is there already" in refused("tiny-world", "build", "--out", tmp_path, "--train", 2)
    assert contents(tmp_path) == before


def test_the_demo_renders_into_its_own_folder_only(refused, tmp_path):
    (tmp_path / "tiny-world").mkdir()
    (tmp_path / "tiny-world" / "train.jsonl").write_text("mine")
    before = contents(tmp_path)
    refused("demo", "--out", tmp_path)
    assert contents(tmp_path) == before
    assert load_recipe(find_bundled_recipe("tiny-opd")).data.tiny_world.render


# A folder that was rendered


def test_an_empty_folder_and_hidden_files_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(".gitignore").write_text("*.mp4")
    build(Path(), SETTINGS)
    assert Path(".gitignore").read_text() == "*.mp4"
    assert tiny_world.read_settings(Path()) == SETTINGS.describe()


@pytest.mark.parametrize("name", ["train.jsonl", "test.jsonl", "before.jsonl", "videos/train-0-00000.mp4"])
def test_a_file_that_was_changed_is_the_users(name, refused, tmp_path):
    """Told by its hash; of an under-way world by what would be rendered."""
    for state in ("finished", "under way"):
        folder = tmp_path / state
        build(folder, SETTINGS)
        (folder / name).write_text("mine")
        if state == "under way":
            record = json.loads((folder / "world.json").read_text())
            (folder / "world.json").write_text(json.dumps(record | {"files": None}))
        (folder / "validation.jsonl").unlink()
        before = contents(folder)
        with pytest.raises(ConfigurationError, match=f"{name} is there already.*is yours and is not written over"):
            build(folder, SETTINGS)
        assert kept(before, folder)
        if state == "finished" or name.endswith(".jsonl"):
            assert contents(folder) == before


def test_a_rendering_that_was_killed_does_not_go_on_among_other_files(tmp_path):
    build(tmp_path, SETTINGS)
    record = json.loads((tmp_path / "world.json").read_text())
    (tmp_path / "world.json").write_text(json.dumps(record | {"files": None}))
    (tmp_path / "validation.jsonl").unlink()
    for name in ("notes.txt", "videos/train-kitchen.mp4"):
        (tmp_path / name).write_text("mine")
        before = contents(tmp_path)
        with pytest.raises(ConfigurationError, match=f"{name} is there already"):
            build(tmp_path, SETTINGS)
        assert contents(tmp_path) == before
        (tmp_path / name).unlink()
    build(tmp_path, SETTINGS)


@pytest.mark.parametrize("name", ["train.jsonl", "videos", "videos/train-0-00000.mp4"])
def test_a_link_in_the_place_of_a_file_is_not_followed(name, tmp_path):
    folder, elsewhere = tmp_path / "world", tmp_path / "elsewhere"
    build(folder, SETTINGS)
    elsewhere.mkdir()
    (elsewhere / "mine.mp4").write_text("mine")
    target = folder / name
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    target.symlink_to(elsewhere if name == "videos" else elsewhere / "not-there")
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError, match="is there already"):
        build(folder, SETTINGS)
    assert contents(tmp_path) == before


def test_what_is_missing_is_made_again_and_what_was_added_stays(tmp_path):
    build(tmp_path, SETTINGS)
    whole = contents(tmp_path)
    (tmp_path / "videos" / "mine.mp4").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    for name in ("videos/test-0-00000.mp4", "train.jsonl", "before.jsonl"):
        (tmp_path / name).unlink()
    build(tmp_path, SETTINGS)
    mine = hashlib.sha256(b"mine").hexdigest()
    assert contents(tmp_path) == whole | {"videos/mine.mp4": mine, "notes.txt": mine}


def test_the_record_names_every_file_with_its_hash(tmp_path):
    build(tmp_path, SETTINGS)
    files = json.loads((tmp_path / "world.json").read_text())["files"]
    found = contents(tmp_path)
    assert files == {name: digest for name, digest in found.items() if digest != "folder" and name != "world.json"}


def test_a_world_of_an_earlier_version_is_read_and_never_written(with_world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "tiny-world"
    build(folder, SETTINGS)
    (folder / "world.json").write_text(json.dumps(SETTINGS.describe(), indent=2) + "\n")
    before, recipe = contents(folder), load_recipe(with_world)
    assert not needs_rendering(recipe)
    prepare_data(recipe)
    build(folder, SETTINGS)
    assert contents(folder) == before
    with pytest.raises(ConfigurationError, match="holds a tiny world of other settings"):
        build(folder, BuildSettings(num_queries=SIZES, seed=1))
    (folder / "videos" / "train-0-00000.mp4").unlink()
    (folder / "train.jsonl").write_text("mine")
    before = contents(folder)
    with pytest.raises(ConfigurationError, match="an earlier version rendered it and kept no hashes"):
        build(folder, SETTINGS)
    assert contents(folder) == before


def test_a_rendering_that_was_killed_goes_on(with_world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = (
        "from pathlib import Path\nfrom video_opd.data.tiny_world import BuildSettings, build\n"
        f"build(Path('data/tiny-world'), BuildSettings(num_queries={ {**SIZES, 'train': 400} }))\n"
    )
    folder = tmp_path / "data" / "tiny-world"
    for clips in (3, 12):  # the manifests are there by then: they come first
        process = subprocess.Popen([sys.executable, "-c", code])
        began = time.monotonic()
        while len(list(folder.glob("videos/train-*.mp4"))) < clips and time.monotonic() - began < 60:
            time.sleep(0.005)
        process.kill()
        process.wait()
    assert len(list(folder.glob("videos/*.mp4"))) >= 12
    assert (folder / "test.jsonl").exists()
    assert tiny_world.read_settings(folder) is None
    recipe = load_recipe(with_world, {"data.tiny_world.num_train": "400"})
    assert needs_rendering(recipe)
    prepare_data(recipe)
    assert not needs_rendering(recipe)
    build(tmp_path / "whole", BuildSettings(num_queries=SIZES | {"train": 400}))
    hidden = {path.name for path in folder.rglob(".*")}  # at most the file that a kill cut short
    assert len(hidden) <= 2
    found = {name: digest for name, digest in contents(folder).items() if Path(name).name not in hidden}
    assert found == contents(tmp_path / "whole")


def test_two_processes_may_render_the_same_world(tmp_path):
    """A comparison may be started on several devices at once."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom video_opd.data.tiny_world import BuildSettings, build\n"
        f"build(Path(sys.argv[1]), BuildSettings(num_queries={ {**SIZES, 'train': 60} }))\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "world")]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    build(tmp_path / "alone", BuildSettings(num_queries=SIZES | {"train": 60}))
    assert contents(tmp_path / "world") == contents(tmp_path / "alone")
