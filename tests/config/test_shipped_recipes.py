"""Recipes are found by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from video_opd.cli import main
from video_opd.config.comparison_recipe import load_comparison
from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import (
    copy_recipe,
    describe_recipe,
    find_recipe,
    find_shipped_name,
    shipped_recipes,
)
from video_opd.errors import ConfigurationError

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def test_all_of_them_are_found_and_say_what_they_are():
    recipes = shipped_recipes()
    assert set(recipes.values()) == set(RECIPES.rglob("*.toml"))
    for name, path in recipes.items():
        said = describe_recipe(path)
        assert said.endswith("."), (name, said)
        assert 20 < len(said) < 200, (name, said)


def test_a_name_is_a_recipe_and_a_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipe(Path("tiny-opd")) == load_recipe(RECIPES / "tiny-opd.toml")
    assert load_comparison(Path("compare-tiny"))[0].name == "compare-tiny"
    Path("tiny-opd").mkdir()
    assert find_recipe("tiny-opd") == RECIPES / "tiny-opd.toml", "a folder is no recipe"
    Path("tiny-sft").write_text("")
    assert find_recipe("tiny-sft") == Path("tiny-sft")


def test_a_recipe_in_a_folder_is_found_with_and_without_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = RECIPES / "paper" / "grpo-8b.toml"
    assert find_recipe("paper/grpo-8b") == find_recipe("grpo-8b") == find_recipe(Path("paper/grpo-8b")) == wanted
    assert load_recipe(Path("grpo-8b")).name == "grpo-8b"
    Path("paper/grpo-8b").mkdir(parents=True)
    Path("paper/grpo-8b.toml").write_text("")
    assert find_recipe("paper/grpo-8b") == wanted, "neither a folder nor a file with another name"
    assert find_recipe("paper/grpo-8b.toml") == Path("paper/grpo-8b.toml")
    Path("paper/scc-8b").write_text("")
    assert find_recipe("paper/scc-8b") == Path("paper/scc-8b"), "a file of the user's comes first"


def test_a_name_means_one_recipe(tmp_path, monkeypatch):
    names = list(shipped_recipes())
    assert len({name.rpartition("/")[2] for name in names}) == len(names)
    folder = tmp_path / "video_opd" / "recipes"
    for path in ("a/one.toml", "b/one.toml", "b/two.toml", "two.toml"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    monkeypatch.setattr("video_opd.config.shipped_recipes._PACKAGE", folder.parent)
    assert list(shipped_recipes()) == ["a/one", "b/one", "b/two", "two"]
    assert [find_shipped_name(said) for said in ("one", "a/one", "two", "b/two")] == [None, "a/one", "two", "b/two"]


def test_a_folder_is_refused_with_one_of_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("paper").mkdir()
    with pytest.raises(ConfigurationError, match=r"paper cannot be read.* Name one of the shipped recipes in paper"):
        load_recipe(Path("paper"))
    Path("paper/mine.toml").write_text("")
    with pytest.raises(ConfigurationError, match=r"paper is a folder: .* such as paper/mine\.toml"):
        load_recipe(Path("paper"))
    with pytest.raises(ConfigurationError, match=r"paper is a folder: a comparison is expected"):
        load_comparison(Path("paper"))


def test_a_base_that_is_missing_is_named_with_the_recipe_that_names_it(tmp_path):
    mine = tmp_path / "mine.toml"
    for base, remedy in (
        ("video-opd-8b.toml", f"`video-opd recipes copy paper/video-opd-8b --out {tmp_path / 'video-opd-8b.toml'}`"),
        ("paper/video-opd-8b", "the path of a TOML file from the folder of the recipe"),
        ("nothing-like-it.toml", "the path of a TOML file from the folder of the recipe"),
    ):
        mine.write_text(f'name = "mine"\nbase = "{base}"\n')
        with pytest.raises(ConfigurationError, match="No such file") as error:
            load_recipe(mine)
        assert f"{tmp_path / base}, the base of {mine}, cannot be read" in str(error.value)
        assert remedy in str(error.value)
        assert str(error.value).count("recipes copy") == ("copy" in remedy)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_copy_is_the_recipe_that_was_copied(name, tmp_path):
    (copy, *below) = copy_recipe(name, tmp_path)
    assert copy == tmp_path / f"{name.rpartition('/')[2]}.toml"
    assert all(path.resolve().is_relative_to(tmp_path) for path in below)
    if not name.startswith("compare"):
        assert load_recipe(copy) == load_recipe(shipped_recipes()[name])


def test_a_recipe_in_a_folder_is_copied_by_either_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "copy", "paper/scc-8b"]) == 0
    assert main(["recipes", "copy", "qwen3-vl-8b-opd", "--out", "new"]) == 0
    assert capsys.readouterr().out.split() == [
        "scc-8b.toml", "video-opd-8b.toml", "new/qwen3-vl-8b-opd.toml", "new/paper/video-opd-8b.toml",
    ]  # fmt: skip
    assert main(["recipes", "copy", "paper"]) == 2
    assert "Name one of the shipped recipes in paper: paper/grpo-8b" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("tiny-odp", "Perhaps tiny-opd is meant"),
        ("recipes/tiny-scc.toml", "Perhaps tiny-scc is meant"),
        ("paper/video-opd-9b", "Perhaps paper/video-opd-8b is meant"),
        ("vidoe-opd-8b", "Perhaps paper/video-opd-8b is meant"),
        ("paper/video-opd-8b.toml", "Perhaps paper/video-opd-8b is meant"),
        ("tiny-scc/video-opd-8b", "Perhaps paper/video-opd-8b is meant"),
        ("qwen3.5-lor", "Perhaps qwen3.5-lora is meant"),
        ("paper", "Name one of the shipped recipes in paper: paper/grpo-8b, "),
        ("nothing-like-it.toml", "`video-opd recipes` lists them"),
    ],
)
def test_another_name_is_refused_and_the_nearest_is_named(said, remedy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be read") as error:
        load_recipe(Path(said))
    assert remedy in str(error.value)


def test_the_recipe_for_own_data_knows_no_tiny_world():
    text = (RECIPES / "own-data.toml").read_text()
    assert "tiny" not in text
    recipe = load_recipe(Path("own-data"))
    assert recipe.data.tiny_world is None
    values = [line for line in text.splitlines() if " = " in line]
    assert all("#" in line for line in values if not line.startswith("freeze")), "every line says what it sets"
