"""From `train` to the end of a run each input is read, checked and hashed once."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from video_opd.cli import main
from video_opd.data import manifest
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.eval import how_asked
from video_opd.train.early_checks import refuse_early
from video_opd.train.run_inputs import Inputs

SPLITS = ("train", "validation", "test")


@pytest.fixture
def opened(monkeypatch) -> Counter[str]:
    """How often a file was opened, by its name; those of the tiny models and of FFmpeg are opened elsewhere."""
    counts: Counter[str] = Counter()
    plain = io.open

    def counting(file, *arguments, **more):
        if isinstance(file, str | Path):
            counts[Path(file).name] += 1
        return plain(file, *arguments, **more)

    monkeypatch.setattr(io, "open", counting)
    return counts


@pytest.fixture
def read(monkeypatch) -> Counter[str]:
    """How often `read_manifest` was called, by the name of the file, whichever module calls it."""
    counts: Counter[str] = Counter()
    plain = manifest.read_manifest

    def counting(path, *arguments):
        counts[path.name] += 1
        return plain(path, *arguments)

    for name, module in list(sys.modules.items()):
        if name.startswith("video_opd") and vars(module).get("read_manifest") is plain:
            monkeypatch.setattr(module, "read_manifest", counting)
    return counts


@pytest.fixture
def resolved(monkeypatch) -> Counter[str]:
    """How often a template was resolved, by its name."""

    class Counting(dict):
        def __getitem__(self, name):
            counts[name] += 1
            return super().__getitem__(name)

    counts: Counter[str] = Counter()
    monkeypatch.setattr(how_asked, "TEMPLATES", Counting(TEMPLATES))
    how_asked.resolve_template.cache_clear()
    return counts


@pytest.fixture
def words(world, tmp_path, recipe_file) -> list[str]:
    """A command that trains one step in one round, on a test manifest and with side questions too."""
    data = [word for split in SPLITS for word in (f"--data.{split}", str(world / f"{split}.jsonl"))]
    side = ["--side-questions.template", "tiny-before", "--side-questions.file", str(world / "before.jsonl")]
    rounds = {"name": "rounds", "count": 4, "strategy": "top-k", "threshold": 0.3, "num-answers": 1, "num-rounds": 1,
              "cache": tmp_path / "scores"}  # fmt: skip
    curriculum = [word for key, value in rounds.items() for word in (f"--curriculum.{key}", str(value))]
    models = ["--answers.max-new-tokens", "32", "--student.model", "tiny-student", "--teacher.model", "tiny-teacher"]
    return [
        "train",
        str(recipe_file),
        "--out",
        str(tmp_path / "run"),
        "--steps",
        "1",
        *models,
        *data,
        *side,
        *curriculum,
    ]


def test_training_reads_each_input_once(words, world, tmp_path, opened, read, resolved, capsys):
    assert main(words) == 0, capsys.readouterr().err
    names = [f"{split}.jsonl" for split in SPLITS]
    assert read == dict.fromkeys(names, 1)
    files = [*names, "before.jsonl"]
    assert {name: opened[name] for name in files} == dict.fromkeys(files, 2)  # one to read it, one to hash it
    assert resolved == {"tiny": 1, "tiny-before": 1}
    state = json.loads((tmp_path / "run" / "checkpoints" / "step-000001" / "state.json").read_text())
    data = hashlib.sha256(b"".join((world / name).read_bytes() for name in names)).hexdigest()
    assert state["data_sha256"] == hashlib.sha256(data.encode()).hexdigest()


def test_recipes_that_share_their_data_are_looked_at_together(words, recipe_file, world, read):
    from video_opd.config.recipe_file import load_recipe

    paths = {f"data.{split}": str(world / f"{split}.jsonl") for split in SPLITS}
    recipes = [load_recipe(recipe_file, paths | {"seed": str(seed)}) for seed in range(3)]
    refuse_early(*recipes)
    assert read == dict.fromkeys([f"{split}.jsonl" for split in SPLITS], 1)


def test_hashes_of_several_files_share_what_was_read(tmp_path, opened):
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text(file.name)
    opened.clear()
    inputs = Inputs()
    assert inputs.hash_files(files[0]) == hashlib.sha256(b"a").hexdigest()
    assert inputs.hash_files(*files) == hashlib.sha256(b"abc").hexdigest()
    assert inputs.hash_files(*files[:2]) == hashlib.sha256(b"ab").hexdigest()
    assert opened == dict.fromkeys("abc", 1)
