"""What was probably meant is said for every kind of name, and what was given in the wrong place is named."""

from __future__ import annotations

import json

import pytest

import video_opd.compare.results
import video_opd.doctor.examination  # noqa: F401 - both before a test replaces a function that they take in by name
from video_opd.cli import main
from video_opd.config.recipe_file import list_recipe_keys
from video_opd.data.importers._formats import FORMATS
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.video.video_io import write_video
from video_opd.errors import ConfigurationError
from video_opd.eval.scorers import SCORERS
from video_opd.policy.description import require_device
from video_opd.policy.location import BUNDLED, DEVICES, check_device_name
from video_opd.suggestions import SYNONYMS, edit_distance, find_nearest, suggest
from video_opd.trackers import TRACKERS

FLAGS = {"--out", "--seed", "--seeds", "--steps", "--as", "--ground-truth", "--learning-rates", "--methods"}


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("", "", 0), ("abc", "", 3), ("grond", "ground", 1), ("studnet", "student", 1), ("ab", "ba", 1)],
)  # fmt: skip
def test_edit_distance(one, other, distance):
    assert edit_distance(one, other) == edit_distance(other, one) == distance


@pytest.mark.parametrize(
    ("word", "names", "meant"),
    [
        ("training.lr", list_recipe_keys(), "training.learning_rate"),
        ("lr", list_recipe_keys(), "training.learning_rate"),
        ("train.LR", list_recipe_keys(), "training.learning_rate"),
        ("bs", list_recipe_keys(), "training.batch_size"),
        ("training.batch", list_recipe_keys(), "training.batch_size"),
        ("epochs", list_recipe_keys(), "training.steps"),
        ("wd", list_recipe_keys(), "training.weight_decay"),
        ("max_tokens", list_recipe_keys(), "video.max_tokens"),
        ("--max-tokens", list_recipe_keys(), "video.max_tokens"),
        ("model", list_recipe_keys(), "student.model"),
        ("teacher", list_recipe_keys(), "teacher.model"),
        ("student", list_recipe_keys(), "student.model"),
        ("training.seed", list_recipe_keys(), "seed"),
        ("answers.num_answers", list_recipe_keys(), "method.num_answers"),
        ("student.freeze_vison", list_recipe_keys(), "student.freeze_vision"),
        ("method.temperature", list_recipe_keys(), "answers.temperature"),
        ("method.colour", list_recipe_keys(), None),
        ("xyzzy", list_recipe_keys(), None),
        ("tiny-studnet", BUNDLED, "tiny-student"),
        ("tiny_teacher", BUNDLED, "tiny-teacher"),
        ("my-model", BUNDLED, None),
        ("charades", FORMATS, "charades-sta"),
        ("charadessta", FORMATS, "charades-sta"),
        ("timelens", FORMATS, "timelens-bench"),
        ("ActivityNet", FORMATS, "activitynet"),
        ("timelense", SCORERS, "timelens"),
        ("timr1", SCORERS, "time-r1"),
        ("qvh", SCORERS, "qvhighlights"),
        ("timlens", TEMPLATES, "timelens"),
        ("cud", DEVICES, "cuda"),
        ("gpu", DEVICES, "cuda"),
        ("a", FORMATS, None),
        ("", FORMATS, None),
        ("x", (), None),
    ],
)
def test_the_nearest_of_the_names(word, names, meant):
    assert find_nearest(word, names) == meant


def test_every_synonym_leads_to_something_that_there_is():
    """A key, a flag, a command or an argument: a synonym of a key that was renamed would be passed over in silence."""
    from test_remedies import flags_of_commands

    commands = flags_of_commands()
    flags = {flag for flags in commands.values() for flag in flags}
    known = {*list_recipe_keys(), *commands, *flags, *FORMATS, *DEVICES, *TRACKERS, "MODEL", "MANIFEST"}
    assert [(word, meant) for word, all_meant in SYNONYMS.items() for meant in all_meant if meant not in known] == []


def test_a_remedy_with_and_without_a_suggestion():
    assert suggest("opdd", ["opd", "grpo"], "choose one") == "perhaps opd is meant; choose one"
    assert suggest("opdd", ["opd", "grpo"]) == "perhaps opd is meant"
    assert suggest("zzz", ["opd", "grpo"], "choose one") == "choose one"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("grond m v q", "ground"),
        ("trian r.toml", "train"),
        ("eval m", "evaluate"),
        ("import charades-sta x", "data import"),
        ("check m.jsonl", "data check"),
        ("data chek m.jsonl", "check"),
        ("train {recipe} --lr 1e-4", "--training.learning-rate"),
        ("train {recipe} --training.lr 1e-4", "training.learning_rate"),
        ("doctor {recipe} --bs 4", "--training.batch-size"),
        ("compare {recipe} --lr 1e-4", "--learning-rates"),
        ("train {recipe} --optimizer.lr 1e-4", "training.learning_rate"),
        ("train {recipe} --epochs 2", "--steps"),
        ("train {recipe} --output runs/x", "--out"),
        ("train {recipe} --model x", "--student.model"),
        ("train {recipe} --method.name opdd", "opd"),
        ("train {recipe} --method.name GRPO", "grpo"),
        ("train {recipe} --curriculum.name round", "rounds"),
        ("train {recipe} --training.decay cosin", "cosine"),
        ("train {recipe} --prompt.template timlens", "timelens"),
        ("train {recipe} --student.model tiny-studnet", "tiny-student"),
        ("evaluate m t.jsonl --videos . --outt o", "--out"),
        ("evaluate tiny-studnet {manifest} --videos . --out o", "tiny-student"),
        ("evaluate m --benchmark tempcompas --data . --out o", "tempcompass"),
        ("evaluate --model m t.jsonl --videos . --out o", "MODEL without a flag"),
        ("metrics p --ground-truth m --as timelense", "timelens"),
        ("metrics p --ground-truth m --format lmms-evl", "lmms-eval"),
        ("metrics p --ground-truth m --scorer ours", "--as"),
        ("data import charades x --out y", "charades-sta"),
        ("score m t.jsonl --out o --num-answers 3", "--answers"),
        ("ground m v q --template timlens --json --devise cpu", "--device"),
    ],
)
def test_what_was_meant_is_said_on_the_command_line(refused, recipe_file, world, words, meant):
    filled = words.format(recipe=recipe_file, manifest=world / "test.jsonl")
    said = refused(*filled.split())
    assert f"Perhaps {meant} is meant" in said or f"Give {meant}" in said


def test_a_flag_that_is_unknown_is_named_before_what_it_makes_missing(refused):
    """A parser takes the value of an unknown flag for an argument of the command, or complains of another first."""
    assert "unrecognized arguments: --outt" in refused("evaluate", "m", "t.jsonl", "--videos", ".", "--outt", "o")
    assert "unrecognized arguments: --modle=x" in refused("evaluate", "--modle=x", "--out", "o")


@pytest.mark.parametrize("words", ["a person opens", "a --json person opens", "--json a person opens"])
def test_a_query_without_quotes(refused, words):
    said = refused("ground", "MODEL", "VIDEO", *words.split())
    assert 'Put it in quotes: video-opd ground MODEL VIDEO "a person opens"' in said


def test_several_queries_in_quotes_are_not_taken_for_one_without(refused):
    said = refused("ground", "m", "v.mp4", "a person opens", "a person", "closes")
    assert "it answers one query, and there are 3. Ask them one after the other" in said


def test_words_beyond_the_arguments_of_other_commands(refused):
    assert "unrecognized arguments: n.jsonl" in refused("evaluate", "m", "t.jsonl", "n.jsonl", "--out", "o")


# What is no recipe


@pytest.fixture
def things(tmp_path, recipe_file):
    """Name -> what somebody may give where a recipe is expected."""
    comparison = tmp_path / "c.toml"
    comparison.write_text(f'name = "c"\nrecipe = "{recipe_file}"\n[methods.opd.method]\nname = "opd"\n')
    nested = tmp_path / "nested.toml"
    nested.write_text(f'name = "c"\nrecipe = "{comparison}"\n[methods.opd.method]\nname = "opd"\n')
    run = tmp_path / "run"
    (run / "checkpoints" / "step-000001" / "model").mkdir(parents=True)
    (run / "recipe.toml").write_bytes(recipe_file.read_bytes())
    folder = tmp_path / "comparison"
    folder.mkdir()
    (folder / "comparison.json").write_text("{}")
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"id": "a", "video": "a.mp4", "query": "q", "spans": [[0, 1]], "duration": 3}\n')
    disguised = tmp_path / "m.toml"
    disguised.write_bytes(manifest.read_bytes())
    predictions = tmp_path / "p.jsonl"
    predictions.write_text('{"id": "a", "answer": "0 - 1"}\n')
    scores = tmp_path / "s.jsonl"
    scores.write_text('{"scores": {"model": "m"}}\n')
    for name, text in (("x.toml", "[tool]\na = 1\n"), ("r.yaml", "a: 1\n"), ("w.safetensors", "x"), ("v.mp4", "x")):
        (tmp_path / name).write_text(text)
    return {
        "recipe": recipe_file, "comparison": comparison, "nested": nested, "run": run, "folder": folder,
        "checkpoint": run / "checkpoints" / "step-000001", "manifest": manifest, "disguised": disguised,
        "predictions": predictions, "scores": scores,
        **{name: tmp_path / name for name in ("x.toml", "r.yaml", "w.safetensors", "v.mp4")},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("command", "thing", "said"),
    [
        ("compare", "recipe", "is the recipe of one run: a comparison is expected"),
        ("train", "comparison", "is a comparison"),
        ("doctor", "comparison", "is a comparison"),
        ("compare", "nested", "is a comparison"),
        *((command, thing, said)
          for command in ("train", "compare", "doctor")
          for thing, said in (("run", "is the folder of a run"), ("folder", "is the folder of a comparison"),
                              ("checkpoint", "is a checkpoint"), ("manifest", "is a manifest"),
                              ("disguised", "is a manifest"), ("predictions", "is a file of predictions"),
                              ("scores", "is a file of scores"), ("r.yaml", "is a YAML file"),
                              ("w.safetensors", "is a file of weights"), ("v.mp4", "is a video"))),
        ("train", "x.toml", "is not a recipe: it has no tables [student] and [data]; its keys are tool"),
        ("compare", "x.toml", "is not a comparison: it has no tables [methods.NAME]; its keys are tool"),
    ],
)  # fmt: skip
def test_what_was_given_for_a_recipe_is_named(refused, things, command, thing, said):
    sentence = refused(command, things[thing])
    assert said in sentence
    assert "it has no default" not in sentence


# Devices


ASKING = ["ground m v q", "evaluate m t --videos . --out o", "score m t --out o",
          "evaluate m --benchmark mvbench --data . --out o", "train {r}", "doctor {r}"]  # fmt: skip


@pytest.mark.parametrize("name", ["cud", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "auto:1", "meta", "abacus", ""])
@pytest.mark.parametrize("command", [*ASKING, "compare {c}", "evaluate m --with lmms-eval --tasks a --out o"])
def test_a_device_that_is_none_is_known_before_anything_is_read(refused, things, monkeypatch, command, name):
    monkeypatch.setattr("video_opd.data.manifest.read_manifest", lambda *_: pytest.fail("read a manifest"))
    flag = "--compute.device" if "{" in command else "--device"
    words = command.format(r=things["recipe"], c=things["comparison"]).split()
    assert f"device {name!r} cannot be used: no device has that name" in refused(*words, f"{flag}={name}")


@pytest.mark.parametrize("name", ["cuda:99", "mps:7", "xpu"])
@pytest.mark.parametrize("command", ASKING)
def test_a_device_that_is_not_here_is_known_before_anything_is_read(refused, things, monkeypatch, command, name):
    for place in ("data.manifest", "train.run_inputs"):
        monkeypatch.setattr(f"video_opd.{place}.read_manifest", lambda *_: pytest.fail("read a manifest"))
    flag = "--compute.device" if "{" in command else "--device"
    words = command.format(r=things["recipe"], c=things["comparison"]).split()
    assert f"device {name!r} cannot be used" in refused(*words, flag, name)


def test_devices_that_there_are():
    assert [check_device_name(name) for name in ("auto", "cpu", "cuda", "cuda:1", "mps")]
    assert require_device("cpu").type == "cpu"
    with pytest.raises(ConfigurationError, match="no device has that name"):
        require_device("meta")


# Tiny models on real videos


@pytest.fixture
def real(tmp_path):
    """A folder with a manifest of one real video, as far as its size tells."""
    import numpy as np

    images = np.random.default_rng(0).integers(0, 255, (12, 48, 96, 3), dtype=np.uint8)
    write_video(tmp_path / "real.mp4", images, 2.0)
    row = {"id": "a", "video": "real.mp4", "query": "a dog", "spans": [[0, 2]], "duration": 6.0}
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path


def test_tiny_models_on_a_real_video_are_warned_about(real, world, capsys):
    warning = "video-opd: warning: tiny-student knows nothing but the shapes that the tiny world renders"
    for words in (
        ["ground", "tiny-student", str(real / "real.mp4"), "a dog"],
        ["evaluate", "tiny-student", str(real / "m.jsonl"), "--videos", str(real), "--out", str(real / "p")],
        ["score", "tiny-student", str(real / "m.jsonl"), "--videos", str(real), "--out", str(real / "s"),
         "--answers", "1"],
    ):  # fmt: skip
        assert main([*words, "--device", "cpu"]) == 0
        assert sum(line.startswith(warning) for line in capsys.readouterr().err.splitlines()) == 1
    clip = next((world / "videos").glob("*.mp4"))
    assert main(["ground", "tiny-student", str(clip), "the red circle", "--device", "cpu"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_other_models_and_the_tiny_world_are_not(real, world, models):
    from video_opd.data.manifest import read_manifest
    from video_opd.eval.how_asked import explain_tiny_on_real

    rendered, filmed = read_manifest(world / "test.jsonl"), read_manifest(real / "m.jsonl")
    assert explain_tiny_on_real(["tiny-teacher"], world / "videos", rendered) is None
    assert explain_tiny_on_real([models["student"]], real, filmed) is None
    assert explain_tiny_on_real(["tiny-teacher"], real, []) is None
    assert explain_tiny_on_real(["tiny-teacher"], real / "nowhere", filmed) is None
    assert "real.mp4" in (explain_tiny_on_real([models["student"], "tiny-teacher"], real, filmed) or "")


def test_a_word_that_is_no_name_is_compared_with_none(monkeypatch):
    """100,000 letters in the place of a device took seven seconds of computing."""
    monkeypatch.setattr("video_opd.suggestions.edit_distance", None)
    assert find_nearest("cpu" * 100, ["cpu", "cuda"]) is None
