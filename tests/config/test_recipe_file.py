"""A recipe is parsed, frozen, and refused with a name for what is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w
from pydantic import ValidationError

from video_opd.config import GROUNDING_FILE, GroundingDefaults, PromptSettings, Recipe, Settings
from video_opd.config.recipe_file import list_recipe_keys, load_grounding_defaults, load_recipe, parse_recipe
from video_opd.errors import ConfigurationError
from video_opd.eval.how_asked import describe_asking

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
RECIPES = sorted(set(FOLDER.rglob("*.toml")) - set(FOLDER.glob("compare-*.toml")))

LEAST = {
    "name": "least",
    "student": {"model": "a/b"},
    "teacher": {"model": "c/d"},
    "data": {"videos": "videos", "train": "train.jsonl", "validation": "validation.jsonl"},
}


@pytest.fixture
def least(tmp_path) -> Path:
    path = tmp_path / "least.toml"
    path.write_text(tomli_w.dumps(LEAST))
    return path


def test_there_are_recipes():
    assert "tiny-opd" in {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_valid_and_named_after_its_file(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_resolved_recipe_is_the_same_recipe(path):
    recipe = load_recipe(path)
    again = parse_recipe(tomllib.loads(recipe.to_toml()))
    assert again == recipe
    assert again.to_toml() == recipe.to_toml()


def test_a_resolved_recipe_holds_the_defaults(least):
    written = tomllib.loads(load_recipe(least).to_toml())
    assert written["training"]["batch_size"] == 32
    assert written["video"]["max_tokens"] == 8192
    assert "steps" not in written["training"], "TOML has no word for a key that is not set"


def test_a_recipe_is_frozen(least):
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe(least).training.batch_size = 7


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("training.learning_rat", "training.learning_rate"),
        ("training.stepps", "training.steps"),
        ("trainig.steps", "training"),
        ("steps", "training.steps"),
        ("max_tokens", "video.max_tokens"),
        ("compute.learning_rate", "training.learning_rate"),
        ("data.tiny_world.jitter", "data.tiny_world.jitter_s"),
    ],
)
def test_an_unknown_key_names_the_nearest_valid_one(least, key, nearest):
    with pytest.raises(ConfigurationError, match="unknown key") as caught:
        load_recipe(least, {key: "1"})
    assert caught.value.remedy.startswith(f"Perhaps {nearest} is meant")


def test_an_unknown_key_like_no_other_is_refused_all_the_same(least):
    with pytest.raises(ConfigurationError, match=r"unknown key xyzzy.*--help-keys"):
        load_recipe(least, {"xyzzy": "1"})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("training.steps", "true"),
        ("training.steps", "'60'"),
        ("training.steps", "1.5"),
        ("training.steps", "0"),
        ("training.learning_rate", "fast"),
        ("training.learning_rate", "nan"),
        ("training.learning_rate", "inf"),
        ("training.learning_rate", "0"),
        ("training.betas", "[0.9]"),
        ("training.betas", "[0.9, 1.0]"),
        ("training.decay", "quadratic"),
        ("student.freeze_vision", "1"),
        ("method.name", "grpo2"),
        ("method.estimator", "guess"),
        ("data.max_bad_share", "1.1"),
        ("video.max_frames", "7"),
        ("video.fps", "-1"),
        ("name", "runs/one"),
        ("name", ".."),
        ("seed", "x"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(least, key, text):
    with pytest.raises(ConfigurationError) as caught:
        load_recipe(least, {key: text})
    assert f"least.toml: {key}" in str(caught.value) or f"has no {key}" in str(caught.value)


def test_overrides_are_read_as_toml_and_else_as_text(least):
    overrides = {
        "training.learning_rate": "5e-4",
        "training.betas": "[0.8, 0.9]",
        "student.freeze_vision": "true",
        "student.model": "folder/with spaces",
        "prompt.user": "{video} When is {query}?",
        "data.tiny_world.seed": "4",
        "name": "2024",
    }
    recipe = load_recipe(least, overrides)
    assert recipe.training.learning_rate == 5e-4
    assert recipe.training.betas == (0.8, 0.9)
    assert recipe.student.freeze_vision is True
    assert recipe.student.model == "folder/with spaces"
    assert recipe.prompt.user == "{video} When is {query}?"
    assert recipe.data.tiny_world is not None
    assert recipe.data.tiny_world.seed == 4
    assert recipe.name == "2024"


def test_a_table_and_a_value_are_not_mixed_up(least):
    with pytest.raises(ConfigurationError, match=r"training = 5: this key is a table"):
        load_recipe(least, {"training": "5"})
    with pytest.raises(ConfigurationError, match=r"--name\.first: name is a value"):
        load_recipe(least, {"name.first": "5"})


def test_a_missing_key_is_named():
    with pytest.raises(ConfigurationError, match=r"recipe has no data\.train"):
        parse_recipe({**LEAST, "data": {"videos": "v", "validation": "x"}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"name =\nseed = 1", r"is not TOML.*line 1"),
        (b"\xff\xfe", "is not TOML"),
        (b"", "has no name"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, message):
    path = tmp_path / "broken.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        load_recipe(path)


def test_every_key_is_documented():
    assert undocumented(Recipe) == []
    assert list_recipe_keys()["training.batch_size"] == "Prompts per step. (default: 32)"
    assert list_recipe_keys()["student.model"].endswith("(required)")
    assert list_recipe_keys()["data.tiny_world.seed"].endswith("(default: 0)")


def test_a_key_without_documentation_would_be_found():
    class Bare(Settings):
        known: int = 0
        """What it is."""
        unknown: int = 0

    assert undocumented(Bare) == ["unknown"]


def undocumented(settings: type[Settings]) -> list[str]:
    return [key for key, meaning in list_recipe_keys(settings).items() if meaning.startswith(("(", " ("))]


def test_a_model_carries_how_it_wants_to_be_asked(tmp_path):
    assert load_grounding_defaults(tmp_path) == GroundingDefaults()
    wanted = GroundingDefaults(prompt=PromptSettings(template="tiny"))
    (tmp_path / GROUNDING_FILE).write_text(wanted.model_dump_json())
    assert load_grounding_defaults(tmp_path) == wanted


def test_least_numbers_of_frames_and_tokens_are_written_only_where_they_are_set():
    """So that files of models, headers of scores and recipes are those of earlier versions."""
    plain, asked = GroundingDefaults(), describe_asking(GroundingDefaults(), "float32")
    assert "min_frame" not in plain.model_dump_json() + parse_recipe(LEAST).to_toml()
    assert (asked["video"]["min_frames"], asked["video"]["min_frame_tokens"]) == (2, 1)
    released = parse_recipe({**LEAST, "video": {"min_frames": 4, "min_frame_tokens": 4}})
    assert released.grounding_defaults().model_dump()["video"]["min_frame_tokens"] == 4
    assert "min_frames = 4" in released.to_toml()
    asked = describe_asking(released.grounding_defaults(), "float32")
    assert (asked["video"]["min_frames"], asked["video"]["min_frame_tokens"]) == (4, 4)
    with pytest.raises(ConfigurationError, match="min_frames"):
        parse_recipe({**LEAST, "video": {"min_frames": 3}})


@pytest.mark.parametrize("content", ["", "{", '{"prompts": {}}', '{"video": {"fps": 0}}'])
def test_a_broken_grounding_file_is_refused(tmp_path, content):
    (tmp_path / GROUNDING_FILE).write_text(content)
    with pytest.raises(ConfigurationError, match=GROUNDING_FILE):
        load_grounding_defaults(tmp_path)


@pytest.mark.parametrize("name", ["opd", "op-rkd", "mixture"])
def test_a_key_of_earlier_recipes_is_read_under_its_present_name(name):
    method = parse_recipe({**LEAST, "method": {"name": name, "credit_clamp": 2.0}}).method
    assert method.model_dump()["advantage_clamp"] == 2.0
    assert "credit_clamp" not in method.model_dump()


@pytest.mark.parametrize(
    ("key", "flag"),
    [
        ("training.plugin", "--training.plugin: unknown key"),
        ("training.micro_batch_size", "--training.micro-batch-size: training.micro_batch_size = 'x'"),
        ("method.name", "--method.name: method.name = 'x'"),
        ("optimizer.lr", "--optimizer.lr: unknown key optimizer"),
    ],
)
def test_a_wrong_key_of_the_command_line_names_its_flag(recipe_file, key, flag):
    with pytest.raises(ConfigurationError) as refused:
        load_recipe(recipe_file, {"training.steps": "3", key: "x"}, are_flags=True)
    assert str(refused.value).startswith(flag)
    assert str(recipe_file) not in str(refused.value)


def test_a_wrong_key_of_the_file_names_the_file(recipe_file):
    recipe_file.write_text(recipe_file.read_text() + "\n[optimizer]\nlr = 1\n")
    with pytest.raises(ConfigurationError) as refused:
        load_recipe(recipe_file, {"training.steps": "3"}, are_flags=True)
    assert str(refused.value).startswith(f"{recipe_file}: unknown key optimizer")
