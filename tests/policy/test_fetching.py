"""What is wrong here is told before the hub is asked, and what small files tell before weights are fetched."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tomli_w
from safetensors.torch import load_file, save_file

from video_opd.cli import main
from video_opd.data.manifest import read_manifest
from video_opd.policy import location
from video_opd.policy.location import resolve_model
from video_opd.runs.directory import RunDirectory

COMMIT = "0123456789abcdef" * 2 + "01234567"


@dataclass
class Hub:
    """A hub of one's own: what is asked of it, and what it holds."""

    cache: Path
    models: dict[str, Path] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def snapshot(self, name: str, *, revision: str | None = None, allow_patterns: list[str]) -> str:
        self.asked.append((name, revision))
        target = self.cache / name.replace("/", "--") / "snapshots" / COMMIT
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(self.models[name].iterdir()):
            wanted = any(fnmatch.fnmatch(file.name, pattern) for pattern in allow_patterns)
            if wanted and not (target / file.name).exists():
                self.fetched.append(f"{name}/{file.name}")
                shutil.copy(file, target / file.name)
        return str(target)

    @property
    def weights(self) -> list[str]:
        return [file for file in self.fetched if file.endswith(".safetensors")]


@pytest.fixture
def hub(tmp_path, models, monkeypatch) -> Hub:
    """Two models of one family, and nothing else."""
    hub = Hub(tmp_path / "cache")
    for role in ("student", "teacher"):
        hub.models[f"ours/{role}"] = Path(shutil.copytree(models[role], tmp_path / "remote" / role))
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub.snapshot)
    for remembered in (location._download_small_files, location._download_weights):
        remembered.cache_clear()
    return hub


@pytest.fixture
def clip(world) -> Path:
    return world / "videos" / read_manifest(world / "test.jsonl")[0].video


@pytest.fixture
def remote_recipe(recipe_file) -> Path:
    """Student and teacher on the hub."""
    tables = tomllib.loads(recipe_file.read_text())
    tables["student"]["model"], tables["teacher"]["model"] = "ours/student", "ours/teacher"
    recipe_file.write_text(tomli_w.dumps(tables))
    return recipe_file


@pytest.fixture
def broken(tmp_path) -> Path:
    path = tmp_path / "broken.jsonl"
    path.write_text("{\n")
    return path


# Faults that lie here


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompt.template", "tinny"], "no built-in template"),
        (["--compute.device", "abacus"], "device 'abacus'"),
        (["--data.videos", "nowhere"], "no such folder"),
        (["--data.train", "BROKEN"], "line 1"),
        (["--data.validation", "BROKEN"], "line 1"),
        (["--data.test", "BROKEN"], "line 1"),
        (["--data.train", "nowhere.jsonl"], "No such file"),
        (["--teacher.model", "nowhere"], "'nowhere' was not found"),
        (["--teacher.model", "EMPTY"], "has no *.safetensors"),
        (["--video.max-tokens", "3"], "frames share max_tokens = 3"),
        (["--curriculum.name", "selection", "--curriculum.file", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--curriculum.name", "rounds", "--curriculum.count", "9999"], "curriculum.count = 9999"),
        (["--side_questions.file", "BROKEN"], "line 1"),
        (["--method.name", "grpo", "--method.form-weight", "1.0"], "does not say what a well-formed answer"),
    ],
)
@pytest.mark.parametrize("command", ["train", "doctor", "compare"])
def test_what_is_wrong_here_is_told_before_the_hub_is_asked(
    refused, command, words, message, remote_recipe, broken, hub, tmp_path
):
    (tmp_path / "empty").mkdir()
    words = [{"BROKEN": str(broken), "EMPTY": str(tmp_path / "empty")}.get(word, word) for word in words]
    recipe = remote_recipe
    if command == "compare":
        if words[0].startswith("--method"):
            pytest.skip("a comparison names its methods itself")
        recipe = comparison_of(remote_recipe)
    out = () if command == "doctor" else ("--out", tmp_path / "run")
    assert message in refused(command, recipe, *words, *out)
    assert hub.asked == []
    assert not (tmp_path / "run").exists()


def comparison_of(recipe: Path) -> Path:
    path = recipe.with_name("compare.toml")
    methods = {name: {"method": {"name": name}} for name in ("opd", "sft")}
    path.write_text(tomli_w.dumps({"name": "both", "recipe": recipe.name, "seeds": [0], "methods": methods}))
    return path


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        ({"manifest": "BROKEN"}, "line 1"),
        ({"--videos": "nowhere"}, "no such folder"),
        ({"--out": "FOLDER"}, "cannot be written"),
        ({"--device": "abacus"}, "device 'abacus'"),
        ({"--template": "tinny"}, "no built-in template"),
        ({"--max-tokens": "3"}, "frames share max_tokens = 3"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "score"])
def test_evaluate_and_score_look_here_first(refused, command, spoiled, message, broken, world, hub, tmp_path):
    said = {
        "manifest": world / "test.jsonl",
        "--videos": world / "videos",
        "--out": tmp_path / "out.jsonl",
    }
    said |= {key: {"BROKEN": broken, "FOLDER": tmp_path}.get(value, value) for key, value in spoiled.items()}
    manifest = said.pop("manifest")
    flags = [word for pair in said.items() for word in pair]
    assert message in refused(command, "ours/teacher", manifest, *flags)
    assert hub.asked == [] or "--max-tokens" in spoiled  # what it is asked by default is one of the small files
    assert hub.weights == []


def test_score_looks_at_a_local_teacher_before_it_fetches_the_student(refused, world, hub, tmp_path):
    (tmp_path / "empty").mkdir()
    command = (
        "score",
        "ours/student",
        world / "test.jsonl",
        "--videos",
        world / "videos",
        "--out",
        tmp_path / "o.jsonl",
    )
    assert "has no *.safetensors" in refused(*command, "--answers", 2, "--teacher", tmp_path / "empty")
    assert hub.asked == []


@pytest.mark.parametrize("words", [("--device", "abacus"), ("--template", "tinny")])
def test_ground_looks_here_first(refused, words, clip, hub):
    refused("ground", "ours/teacher", clip, "the red circle", *words)
    refused("ground", "ours/teacher", clip, " ")
    refused("ground", "ours/teacher", clip.with_name("none.mp4"), "the red circle")
    assert hub.asked == []


# Faults that small files tell


def edit_json(file: Path, edit: Callable[[dict], None]) -> None:
    table = json.loads(file.read_text())
    edit(table)
    file.write_text(json.dumps(table))


def quantised(folder: Path) -> None:
    edit_json(folder / "config.json", lambda config: config.update(quantization_config={"quant_method": "gptq"}))


def of_no_known_type(folder: Path) -> None:
    edit_json(folder / "config.json", lambda config: config.update(model_type="abacus"))


def of_another_tokenizer(folder: Path) -> None:
    def swap(tokenizer):
        vocabulary = tokenizer["model"]["vocab"]
        first, second = list(vocabulary)[40:42]
        vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]

    edit_json(folder / "tokenizer.json", swap)


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def with_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "ours/student"}')


def without_processor(folder: Path) -> None:
    for file in folder.glob("*processor*.json"):
        file.unlink()


FAULTS = [
    (of_no_known_type, "config cannot be loaded"),
    (without_template, "no chat template"),
    (with_adapter, "holds an adapter"),
    (without_processor, "has no processor"),
    (quantised, "its weights are quantised (gptq)"),
]


@pytest.mark.parametrize(("spoil", "message"), [*FAULTS, (of_another_tokenizer, "different tokenizers")])
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_what_small_files_tell_is_told_before_weights_are_fetched(
    refused, role, spoil, message, remote_recipe, hub, tmp_path
):
    spoil(hub.models[f"ours/{role}"])
    assert message in refused("train", remote_recipe, "--out", tmp_path / "run")
    assert hub.asked
    assert hub.weights == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_small_files_are_looked_at_first_by_every_command(refused, spoil, message, clip, world, hub, tmp_path):
    spoil(hub.models["ours/teacher"])
    asked = (world / "test.jsonl", "--videos", world / "videos", "--out", tmp_path / "out.jsonl")
    assert message in refused("ground", "ours/teacher", clip, "the red circle")
    assert message in refused("evaluate", "ours/teacher", *asked)
    assert message in refused("score", "ours/student", *asked, "--answers", 2, "--teacher", "ours/teacher")
    assert hub.weights == []


# What is fetched in the end


def test_weights_are_fetched_once_and_from_the_commit_that_was_looked_at(hub, clip):
    assert main(["ground", "ours/teacher", str(clip), "the red circle"]) == 0
    assert hub.weights == ["ours/teacher/model.safetensors"]
    assert hub.asked == [("ours/teacher", None), ("ours/teacher", COMMIT)]
    assert main(["ground", "ours/teacher", str(clip), "the red circle"]) == 0
    assert len(hub.asked) == 2


def test_only_the_weights_that_the_index_names_are_fetched(hub):
    remote = hub.models["ours/teacher"]
    (remote / "model.safetensors").rename(remote / "model-00001-of-00001.safetensors")
    names = dict.fromkeys(load_file(remote / "model-00001-of-00001.safetensors"), "model-00001-of-00001.safetensors")
    (remote / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    shutil.copy(remote / "model-00001-of-00001.safetensors", remote / "consolidated.safetensors")
    resolve_model("ours/teacher", weights=False)
    assert hub.weights == []
    resolve_model("ours/teacher")
    assert hub.weights == ["ours/teacher/model-00001-of-00001.safetensors"]


def test_an_older_single_file_on_the_hub_is_refused_as_it_is_here(refused, hub, clip):
    remote = hub.models["ours/teacher"]
    weights = load_file(remote / "model.safetensors")
    save_file(weights, remote / "model-00001-of-00001.safetensors", {"format": "pt"})
    names = dict.fromkeys(weights, "model-00001-of-00001.safetensors")
    (remote / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert "two sets of weights: model.safetensors, and" in refused("ground", "ours/teacher", clip, "the red circle")


@pytest.mark.slow
def test_a_run_with_models_of_the_hub_goes_through(remote_recipe, hub, tmp_path):
    assert main(["train", str(remote_recipe), "--out", str(tmp_path / "run"), "--steps", "1"]) == 0
    assert sorted(hub.weights) == ["ours/student/model.safetensors", "ours/teacher/model.safetensors"]


# A run folder in use


@pytest.fixture
def in_use(tmp_path):
    """A folder that another process holds."""
    folder = tmp_path / "held"
    code = (
        "import pathlib, sys\nfrom video_opd.runs.directory import RunDirectory\n"
        "with RunDirectory.create_or_resume(pathlib.Path(sys.argv[1]), recipe_toml='', environment={}):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    yield folder, holder.pid
    holder.stdin.close()
    holder.wait(timeout=30)
    holder.stdout.close()


def test_a_folder_in_use_is_told_before_anything_is_done(refused, in_use, remote_recipe, hub, tmp_path):
    folder, pid = in_use
    before = sorted((path.name, path.read_bytes()) for path in folder.iterdir() if path.is_file())
    world = ("--data.videos", tmp_path / "w/videos", *(
        word for split in ("train", "validation", "test") for word in (f"--data.{split}", tmp_path / f"w/{split}.jsonl")
    ), "--data.tiny-world.num-train", 4)  # fmt: skip
    for words in ((), world, ("--data.videos", "nowhere"), ("--compute.device", "mps:9")):
        sentence = refused("train", remote_recipe, "--out", folder, *words)
        assert f"run folder {folder} is in use by process {pid}" in sentence
    assert hub.asked == []
    assert not (tmp_path / "w").exists()  # nothing was rendered
    assert sorted((path.name, path.read_bytes()) for path in folder.iterdir() if path.is_file()) == before
    assert f"{folder} is in use" in refused("demo", "--out", folder)


def test_another_run_is_told_before_the_hub_is_asked(refused, remote_recipe, hub, tmp_path):
    out = tmp_path / "run"
    with RunDirectory.create_or_resume(out, recipe_toml='name = "another"\n', environment={}) as run:
        run.metrics.write_text("{}\n")
    assert "holds a run with another recipe" in refused("train", remote_recipe, "--out", out)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    assert "chapter.tex" in refused("train", remote_recipe, "--out", tmp_path / "thesis")
    assert hub.asked == []
