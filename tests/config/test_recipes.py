"""Every recipe that ships is understood, and takes a step on the tiny world."""

from __future__ import annotations

import json
import tomllib
from functools import partial
from pathlib import Path

import pytest

from video_opd.config import Recipe
from video_opd.config.comparison_recipe import load_comparison, make_recipe
from video_opd.config.recipe_file import load_recipe, overlay
from video_opd.errors import ConfigurationError

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
COMPARISONS = sorted(RECIPES.glob("compare-*.toml"))
SINGLE = [path for path in sorted(RECIPES.rglob("*.toml")) if path not in COMPARISONS]


def small(models, world) -> dict[str, str]:
    """One step with random models on a dozen clips."""
    return {
        "student.model": models["student"],
        "teacher.model": models["teacher"],
        "data.videos": str(world / "videos"),
        **{f"data.{split}": str(world / f"{split}.jsonl") for split in ("train", "validation", "test")},
        "video.max_frames": "64",
        "video.max_tokens": "64",
        "video.max_frame_tokens": "1",
        "video.min_frame_tokens": "1",
        "answers.max_new_tokens": "6",
        "training.steps": "1",
        "training.batch_size": "2",
        "training.micro_batch_size": "2",
        "training.warmup_steps": "0",
        "schedule.probe_every": "0",
        "schedule.evaluate_every": "0",
        "compute.device": "cpu",
        "compute.precision": "float32",
        "compute.threads": "1",
    }


def of_comparison(path: Path, method: str, overrides: dict[str, str]) -> Recipe:
    comparison, tables = load_comparison(path, overrides)
    return make_recipe(comparison, tables, method, 1e-4, 0)


LOADERS = {path.stem: partial(load_recipe, path) for path in SINGLE} | {
    f"{path.stem}: {method}": partial(of_comparison, path, method)
    for path in COMPARISONS
    for method in load_comparison(path)[0].methods
}


CURRICULA = {
    "tiny-tvdf": {"num_rounds": "1", "count": "4", "threshold": "0", "num_answers": "2"},
    "tiny-grpo-difficulty": {"num_rounds": "1", "count": "4", "num_answers": "2"},
    "tiny-scc": {"num_anchors": "0", "num_frontier": "4", "teacher_threshold": "0", "num_answers": "2"},
}
CURRICULA |= {"grpo-8b": CURRICULA["tiny-grpo-difficulty"], "scc-8b": CURRICULA["tiny-scc"] | {"schedule": "uniform"}}
"""What a pool of twelve and a teacher with random weights, who is never right, leave of a curriculum."""


@pytest.mark.parametrize("name", LOADERS)
def test_a_recipe_takes_a_step(name, models, world, tmp_path, capsys):
    from video_opd.train.run import run_recipe

    curriculum = CURRICULA.get(name, {})
    curriculum = curriculum | {"cache": str(tmp_path / "scores")} if curriculum else {}
    recipe = LOADERS[name](small(models, world) | {f"curriculum.{key}": value for key, value in curriculum.items()})
    assert ":" in name or recipe.name == name
    # The world of the tests has another size, and lies there already.
    recipe = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"tiny_world": None}), "side_questions": None}
    )
    results = run_recipe(recipe, tmp_path / "run")
    assert results["steps"] == 1
    (row,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert row["num_prompts"] == 2
    assert row["work"]["student"]["prompt_passes"] == 2
    judged = row["work"]["teacher"]["prompt_passes"]
    assert judged == (0 if recipe.method.name in ("grpo", "sft") else 2)
    assert row["work"]["student"]["answers_written"] == (
        0 if recipe.method.writes_annotations else 2 * getattr(recipe.method, "num_answers", 1)
    )
    assert (tmp_path / "run" / "report.html").exists()
    # A teacher with random weights would write no text at all.
    warned = "the teacher would hardly write the annotated answers" in capsys.readouterr().err
    assert warned == recipe.method.writes_annotations


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_every_method_of_a_comparison_makes_a_recipe(path):
    comparison, tables = load_comparison(path)
    assert comparison.name == path.stem
    recipes = [make_recipe(comparison, tables, name, 1e-4, 3) for name in comparison.methods]
    assert all(isinstance(recipe, Recipe) and recipe.seed == 3 for recipe in recipes)
    assert len({recipe.method.model_dump_json() for recipe in recipes}) == len(recipes)
    assert len({recipe.data.model_dump_json() for recipe in recipes}) == 1


def test_the_five_methods_ship():
    names = {
        load_recipe(RECIPES / f"tiny-{name}.toml").method.name for name in ("opd", "grpo", "op-rkd", "op-fkd", "sft")
    }
    assert names == {"opd", "grpo", "op-rkd", "op-fkd", "sft"}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_a_recipe_says_only_in_what_it_differs_from_its_base(tmp_path):
    write(tmp_path, "base", (RECIPES / "tiny-opd.toml").read_text())
    path = write(
        tmp_path, "mine", 'base = "base.toml"\nname = "mine"\n[training]\nsteps = 7\n[method]\nname = "grpo"\n'
    )
    recipe, base = load_recipe(path), load_recipe(tmp_path / "base.toml")
    assert (recipe.name, recipe.training.steps, recipe.method.name) == ("mine", 7, "grpo")
    assert recipe.training.learning_rate == base.training.learning_rate
    assert recipe.data == base.data
    # What is written into the run folder stands on its own feet.
    assert "base" not in tomllib.loads(recipe.to_toml())
    assert load_recipe(write(tmp_path, "resolved", recipe.to_toml())) == recipe


def test_a_method_without_a_name_changes_its_bases(tmp_path):
    write(tmp_path, "base", (RECIPES / "tiny-opd.toml").read_text())
    path = write(tmp_path, "mine", 'base = "base.toml"\n[method]\nestimator = "exact"\n')
    assert load_recipe(path).method.estimator == "exact"


@pytest.mark.parametrize(
    ("base", "message"),
    [("'mine.toml'", "is its own base"), ("'absent.toml'", "No such file"), ("3", "must name another recipe")],
)
def test_a_base_that_leads_nowhere_is_refused(tmp_path, base, message):
    path = write(tmp_path, "mine", f"base = {base}\n")
    with pytest.raises(ConfigurationError, match=message):
        load_recipe(path)


METHOD_MISTAKES = [
    ('name = "grpo"\nnum_answers = 1', r"num_answers = 1 with grpo: .* here there are none"),
    ('name = "mixture"\nnum_answers = 1', "num_answers = 1 with mixture"),
    ('name = "mixture"\nestimator = "exact"', r"method\.estimator = 'exact'"),
    ('name = "grpo"\nestimator = "exact"', r"method\.estimator: this method has no such setting"),
    ('name = "op-rkd"\nestimator = "baseline"', r"method\.estimator = 'baseline'"),
    (
        'name = "opd"\nestimator = "exact"\nadvantage_clamp = 2',
        "advantage_clamp bounds the advantage of sampled tokens",
    ),
    (
        'name = "opd"\nestimator = "exact"\nratio_cap = 2',
        "ratio_cap bounds the ratio of sampled tokens, and .* has none",
    ),
    ('name = "op-rkd"\nestimator = "exact"\nratio_cap = 2', "ratio_cap bounds the ratio of sampled tokens"),
    ('name = "opd"\nratio_cap = 1', r"method\.ratio_cap = 1: input should be greater than 1"),
    ('name = "mixture"\nratio_cap = 0.5', r"method\.ratio_cap = 0\.5: input should be greater than 1"),
    ('name = "opd"\nclip = 0.2', r"method\.clip: this method has no such setting"),
    ('name = "grpo"\nratio_cap = 2', r"method\.ratio_cap: this method has no such setting"),
    ('name = "sft"\nratio_cap = 2', r"method\.ratio_cap: this method has no such setting"),
    ('name = "grpo"\nclip_higher = 0.1', r"clip_higher = 0\.1 is below method\.clip = 0\.2: .* such as 0\.28"),
    ('name = "grpo"\nclip = 0.4\nclip_higher = 0.28', r"clip_higher = 0\.28 is below method\.clip = 0\.4"),
    ('name = "grpo"\nclip_higher = 0', r"method\.clip_higher = 0: input should be greater than 0"),
    ('name = "grpo"\nmask_truncated = 1', r"method\.mask_truncated = 1"),
    ('name = "opd"\nmask_truncated = true', r"method\.mask_truncated: this method has no such setting"),
    ('name = "ppo"', r"method\.name = 'ppo': no method has that name\. Choose one of grpo, mixture, "),
    ('name = "grpo"\nreward = "giou"', r"method\.reward = 'giou'"),
    (
        'name = "opd"\nablation = "noise"\nestimator = "exact"',
        "ablation = noise replaces the advantage of sampled tokens",
    ),
]


@pytest.mark.parametrize(("table", "message"), METHOD_MISTAKES, ids=[table for table, _ in METHOD_MISTAKES])
def test_incompatible_parts_are_refused_with_the_reason(tmp_path, table, message):
    write(tmp_path, "base", (RECIPES / "tiny-opd.toml").read_text())
    path = write(tmp_path, "mine", f'base = "base.toml"\n[method]\n{table}\n')
    with pytest.raises(ConfigurationError, match=message):
        load_recipe(path)


def test_a_method_that_asks_a_teacher_wants_one(tmp_path):
    text = (RECIPES / "tiny-opd.toml").read_text().replace('[teacher]\nmodel = "tiny-teacher"\n', "")
    with pytest.raises(ConfigurationError, match="opd asks a teacher, and the recipe has no table"):
        load_recipe(write(tmp_path, "bare", text))
    bare = text.replace('[method]\nname = "opd"\nestimator = "sampled"', '[method]\nname = "sft"\n#')
    assert load_recipe(write(tmp_path, "bare", bare)).teacher is None


def test_a_reward_for_a_form_that_the_template_does_not_ask_for_is_refused(recipe_file):
    from video_opd.train.early_checks import refuse_early

    text = recipe_file.read_text() + '\n[method]\nname = "grpo"\nform_weight = 1.0\n'
    recipe_file.write_text(text)
    with pytest.raises(ConfigurationError, match="does not say what a well-formed answer looks like"):
        refuse_early(load_recipe(recipe_file))
    refuse_early(load_recipe(recipe_file, {"prompt.template": "tiny-long"}))


def test_an_annotated_answer_that_cannot_be_filled_in_is_refused_before_the_models_are_loaded(recipe_file):
    from video_opd.train.early_checks import refuse_early

    recipe_file.write_text(recipe_file.read_text() + '\n[method]\nname = "sft"\nanswer = "{begin}"\n')
    with pytest.raises(ConfigurationError, match="cannot be filled in"):
        refuse_early(load_recipe(recipe_file))
    for timeless in ("''", "soon", "'{start:.1f}'", "'until {end}'", "'{start:.0s}'"):
        with pytest.raises(ConfigurationError, match=r"does not have both the start and the end|cannot be filled in"):
            refuse_early(load_recipe(recipe_file, {"method.answer": timeless}))
    refuse_early(load_recipe(recipe_file, {"method.answer": "from {start} to {end}"}))


def test_words_of_your_own_keep_the_form_of_the_template(recipe_file):
    from video_opd.eval.how_asked import resolve_template

    user = "{video} Think first: when is {query}?"
    recipe = load_recipe(recipe_file, {"prompt.template": "tiny-long", "prompt.user": user})
    template = resolve_template(recipe.prompt)
    assert template.user == user
    assert template.answer_starts == " The event"
    assert template.form is not None


def test_a_view_of_another_kind_starts_its_table_anew():
    """A hint has no margin, and TOML has no word for taking a key back."""
    keys = {"teacher.view.kind": "hint"}
    view = load_recipe(Path("tiny-view"), keys).teacher.view
    assert (view.kind, view.margin_s) == ("hint", None)
    below = {"teacher": {"view": {"kind": "clip", "margin_s": 2.0, "spans": "random"}}}
    same = overlay(below, {"teacher": {"view": {"kind": "clip", "spans": "annotated"}}})
    assert same["teacher"]["view"] == {"kind": "clip", "margin_s": 2.0, "spans": "annotated"}
    assert overlay(below, {"teacher": {"view": {"spans": "shuffled"}}})["teacher"]["view"]["margin_s"] == 2.0
    assert overlay(below, {"teacher": {"view": {"kind": "hint"}}})["teacher"]["view"] == {"kind": "hint"}


def test_another_method_on_the_command_line_starts_its_table_anew():
    recipe = load_recipe(RECIPES / "tiny-opd.toml", {"method.num_answers": "4", "method.name": "grpo"})
    assert (recipe.method.name, recipe.method.num_answers) == ("grpo", 4)
    assert load_recipe(RECIPES / "tiny-grpo.toml", {"method.name": "sft"}).method.name == "sft"
    exact = load_recipe(RECIPES / "tiny-op-rkd.toml", {"method.name": "op-rkd", "method.estimator": "exact"})
    assert exact.method.estimator == "exact"
    with pytest.raises(ConfigurationError, match=r"method\.estimator: this method has no such setting"):
        load_recipe(RECIPES / "tiny-grpo.toml", {"method.estimator": "exact"})


COMPARISON = 'name = "c"\nrecipe = "tiny-opd.toml"\n'
COMPARISON_MISTAKES = [
    ("[methods.a.data]\ntrain = 'other.jsonl'", r"methods\.a changes data: runs on other data"),
    ("[methods.a]\nseed = 4", r"methods\.a changes seed"),
    ("[methods.a.student]\nmodel = 'x'", r"methods\.a changes student"),
    ("learning_rates = [1e-4]\n[methods.a.training]\nlearning_rate = 1e-3", r"methods\.a sets training\.learning_rate"),
    ("[methods.a]\ntraining = 5", r"methods\.a\.training = 5: this key is a table"),
    ("[methods.a.training]\nsteps = 5", r"methods\.a changes training\.steps: .* on the same examples"),
    ("[methods.a.training]\nbatch_size = 5", r"methods\.a changes training\.batch_size"),
    ("[methods.a.answers]\nmax_new_tokens = 5", r"methods\.a changes answers\.max_new_tokens: every student is"),
    ("seeds = []\n[methods.a]", "seeds"),
    ("seeds = [1, 1]\n[methods.a]", "a seed is given twice"),
    ("[methods]", "methods"),
    ("[methods.'a/b']", "may not have a slash or begin with a dot"),
    ("speed = 1\n[methods.a]", "unknown key speed"),
]


@pytest.mark.parametrize(("text", "message"), COMPARISON_MISTAKES, ids=[text for text, _ in COMPARISON_MISTAKES])
def test_methods_that_cannot_be_compared_are_refused(tmp_path, text, message):
    write(tmp_path, "tiny-opd", (RECIPES / "tiny-opd.toml").read_text())
    with pytest.raises(ConfigurationError, match=message):
        load_comparison(write(tmp_path, "compare", COMPARISON + text + "\n"))


def test_a_comparison_is_no_recipe_and_the_other_way_round(tmp_path):
    with pytest.raises(ConfigurationError, match=r"is a comparison: it has several methods\. Run `video-opd compare"):
        load_recipe(COMPARISONS[0])
    with pytest.raises(ConfigurationError, match=r"the recipe of one run: a comparison is expected.*opd train"):
        load_comparison(RECIPES / "tiny-sft.toml")


def test_a_mistake_in_one_method_names_it(tmp_path):
    write(tmp_path, "tiny-opd", (RECIPES / "tiny-opd.toml").read_text())
    path = write(tmp_path, "compare", COMPARISON + "[methods.a.method]\nname = 'grpo'\nnum_answers = 1\n")
    comparison, tables = load_comparison(path)
    with pytest.raises(ConfigurationError, match=r"methods\.a: method\.num_answers = 1 with grpo"):
        make_recipe(comparison, tables, "a", None, 0)


def test_a_learning_rate_on_the_command_line_does_not_get_lost_in_a_sweep():
    with pytest.raises(ConfigurationError, match="already tries several learning rates"):
        load_comparison(COMPARISONS[0], {"training.learning_rate": "1e-4"})
    comparison, tables = load_comparison(COMPARISONS[0], {"training.learning_rate": "7e-4"}, learning_rates=())
    assert make_recipe(comparison, tables, "opd", None, 0).training.learning_rate == 7e-4


def test_only_some_of_the_methods(tmp_path):
    write(tmp_path, "tiny-opd", (RECIPES / "tiny-opd.toml").read_text())
    path = write(tmp_path, "compare", COMPARISON + "[methods.a]\n[methods.b]\n[methods.c]\n")
    comparison, tables = load_comparison(path, {"training.steps": "3"}, only=["c", "a"], seeds=[5])
    assert list(comparison.methods) == ["c", "a"]
    assert comparison.seeds == (5,)
    assert make_recipe(comparison, tables, "a", 2e-3, 5).training.steps == 3
    assert make_recipe(comparison, tables, "a", 2e-3, 5).training.learning_rate == 2e-3
    with pytest.raises(ConfigurationError, match=r"method 'd': .* has no method of that name\. Choose from a, b, c"):
        load_comparison(path, only=["d"])


OF_EARLIER_VERSIONS = {
    "compute": {"device", "evaluation_batch_size", "precision", "threads"},
    "training": {"batch_size", "betas", "clip_norm", "decay", "learning_rate", "micro_batch_size", "steps",
                 "updates_per_batch", "warmup_steps", "weight_decay"},
    "student": {"freeze_merger", "freeze_vision", "model"},
    "teacher": {"model", "sources"},
    "answers": {"max_new_tokens"},
    "video": {"fps", "max_frame_tokens", "max_frames", "max_tokens"},
    "schedule": {"answers_every", "answers_kept", "checkpoint_every", "evaluate_every", "keep_checkpoints",
                 "probe_every", "probe_size"},
}  # fmt: skip
"""What an earlier version wrote into the folder of a run of `tiny-opd`, in tables that got new keys since."""


def test_runs_of_earlier_versions_go_on():
    """A key that is not set is not written, so the folder of an earlier run holds the same recipe."""
    tables = tomllib.loads(load_recipe(RECIPES / "tiny-opd.toml").to_toml())
    assert {name: set(tables[name]) for name in OF_EARLIER_VERSIONS} == OF_EARLIER_VERSIONS


def test_dapo_and_dr_grpo_are_grpo_with_these_settings():
    grpo, dapo, dr = (load_recipe(RECIPES / f"tiny-{name}.toml") for name in ("grpo", "dapo", "dr-grpo"))
    for recipe, changed in (
        (dapo, {"clip_higher": 0.28, "mask_truncated": True}),
        (dr, {"divide_by_std": False}),
    ):
        differing = {
            key: value for key, value in recipe.method.model_dump().items() if grpo.method.model_dump()[key] != value
        }
        assert differing == changed
        assert not recipe.method.needs_reference
        others = grpo.model_dump().keys() - {"name", "method", "training"}
        assert all(getattr(recipe, key) == getattr(grpo, key) for key in others)
    assert dapo.training == grpo.training
    constant = dr.training.batch_size * dr.method.num_answers * dr.answers.max_new_tokens
    assert dr.training == grpo.training.model_copy(update={"normalise": "constant", "normalise_by": float(constant)})
