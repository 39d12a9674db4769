"""A folder of one's own: what `init` writes, what it refuses, and that it trains."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from folders import contents
from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import copy_recipe, shipped_recipes
from video_opd.data.manifest import read_manifest
from video_opd.errors import ConfigurationError, DataError
from video_opd.starting import OwnData, fill_in, start_project
from video_opd.train.run import run_recipe

TINY = {"student": "tiny-student", "teacher": "tiny-teacher"}


@pytest.fixture
def table(world, tmp_path) -> Path:
    """A table about all clips of the world, with a row about a video that is not there."""
    rows = [row for part in ("train", "validation", "test") for row in read_manifest(world / f"{part}.jsonl")]
    lines = [f'{row.video},"{row.query}",{row.spans[0].start_s},{row.spans[0].end_s}' for row in rows]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["video,query,start,end", *lines, "gone.mp4,a red circle,1,2"]) + "\n")
    return path


def test_a_table_becomes_a_folder_that_can_be_trained_in(world, table, tmp_path):
    before = contents(world), contents(tmp_path)
    out = tmp_path / "new" / "kitchen"
    started = start_project(OwnData(videos=world / "videos", csv=table, **TINY), out)
    assert sorted(path.name for path in out.iterdir()) == [
        "recipe.toml",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    assert sum(started.rows.values()) == 20
    assert sum(started.left_out.values()) == 1
    parts = {name: read_manifest(out / f"{name}.jsonl") for name in started.rows}
    assert {name: len(rows) for name, rows in parts.items()} == started.rows
    videos = [{row.video for row in rows} for rows in parts.values()]
    assert not videos[0] & videos[1]
    assert not videos[0] & videos[2]
    recipe = load_recipe(started.recipe)
    assert recipe.name == "kitchen"
    assert recipe.prompt.template == "tiny", "as the student wants to be asked"
    assert recipe.data.train == out / "train.jsonl"
    assert recipe.training.batch_size == min(16, started.rows["train"])
    text = started.recipe.read_text()
    assert "tiny-world" not in text
    assert "tiny_world" not in text
    assert [line for line in text.splitlines() if " = " in line and "#" not in line] == []
    assert contents(world) == before[0]
    assert contents(tmp_path).items() >= before[1].items()


def test_a_manifest_keeps_its_ids(world, tmp_path):
    manifest = tmp_path / "all.jsonl"
    lines = [(world / f"{part}.jsonl").read_text() for part in ("train", "validation", "test")]
    gone = json.dumps({"id": "gone", "video": "gone.mp4", "query": "a circle", "spans": [[1.0, 2.0]], "duration": 4.0})
    manifest.write_text("".join(lines) + gone + "\n")
    started = start_project(OwnData(videos=world / "videos", manifest=manifest, **TINY), tmp_path / "out")
    ids = {row.id for name in started.rows for row in read_manifest(started.folder / f"{name}.jsonl")}
    assert ids == {row.id for row in read_manifest(manifest)} - {"gone"}
    assert started.left_out == {"no such video in the folder": 1}


@pytest.mark.slow
def test_the_recipe_trains_as_it_stands(world, table, tmp_path):
    started = start_project(OwnData(videos=world / "videos", csv=table, **TINY), tmp_path / "mine")
    text = started.recipe.read_text().replace("steps = 10 ", "steps = 1 ")
    assert "steps = 1 " in text
    recipe = tmp_path / "one-step.toml"
    recipe.write_text(text)  # the ten steps as they stand take half a minute
    results = run_recipe(load_recipe(recipe), tmp_path / "run")
    assert results["steps"] == 1
    assert results["student_after"]["num_queries"] == started.rows["test"]


def test_a_used_folder_is_refused_and_an_empty_one_taken(world, table, tmp_path):
    data = OwnData(videos=world / "videos", csv=table, **TINY)
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").write_text("mine")
    before = contents(used)
    for out in (used, table, world / "videos"):
        with pytest.raises(ConfigurationError, match="is there already"):
            start_project(data, out)
    assert contents(used) == before
    empty = tmp_path / "empty"
    empty.mkdir()
    assert start_project(data, empty).rows


def test_what_fails_leaves_nothing(world, table, tmp_path, monkeypatch):
    from video_opd import starting

    monkeypatch.setattr(starting, "create", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ConfigurationError, match="No space left"):
        start_project(OwnData(videos=world / "videos", csv=table, **TINY), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"csv": None}, "Give --csv or --manifest"),
        ({"manifest": Path("x.jsonl")}, "Give --csv or --manifest"),
        ({"videos": Path("nowhere")}, "no such folder"),
        ({"student": "tiny-studnet"}, "Perhaps tiny-student is meant"),
        ({"teacher": "tiny-teachr"}, "Perhaps tiny-teacher is meant"),
        ({"columns": ("query=caption",)}, "there is no `caption`"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(world, table, tmp_path, change, sentence):
    given = {"videos": world / "videos", "csv": table, **TINY} | change
    with pytest.raises((ConfigurationError, DataError), match=sentence):
        start_project(OwnData(**given), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_few_rows(world, tmp_path):
    first = read_manifest(world / "train.jsonl")[0]
    rows = [f"{first.video},circle number {number},1,2" for number in range(6)]
    table = tmp_path / "few.csv"
    table.write_text("\n".join(["video,query,start,end", *rows]))
    started = start_project(OwnData(videos=world / "videos", csv=table, **TINY), tmp_path / "out")
    assert min(started.rows.values()) == 1
    assert "rows of one video are in several parts" in started.notes[0]
    table.write_text("\n".join(["video,query,start,end", *rows[:2]]))
    with pytest.raises(DataError, match="2 rows can be used"):
        start_project(OwnData(videos=world / "videos", csv=table, **TINY), tmp_path / "other")


def test_values_are_filled_in_and_comments_stay():
    text = 'name = "a"   # of the run\n\n[data]\nvideos = "v"  # a folder\n\n[prompt]\ntemplate = "b"\n'
    filled = fill_in(text, {"data.videos": 'with "quotes"', "data.workers": 2, "prompt.user": "{video} {query}?"})
    assert "# a folder" in filled
    assert 'name = "a"   # of the run' in filled
    import tomllib

    assert tomllib.loads(filled) == {
        "name": "a",
        "data": {"videos": 'with "quotes"', "workers": 2},
        "prompt": {"template": "b", "user": "{video} {query}?"},
    }
    with pytest.raises(ValueError, match="no table for compute"):
        fill_in(text, {"compute.threads": 1})


def test_a_copied_recipe_brings_those_that_it_is_based_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert copy_recipe("tiny-grpo-difficulty") == [
        Path("tiny-grpo-difficulty.toml"),
        Path("tiny-grpo.toml"),
        Path("tiny-opd.toml"),
    ]
    assert load_recipe(Path("tiny-grpo-difficulty.toml")).method.name == "grpo"
    assert copy_recipe("tiny-sft") == [Path("tiny-sft.toml")], "its base is there already"
    with pytest.raises(ConfigurationError, match="is there already"):
        copy_recipe("tiny-sft")
    Path("tiny-opd.toml").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"tiny-opd.toml is there already"):
        copy_recipe("tiny-scc", Path("mine.toml"))
    assert not Path("mine.toml").exists()
    assert copy_recipe("own-data", Path("new/other.toml")) == [Path("new/other.toml")]
    with pytest.raises(ConfigurationError, match="Perhaps tiny-opd is meant"):
        copy_recipe("tiny-odp")


def test_init_says_what_it_wrote_and_what_comes_next(world, table, tmp_path, capsys):
    out = tmp_path / "kitchen"
    words = ["init", "--videos", str(world / "videos"), "--csv", str(table), "--out", str(out)]
    assert main([*words, "--student", "tiny-student", "--teacher", "tiny-teacher"]) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith(f"  video-opd doctor {out / 'recipe.toml'}\n  video-opd train {out / 'recipe.toml'}\n")
    assert "1 row left out" in printed.err
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err


def test_recipes_are_listed_and_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in shipped_recipes())
    assert main(["recipes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == shipped_recipes().keys()
    assert main(["recipes", "copy", "own-data", "--out", "mine.toml"]) == 0
    assert capsys.readouterr().out == "mine.toml\n"
    assert load_recipe(Path("mine.toml")) == load_recipe(Path("own-data"))
    for words, sentence in (("copy", "Name a recipe"), ("copy own-data --out mine.toml", "is there already"),
                            ("--out x", "nothing is copied"), ("list", "invalid choice")):  # fmt: skip
        assert main(["recipes", *words.split()]) == 2
        assert sentence in capsys.readouterr().err


def test_a_header_in_capitals_is_told_the_flag_to_write(world, table, tmp_path):
    table.write_text(table.read_text().replace("video,query,start,end", "Video,Query,Start,End"))
    with pytest.raises(DataError, match="such as --columns start=Start"):
        start_project(OwnData(videos=world / "videos", csv=table, **TINY), tmp_path / "new")


def test_a_wrong_videos_folder_is_named_as_the_likely_fault(table, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="Check that --videos is the folder"):
        start_project(OwnData(videos=tmp_path / "empty", csv=table, **TINY), tmp_path / "new")


def test_one_video_and_one_row_are_not_called_several(world, tmp_path, capsys):
    video = read_manifest(world / "train.jsonl")[0].video
    table = tmp_path / "one.csv"
    table.write_text("video,query,start,end\n" + "".join(f"{video},query {n},{n},{n + 1}\n" for n in range(3)))
    words = ["init", "--videos", str(world / "videos"), "--csv", str(table), "--out", str(tmp_path / "new")]
    assert main([*words, "--student", "tiny-student", "--teacher", "tiny-teacher"]) == 0
    said = capsys.readouterr()
    assert "The rows are about only 1 video, so rows of one video" in said.err
    assert "train.jsonl: 1 row about 1 video\n" in said.out


def test_a_recipe_is_copied_into_a_folder_that_is_new(tmp_path):
    assert copy_recipe("tiny-sft", tmp_path / "new folder") == [
        tmp_path / "new folder" / "tiny-sft.toml",
        tmp_path / "new folder" / "tiny-opd.toml",
    ]


def test_a_span_that_ends_after_its_video_is_said(world, table, tmp_path):
    lines = table.read_text().splitlines()
    lines[1] = ",".join([*lines[1].split(",")[:-1], "300"])
    table.write_text("\n".join(lines) + "\n")
    started = start_project(OwnData(videos=world / "videos", csv=table, **TINY), tmp_path / "new")
    (note,) = [note for note in started.notes if "ends at 300 s" in note]
    assert re.match(
        r"1 warning about the rows .* in \w+\.jsonl, row mine/\S+: span 1 ends at 300 s, after the ", note
    ), note
