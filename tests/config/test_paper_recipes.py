"""The recipes at the paper's size have the paper's numbers, and say where every number comes from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import shipped_recipes
from video_opd.errors import UserError
from video_opd.train.build import count_steps
from video_opd.train.early_checks import refuse_early
from video_opd.types import Example

PAPER = [name for name in shipped_recipes() if name.startswith("paper/")]
"""Names of the recipes."""

SHARED = {
    "student.model": "Qwen/Qwen3-VL-8B-Instruct",
    "video.fps": 2.0,
    "video.max_frames": 768,
    "video.max_tokens": 8192,
    "training.batch_size": 32,
    "training.learning_rate": 1e-6,
    "training.updates_per_batch": 1,
    "prompt.template": "timelens",
}
"""The settings of arXiv 2602.02994 that all runs have."""

RELEASED = "williamljz/Video-opd-teacher-Qwen3-VL-32B-GRPO"
OWN = {
    "video-opd-8b": {"teacher.model": RELEASED, "method.name": "opd", "method.estimator": "sampled", "steps": 79},
    "video-opd-8b-as-released": {
        "teacher.model": RELEASED, "method.name": "opd", "method.estimator": "sampled", "steps": 79,
        "student.freeze_vision": True, "student.freeze_merger": True, "video.min_frames": 4,
        "video.min_frame_tokens": 4, "video.max_frame_tokens": 768, "answers.max_new_tokens": 8192,
        "answers.temperature": 0.9, "answers.top_p": 0.8, "answers.top_k": 20, "training.warmup_share": 0.03,
        "training.normalise": "examples",
        "training.decay": "cosine", "training.weight_decay": 0.1, "training.betas": (0.9, 0.95),
        "training.clip_norm": 1.0,
    },
    "op-rkd-8b": {"teacher.model": RELEASED, "method.name": "op-rkd", "method.estimator": "sampled", "steps": 79},
    "op-fkd-8b": {"teacher.model": RELEASED, "method.name": "op-fkd", "steps": 79},
    "grpo-8b": {
        "teacher": None, "method.name": "grpo", "method.num_answers": 8, "method.reward": "timestamp-iou",
        "method.divide_by_std": True, "method.reference_weight": 0.04, "curriculum.count": 2500,
        "curriculum.strategy": "difficulty",
        "curriculum.difficulty_mean": 0.3, "curriculum.difficulty_std": 0.2, "curriculum.threshold": 0, "steps": 79,
    },
    "scc-8b": {
        "teacher.model": RELEASED, "method.name": "opd", "curriculum.num_anchors": 100, "curriculum.num_frontier": 900,
        "curriculum.teacher_threshold": 0.7, "curriculum.anchor_threshold": 0.7,
        "curriculum.frontier_threshold": 0.3, "curriculum.suspend_at": 0.7, "curriculum.schedule": "front-loaded",
        "curriculum.last_repeats": 4, "curriculum.last_full_batch": 8, "training.normalise": "constant", "steps": 79,
    },
}  # fmt: skip
"""What differs, by recipe. SCC's numbers are those of arXiv 2609.40055."""


def look_up(recipe, key: str):
    for part in key.split("."):
        recipe = getattr(recipe, part)
    return recipe


@pytest.mark.parametrize("name", PAPER)
def test_a_paper_recipe_has_the_numbers_of_the_paper(name):
    recipe = load_recipe(Path(name))
    wanted = {"training.warmup_steps": 0, "training.decay": "none"} | SHARED | OWN[recipe.name]
    steps = wanted.pop("steps")
    assert {key: look_up(recipe, key) for key in wanted} == wanted
    released = [Example(id=str(n), video="v.mp4", query="q", spans=(), duration=None) for n in range(2500)]
    assert count_steps(recipe, released) == steps


def test_every_paper_recipe_is_in_the_table():
    assert {name.removeprefix("paper/") for name in PAPER} == OWN.keys()


@pytest.mark.parametrize("name", PAPER)
def test_every_line_of_a_paper_recipe_says_where_its_value_comes_from(name):
    text = shipped_recipes()[name].read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r"\w+ = ", line)]
    keys_without = ("name", "base", "videos", "validation", "test", "template", "estimator", "threshold")
    bare = [line for line in lines if not re.search(r"# (paper|ours|SCC|release|inferred)\b", line)]
    assert [line for line in bare if line.split(" = ")[0] not in keys_without] == []
    assert "Nobody has run this recipe" in re.sub(r"\n# ", " ", text)


def test_grpo_differs_from_video_opd_only_in_what_it_must():
    tables = {name: load_recipe(Path(name)).model_dump() for name in ("video-opd-8b", "grpo-8b")}
    opd, grpo = tables["video-opd-8b"], tables["grpo-8b"]
    differing = {"name", "teacher", "data", "method", "curriculum", "compute"}
    assert {key for key in opd if opd[key] != grpo[key]} == differing
    # It asks the student about its whole pool, several prompts at a time.
    assert {key for key in opd["compute"] if opd["compute"][key] != grpo["compute"][key]} == {"evaluation_batch_size"}
    assert {key for key in opd["data"] if opd["data"][key] != grpo["data"][key]} == {"train"}


def test_the_recipe_with_an_own_teacher_is_the_papers_but_for_the_teacher():
    paper, own = (load_recipe(Path(name)).model_dump() for name in ("video-opd-8b", "qwen3-vl-8b-opd"))
    assert {key for key in paper if paper[key] != own[key]} == {"name", "teacher"}


REAL = [name for name in shipped_recipes() if not name.startswith(("tiny-", "compare-", "own-data"))]
"""Recipes of published models. The files that they name are the user's."""


@pytest.mark.parametrize("name", REAL)
def test_what_the_user_must_provide_is_asked_for_in_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(Path(name), {"teacher.model": "owner/teacher"} if name == "qwen3-vl-8b-opd" else {})
    for path, remedy in (
        (recipe.data.videos, "Give the folder that holds the videos"),
        *((path, "make one with `video-opd data import`") for path in (recipe.data.train, recipe.data.validation)),
        (recipe.data.test, "make one with `video-opd data import`"),
    ):
        with pytest.raises(UserError) as error:
            refuse_early(recipe)
        assert str(path) in str(error.value)
        assert remedy in str(error.value)
        if path == recipe.data.videos:
            path.mkdir()
            (path / "a.mp4").write_bytes(b"")
        else:
            path.write_text('{"id": "q", "video": "a.mp4", "query": "q", "spans": [[0, 1]], "duration": 9.0}\n')


def test_the_page_about_them_names_them_all():
    text = (Path(__file__).resolve().parents[2] / "docs" / "RUNNING.md").read_text(encoding="utf-8")
    assert [name for name in REAL if f"`{name.removeprefix('paper/')}`" not in text] == []
    assert len(REAL) >= 12


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training.batch_size": "31"}, "gives a step 32 examples, and training.batch_size = 31"),
        ({"curriculum.last_full_batch": "4"}, "give at least 5, the examples of the last step, and at most 32"),
        ({"curriculum.last_full_batch": "33"}, "give at least 5, the examples of the last step, and at most 32"),
        ({"training.steps": "1001"}, "presents 1000 examples in training.steps = 1001"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        load_recipe(Path("scc-8b"), changes)


def test_a_schedule_needs_steps(tmp_path):
    path = tmp_path / "recipe.toml"
    text = shipped_recipes()["paper/scc-8b"].read_text(encoding="utf-8").replace("steps = 79", "")
    base = shipped_recipes()["paper/video-opd-8b"]
    path.write_text(text.replace('"video-opd-8b.toml"', f'"{base}"'), encoding="utf-8")
    with pytest.raises(UserError, match=r"spreads the examples over training\.steps; set it"):
        load_recipe(path)
