"""Random command lines in a folder full of a user's files: none of them changes, and every failure is one sentence."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from folders import contents
from video_opd import demo
from video_opd.cli import main
from video_opd.data.tiny_world import BuildSettings
from video_opd.data.video.video_io import write_video

SPLITS = ("train", "validation", "test")
SIZES = dict.fromkeys(SPLITS, 2)
OURS = Path("done")
"""The folder with earlier outputs of the commands; everything else is the user's."""

MAY_REPLACE = {
    "done/manifest.jsonl": ("data import", "data sample", "data merge", "data overlap"),
    "done/pairs.jsonl": ("data overlap",),
    "done/picture.svg": ("data stats",),
    "done/predictions.jsonl": ("evaluate",),
    "done/scores.jsonl": ("merge-scores", "score"),
    "done/selection.jsonl": ("select",),
}
"""The rule's only exception: an earlier output may be replaced by a command that writes files of its kind, where the
command line names it. In a run folder the files of the run may change, and no other."""

OF_A_RUN = re.compile(
    r"(done/(?:run|adapter))/(\.run\.lock|\.recipe\.sha256|recipe\.toml|environment(-\d+)?\.json|inputs\.json|report\.html|metrics\.jsonl|"
    r"answers\.jsonl|result\.json|finished\.json|(evaluation|checkpoints|rounds)(/.*)?)"
)
NOTES = {"done/run/notes.txt", "done/run/checkpoints/step-000001/model/notes.txt"}
"""The user's, in the folder of a run."""

LIKE_OURS = (
    "before.jsonl", "scores.jsonl", "selection.jsonl", "metrics.jsonl", "answers.jsonl", "report.html",
    "comparison.json", "result.json", "finished.json", "environment.json", "inputs.json", "command.json",
    "command.sh", "log.txt",
    "report.json", ".run.lock", ".recipe.sha256", "evaluation/student-before.json", "rounds/1/selection.jsonl",
    "checkpoints/step-000010/COMPLETE.json", "checkpoints/step-000010/model.safetensors", "picture.svg",
    "tiny-world/train.jsonl", "data/notes.txt", "lmms-eval/a_results.json", "runs/c/runs/opd-lr0.001-seed0/mine",
    "runs/here/recipe.toml", "parts/test.jsonl",
)  # fmt: skip
"""Files of the user's that are named like our outputs."""

SENTENCE = re.compile(r"video-opd: \S.*: \S.*\. [A-Z`(].*[^.]\.")


# The folder


def own_files(folder: Path, recipe: dict, student: str) -> None:
    """A user's project: data, recipes, a model, and a file named like each of our outputs."""
    (folder / "videos").mkdir()
    for name in ("train-kitchen", "validation-hall", "test-0-00000"):
        write_video(folder / "videos" / f"{name}.mp4", np.full((8, 64, 64, 3), 90, np.uint8), 2.0)
    row = {"video": "train-kitchen.mp4", "query": "the red circle", "spans": [[1.0, 2.0]], "duration": 4.0}
    for split in SPLITS:
        rows = [row | {"id": f"{split}-{number}"} for number in range(4)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "annotations.csv").write_text("video,query,start,end,duration\na.mp4,q,1,2,10\n")
    (folder / "predictions.jsonl").write_text('{"answer": "1 - 2 seconds", "id": "test-0"}\n')
    shutil.copytree(student, folder / "model")
    world = {"tiny_world": {f"num_{split}": size for split, size in SIZES.items()}}

    def data(root: str) -> dict:
        return {"videos": f"{root}videos", **{split: f"{root}{split}.jsonl" for split in SPLITS}}

    for name, tables in {
        "recipe": {"data": data("")},
        "world": {"data": data("data/tiny-world/") | world, "side_questions": {"template": "tiny-before"}},
        "here": {"data": data("") | world},
        "elsewhere": {"data": data("empty/") | world},
    }.items():
        text = tomli_w.dumps(recipe | {"name": name} | tables)
        (folder / f"{name}.toml").write_text(f"# mine\n{text}")
    (folder / "based.toml").write_text(tomli_w.dumps({"base": "world.toml", "data": data("")}))
    methods = '[methods.opd.method]\nname = "opd"\n'
    (folder / "comparison.toml").write_text(f'name = "c"\nrecipe = "world.toml"\nseeds = [0]\n{methods}')
    for name in LIKE_OURS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"mine, {name}")
    (folder / "world.json").write_text(json.dumps(BuildSettings(num_queries=SIZES).describe()))
    (folder / "empty").mkdir()
    for name, target in {"link.jsonl": "train.jsonl", "clips": "videos", "nowhere.jsonl": "not-there/x"}.items():
        (folder / name).symlink_to(target)


def earlier_outputs(folder: Path) -> None:
    """What the commands themselves wrote, in `done`."""
    for words in (
        "data sample train.jsonl --count 2 --out done/manifest.jsonl",
        "data overlap train.jsonl test.jsonl --out done/pairs.jsonl",
        "data stats train.jsonl --picture done/picture.svg",
        "evaluate model test.jsonl --videos videos --out done/predictions.jsonl --device cpu",
        "score model train.jsonl --videos videos --answers 1 --out done/scores.jsonl --device cpu",
        "select --student done/scores.jsonl --count 1 --threshold 0 --out done/selection.jsonl",
        "train recipe.toml --out done/run --steps 1",
        "train recipe.toml --out done/adapter --steps 1 --student.lora.rank 2",
    ):
        assert main(words.split()) == 0, words
    for name in NOTES:
        (folder / name).write_text("mine")


@pytest.fixture(scope="module")
def project(recipe_tables, models, tmp_path_factory) -> Iterator[Path]:
    """The folder as it is before every command line."""
    folder, patch = tmp_path_factory.mktemp("project"), pytest.MonkeyPatch()
    own_files(folder, recipe_tables, models["student"])
    patch.chdir(folder)
    patch.setattr(demo, "find_bundled_recipe", lambda _: folder / "world.toml")  # the real one renders for a minute
    earlier_outputs(folder)
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def recipe_tables(models) -> dict:
    """A recipe without its data: one short step of random models."""
    return {
        "student": {"model": models["student"]},
        "teacher": {"model": models["teacher"]},
        "prompt": {"template": "tiny"},
        "video": {"max_frames": 64, "max_tokens": 64, "max_frame_tokens": 1},
        "answers": {"max_new_tokens": 4},
        "training": {"steps": 1, "batch_size": 2, "micro_batch_size": 2, "learning_rate": 1e-3},
        "schedule": {"checkpoint_every": 1, "probe_every": 0, "keep_checkpoints": 1},
        "compute": {"device": "cpu", "threads": 1, "evaluation_batch_size": 4},
    }


# The command lines

USUAL = {
    "recipe": ["recipe.toml", "world.toml", "here.toml", "elsewhere.toml", "based.toml"],
    "comparison": ["comparison.toml"],
    "manifest": ["train.jsonl", "validation.jsonl", "test.jsonl", "done/manifest.jsonl", "link.jsonl"],
    "folder": ["videos", "clips", "empty", "."],
    "model": ["model"],
    "adapter": ["done/adapter", "model"],
    "clip": ["videos/train-kitchen.mp4"],
    "scores": ["done/scores.jsonl"],
    "predictions": ["predictions.jsonl", "done/predictions.jsonl"],
    "annotations": ["annotations.csv", "train.jsonl"],
    "format": ["csv", "jsonl", "charades-sta", "timelens"],
    "out": ["new", "new/x.jsonl", "new.svg", "done/run", *MAY_REPLACE],
}
"""What is often given for a slot; else anything of the folder."""

LINES = {
    "init": "init --videos {folder} --manifest {manifest} --out {out}",
    "recipes": "recipes copy tiny-opd --out {out}",
    "completion": "completion bash",
    "train": "train {recipe} --steps 1 --out {out}",
    "plan": "plan {recipe} --gpus H100",
    "doctor": "doctor {recipe} --examples 1",
    "compare": "compare {comparison} --seeds 0 --out {out}",
    "demo": "demo --steps 1 --out {out}",
    "evaluate": "evaluate {model} {manifest} --videos {folder} --device cpu --out {out}",
    "evaluate benchmark": "evaluate {model} --benchmark tempcompass --data {folder} --device cpu --out {out}",
    "evaluate lmms": "evaluate {model} --with lmms-eval --tasks a --write-only --out {out}",
    "evaluate lmms read": "evaluate {model} --with lmms-eval --read-only --out {out}",
    "ground": "ground {model} {clip} thing --device cpu",
    "score": "score {model} {manifest} --videos {folder} --answers 1 --device cpu --out {out}",
    "merge": "merge {adapter} --out {out}",
    "merge-scores": "merge-scores {scores} --out {out}",
    "select": "select --student {scores} --count 1 --threshold 0 --out {out}",
    "metrics": "metrics {predictions} --ground-truth {manifest}",
    "report": "report {out}",
    "bug-report": "bug-report {out} --out {out}",
    "data import": "data import {format} {annotations} --out {out}",
    "data check": "data check {manifest} --videos {folder}",
    "data stats": "data stats {manifest} --picture {out}",
    "data split": "data split {manifest} --parts train=0.5 test=0.5 --by row --out {out}",
    "data sample": "data sample {manifest} --count 1 --out {out}",
    "data merge": "data merge {manifest} {manifest} --on-conflict rename --out {out}",
    "data overlap": "data overlap {manifest} {manifest} --without {out} --out {out}",
    "tiny-world build": "tiny-world build --train 2 --validation 2 --test 2 --out {out}",
}


TRIED_ELSEWHERE = {"serve", "watch", "track"}
"""The first two go on until they are stopped, and a tracker writes files of its own: tests/serve, tests/report and
tests/trackers look at what they leave alone."""


def names_in(folder: Path) -> list[str]:
    """Everything of the folder that an argument may name; of what lies deep some."""
    found = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))]
    return [name for name in found if name.count("/") < 2 and not name.startswith("model/")] + [".", "videos/new.mp4"]


@st.composite
def command_lines(draw: st.DrawFn, names: Sequence[str]) -> list[str]:
    """A command with what it needs, most of it sensible, and data paths of a recipe overridden or not."""
    kind = draw(st.sampled_from(sorted(LINES)))
    words = []
    for word in LINES[kind].split():
        if word.startswith("{"):
            usual = USUAL[word.strip("{}")]
            strange = draw(st.integers(0, 9)) < (5 if word == "{out}" else 1)
            word = draw(st.sampled_from(names if strange else usual))
        words.append(word)
    if kind in ("train", "doctor", "compare"):
        for key in draw(st.lists(st.sampled_from(("videos", *SPLITS)), unique=True, max_size=4)):
            words += [f"--data.{key}", draw(st.sampled_from(["videos", "clips"] if key == "videos" else names))]
    return words


def run(words: Sequence[str]) -> tuple[int, str]:
    """The exit status and stderr; whatever is not a user's mistake is raised."""
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        status = main(list(words))
    return status, err.getvalue()


def may_change(name: str, words: Sequence[str]) -> bool:
    """Whether a command line may change a file: an earlier output of its kind that it names, or a file of a run that
    it names."""
    command = " ".join(words[:2]) if words[0] in ("data", "tiny-world") else words[0]
    if name in MAY_REPLACE:
        return command in MAY_REPLACE[name] and name in words
    of_a_run = OF_A_RUN.fullmatch(name)
    return of_a_run is not None and name not in NOTES and of_a_run[1] in words


OVERRIDDEN = ["--data.videos", "videos", *(word for split in SPLITS for word in (f"--data.{split}", f"{split}.jsonl"))]


def check(project: Path, words: Sequence[str], *, plain: bool) -> None:
    """Run one command line in a copy of the folder.

    Args:
        plain: without the files that are named like outputs; a command then finds less that warns it.
    """
    with contextlib.ExitStack() as stack:
        # Not pytest's own folder: a path in a failure would differ from run to run.
        folder = project.parent / "example"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(project, folder, symlinks=True)
        stack.callback(os.chdir, project)
        os.chdir(folder)
        for name in (*LIKE_OURS, "world.json") if plain else ():
            (folder / name).unlink()
            with contextlib.suppress(OSError):
                (folder / name).parent.rmdir()
        before = contents(folder)
        status, err = run(words)
        after = contents(folder)
        lost = {name for name, found in before.items() if after.get(name) != found and not may_change(name, words)}
        assert not lost, f"{' '.join(words)}: {sorted(lost)}"
        assert status in ((0, 1, 2) if words[0] == "doctor" else (0, 2)), (words, status)
        if status == 2 and words[:2] != ["data", "check"]:
            last = [line for line in err.splitlines() if line][-1]
            assert SENTENCE.fullmatch(last), (words, last)
        assert "Traceback" not in err


@pytest.mark.long
@given(st.data())
@settings(
    max_examples=250, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
def test_no_command_line_changes_a_file_of_the_users(project, data):
    check(project, data.draw(command_lines(names_in(project))), plain=data.draw(st.booleans()))


ROUTES = {
    "overridden": ["train", "world.toml", *OVERRIDDEN, "--out", "new"],
    "overridden, one missing": ["train", "world.toml", *OVERRIDDEN[:-1], "new.jsonl", "--out", "new"],
    "in the file": ["train", "here.toml", "--out", "new"],
    "in the file, one missing": ["train", "here.toml", "--data.test", "new.jsonl", "--out", "new"],
    "based": ["train", "based.toml", "--out", "new"],
    "recipe in place": ["train", "recipe.toml", "--out", "."],
    "compare in place": ["compare", "comparison.toml", *OVERRIDDEN, "--out", "."],
    "build in place": ["tiny-world", "build", "--train", "2", "--validation", "2", "--test", "2", "--out", "."],
    "demo in place": ["demo", "--steps", "1", "--out", "."],
    "manifest for predictions": ["evaluate", "model", "test.jsonl", "--videos", "videos", "--out", "train.jsonl"],
    "manifest for a sample": ["data", "sample", "test.jsonl", "--count", "1", "--out", "train.jsonl"],
    "link for a sample": ["data", "sample", "test.jsonl", "--count", "1", "--out", "link.jsonl"],
    "lmms in place": ["evaluate", "model", "--with", "lmms-eval", "--tasks", "a", "--write-only", "--out", "."],
}


@pytest.mark.parametrize("plain", [False, True], ids=["full", "plain"])
@pytest.mark.parametrize("words", ROUTES.values(), ids=ROUTES)
def test_the_routes_by_which_files_were_lost(project, words, plain):
    check(project, words, plain=plain)


def test_every_command_is_tried():
    from test_paths_cli import commands

    known = {" ".join(line.split()[:2]) if line.split()[0] in ("data", "tiny-world") else line.split()[0]
             for line in LINES.values()}  # fmt: skip
    assert {*commands()} - TRIED_ELSEWHERE == known


def test_recipes_of_the_folder_are_recipes(project):
    """Or the test above would try nothing."""
    for name in ("recipe", "world", "here", "elsewhere"):
        tomllib.loads((project / f"{name}.toml").read_text())
    assert {str(path) for path in MAY_REPLACE} <= set(contents(project))
