"""Recipes are found by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from video_opd.config.comparison_recipe import load_comparison
from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import describe_recipe, find_recipe, shipped_recipes
from video_opd.errors import ConfigurationError

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def test_all_of_them_are_found_and_say_what_they_are():
    recipes = shipped_recipes()
    assert set(recipes.values()) == set(RECIPES.glob("*.toml"))
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


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("tiny-odp", "Perhaps tiny-opd is meant"),
        ("recipes/tiny-scc.toml", "Perhaps tiny-scc is meant"),
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
