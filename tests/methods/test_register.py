"""A method is one file and one line; one of one's own is one call, and so is a reward."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from video_opd.cli import main
from video_opd.config.recipe_file import list_recipe_keys, load_recipe, parse_recipe
from video_opd.errors import ConfigurationError
from video_opd.grounding import ParsedAnswer
from video_opd.grounding.reward import REWARDS, register_reward
from video_opd.methods import METHODS, Method, MethodParts, MethodSettings, Writer, register_method
from video_opd.settings import NotNegative, Settings
from video_opd.types import AnswerGroup, Example, Judgement, Prompt, TokenLosses, TokenScores

SOURCE = Path(__file__).resolve().parents[2] / "src" / "video_opd"


class MineSettings(MethodSettings):
    """Likelihood of the student's own answers, as far as the teacher finds them likely too."""

    needs_teacher: ClassVar[bool] = True

    name: Literal["mine"]
    """The method."""
    strength: NotNegative = 1.0
    """How much a token counts that the teacher would have written."""

    def build(self, parts: MethodParts) -> Method:
        return Mine(write=parts.student_writes(2), teacher=parts.teacher, strength=self.strength)


@dataclass(frozen=True, kw_only=True)
class Mine:
    write: Writer
    teacher: object
    strength: float
    needs_distribution: bool = False

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        return Judgement(teacher=self.teacher(prompts, groups))

    def losses(self, learner: TokenScores, behaviour_logprobs, judgement: Judgement) -> TokenLosses:
        advantage = self.strength * judgement.teacher.logprobs.exp()
        return TokenLosses(
            loss=-advantage * learner.logprobs, advantage=advantage, clamped=advantage.new_zeros(advantage.shape)
        )


@pytest.fixture
def mine():
    register_method(MineSettings)
    yield
    METHODS.unregister("mine")


@pytest.fixture
def early():
    asked = []

    @register_reward("early")
    def reward_an_early_start(answer, example) -> float:
        asked.append(example.id)
        return 1.0 / (1.0 + answer.spans[0].start_s) if answer.spans else -float(example.known_duration)

    yield asked
    REWARDS.unregister("early")


def trained(recipe_file: Path, out: Path, *more: str) -> list[dict]:
    assert main(["train", str(recipe_file), "--out", str(out), *more]) == 0
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("mine")
def test_a_method_of_ones_own_trains(recipe_file, tmp_path):
    rows = trained(recipe_file, tmp_path / "run", "--method.name", "mine", "--method.strength", "2")
    steps = [row for row in rows if "loss" in row]
    assert len(steps) == 2
    assert all(row["loss"] > 0 and row["grad_norm"] > 0 for row in steps)
    resolved = (tmp_path / "run" / "recipe.toml").read_text()
    assert 'name = "mine"\nstrength = 2.0' in resolved
    assert load_recipe(tmp_path / "run" / "recipe.toml").method == MineSettings(name="mine", strength=2.0)


@pytest.mark.usefixtures("mine")
def test_its_keys_are_listed_and_its_mistakes_are_told_like_those_of_any_other(recipe_file, refused):
    assert list_recipe_keys()["method.strength"].endswith("(default: 1.0) [mine]")
    assert "mixture, mine" in list_recipe_keys()["method.name"]
    train = "train", recipe_file, "--method.name"
    assert "Perhaps mine is meant" in refused(*train, "mien")
    assert "method.strength = -1" in refused(*train, "mine", "--method.strength", "-1")
    assert "method.clip: this method has no such setting" in refused(*train, "mine", "--method.clip", "1")


@pytest.mark.usefixtures("mine")
def test_it_says_itself_whether_it_needs_a_teacher(recipe_file):
    tables = load_recipe(recipe_file).model_dump(mode="json", exclude_none=True)
    tables |= {"method": {"name": "mine"}}
    del tables["teacher"]
    with pytest.raises(ConfigurationError, match="mine asks a teacher"):
        parse_recipe(tables)


def test_it_is_unknown_before_it_is_registered_and_after_it_is_removed(recipe_file, refused):
    assert "no method has that name" in refused("train", recipe_file, "--method.name", "mine")


def test_a_method_without_a_name_or_with_one_that_is_taken_is_refused():
    class Nameless(MethodSettings):
        """No name."""

    class Taken(MethodSettings):
        """Another GRPO."""

        name: Literal["grpo"]

    with pytest.raises(ConfigurationError, match="these settings have none"):
        register_method(Nameless)
    with pytest.raises(ConfigurationError, match="'grpo' for a method: the name is taken"):
        register_method(Taken)
    assert METHODS["grpo"] is not Taken
    with pytest.raises(ConfigurationError, match="'iou' for a reward: the name is taken"):
        register_reward("iou")(lambda answer, example: 0.0)


def test_a_second_plugin_does_not_replace_what_the_first_one_registered(early):
    kept = REWARDS["early"]

    def later(answer: ParsedAnswer, example: Example) -> float:
        return 0.0

    with pytest.raises(ConfigurationError, match="'early' for a reward: the name is taken"):
        register_reward("early")(later)
    assert REWARDS["early"] is kept


def test_a_reward_of_ones_own_trains(recipe_file, tmp_path, early):
    words = "--method.name", "grpo", "--method.num-answers", "2", "--method.reward", "early"
    rows = trained(recipe_file, tmp_path / "run", *words)
    assert len([row for row in rows if "loss" in row]) == 2
    assert len(early) == 2 * 4 * 2, "steps, prompts a step, answers a prompt"
    assert 'reward = "early"' in (tmp_path / "run" / "recipe.toml").read_text()


def test_a_reward_is_unknown_before_it_is_registered(recipe_file, refused):
    words = "train", recipe_file, "--method.name", "grpo", "--method.reward"
    assert "input should be 'iou' or 'timestamp-iou'" in refused(*words, "early")
    assert "Perhaps timestamp-iou is meant" in refused(*words, "timestamp_iou")


def says(text: str, name: str) -> bool:
    """Whether a program has the name as a text of its own, not as a word of a docstring."""
    return f'"{name}"' in text and any(
        isinstance(node, ast.Constant) and node.value == name for node in ast.walk(ast.parse(text))
    )


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_is_one_file_and_one_line(name):
    """Its settings are named in its own file and in the table, and its name in a recipe nowhere else either."""
    record = METHODS[name]
    own, table = Path(*record.__module__.split(".")[1:]).with_suffix(".py"), Path("methods/__init__.py")
    usual = {Path("config/recipe.py"), Path("doctor/checks.py")} if name == next(iter(METHODS)) else set()
    texts = {path.relative_to(SOURCE): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
    assert {path for path, text in texts.items() if record.__name__ in text} == {own, table} | usual
    assert sum(line.count(record.__name__) for line in texts[table].splitlines()) == 1
    named = {path for path, text in texts.items() if path.parts[0] != "data" and says(text, name)}  # an importer `sft`
    assert named == {own, table}


def test_a_record_is_a_plain_record_of_settings():
    assert all(issubclass(record, MethodSettings) and issubclass(record, Settings) for record in METHODS.values())
    assert all(record.__doc__ and record.build is not MethodSettings.build for record in METHODS.values())
