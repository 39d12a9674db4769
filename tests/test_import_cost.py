"""What needs no model does not wait for one: torch and transformers take seconds to import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HEAVY = "torch", "torchvision", "transformers"

REPORT = f"print('\\nheavy:', *(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"

COMMANDS = """
import json, os, sys
from video_opd.cli import main

for line in sys.stdin:
    arguments, paths, report = json.loads(line)
    if (process := os.fork()) == 0:
        for number, path in enumerate(paths, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
        try:
            status = main(arguments)
        except SystemExit as exit:
            status = exit.code
        exec(report)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""
"""A Python that has loaded nothing but the door, and carries out every command in a fork of itself."""


def run(code: str, *arguments: str) -> tuple[int, str, list[str]]:
    """Exit status, stdout, and the heavy modules that a fresh Python has loaded in the end."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr.rpartition("heavy:")[2].split()


@pytest.fixture(scope="module")
def door() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", COMMANDS]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=offline) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def command(door, tmp_path) -> Callable[..., tuple[int, str, list[str]]]:
    """Run a command; as `run`."""

    def run_command(*arguments: str, report: str = REPORT) -> tuple[int, str, list[str]]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        print(json.dumps([arguments, [f"{folder}/out", f"{folder}/err"], report]), file=door.stdin, flush=True)
        status = int(door.stdout.readline())
        out, err = ((folder / name).read_text() for name in ("out", "err"))
        assert "Traceback" not in err, err
        return status, out, err.rpartition("heavy:")[2].split()

    return run_command


def test_this_would_be_noticed(command):
    assert run(f"import sys, torch\n{REPORT}") == (0, "", ["torch"])
    assert command("--version", report=f"import torch\n{REPORT}")[2] == ["torch"]


def test_rooms_without_torch():
    rooms = (
        "types, errors, seeds, files.records, grounding, curriculum, config, runs, report, policy.location, "
        "data.manifest, eval.scorers"
    )
    assert run(f"import sys\n{''.join(f'import video_opd.{room}; ' for room in rooms.split(', '))}\n{REPORT}") == (
        0,
        "",
        [],
    )


RULES = """
import sys
from video_opd.config.recipe_file import parse_recipe, list_recipe_keys
from video_opd.errors import ConfigurationError
from video_opd.settings import list_fields
from video_opd.curriculum import SelectionRule
assert list_recipe_keys() and list_fields(SelectionRule)
try:
    data = {"videos": "v", "train": "t", "validation": "e"}
    parse_recipe({"name": "x", "student": {"model": "a"}, "data": data, "method": {"name": "ppo"}})
except ConfigurationError as error:
    print(error)
print("\\nheavy:", *(name for name in ("torch", "numpy", "transformers", "av") if name in sys.modules), file=sys.stderr)
"""


def test_keys_are_listed_and_a_recipe_is_refused_without_numpy_too():
    status, out, heavy = run(RULES)
    assert (status, heavy) == (0, [])
    assert "no method has that name" in out


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "--help-keys"]])
def test_help_comes_at_once(command, arguments):
    status, out, heavy = command(*arguments)
    assert (status, heavy) == (0, [])
    assert out


def test_no_help_imports_torch_or_numpy():
    from video_opd.cli.application import COMMANDS, GROUPS

    code = f"""
import contextlib, io, sys
from video_opd.cli import main
for name in ["", *{[*COMMANDS, *GROUPS]!r}]:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([*name.split(), "--help"])
    for heavy in ("torch", "numpy", "transformers", "av"):
        assert heavy not in sys.modules, (name, heavy)
print("done")
"""
    assert run(code)[:2] == (0, "done\n")


def test_metrics_come_at_once(command, world, tmp_path):
    predictions = tmp_path / "predictions.jsonl"
    first = json.loads((world / "test.jsonl").read_text().splitlines()[0])
    predictions.write_text(json.dumps({"id": first["id"], "answer": "no idea"}) + "\n")
    status, out, heavy = command("metrics", str(predictions), "--ground-truth", str(world / "test.jsonl"), "--json")
    assert (status, heavy) == (0, [])
    assert '"miou": 0.0' in out


@pytest.mark.parametrize("scorer", ["timelens", "qvhighlights"])
def test_metrics_of_others_come_at_once(command, world, tmp_path, scorer):
    manifest = world / "test.jsonl"
    first = json.loads(manifest.read_text().splitlines()[0])
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text(json.dumps({"id": first["id"], "answer": "1.0 - 2.0 seconds"}) + "\n")
    arguments = "--ground-truth", str(manifest), "--as", scorer, "--compare", str(predictions), "--json"
    status, out, heavy = command("metrics", str(predictions), *arguments)
    assert (status, heavy) == (0, [])
    assert '"comparator": ">="' in out


def test_manifests_are_checked_at_once(command, world):
    status, out, heavy = command("data", "check", str(world / "test.jsonl"), "--videos", str(world / "videos"))
    assert (status, heavy) == (0, [])
    assert "no problem found" in out


def test_manifests_are_arranged_and_measured_at_once(command, world, tmp_path):
    train, test, out = str(world / "train.jsonl"), str(world / "test.jsonl"), str(tmp_path / "out.jsonl")
    for arguments in (
        ["stats", train, "--picture", str(tmp_path / "train.html")],
        ["split", train, "--out", str(tmp_path), "--parts", "a=0.5", "b=0.5"],
        ["sample", train, "--count", "3", "--out", out],
        ["merge", train, test, "--out", out],
        ["overlap", train, test],
    ):
        status, printed, heavy = command("data", *arguments)
        assert (status, heavy) == (0, []), arguments
        assert printed


@pytest.mark.parametrize(
    "arguments",
    [
        "train nowhere.toml",
        "doctor nowhere.toml",
        "report nowhere",
        "ground tiny-teacher nowhere.mp4 question",
        "evaluate tiny-teacher nowhere.jsonl --videos . --out predictions.jsonl",
        "evaluate tiny-teacher --benchmark tempcompass --data nowhere --out answers.jsonl",
        "evaluate tiny-teacher --benchmark mvbench --data . --out answers.jsonl",
    ],
)
def test_a_wrong_path_is_told_at_once(command, arguments):
    assert command(*arguments.split()) == (2, "", [])


def test_a_name_that_the_hub_does_not_have_is_told_at_once(command, world, tmp_path):
    video = str(next((world / "videos").glob("*.mp4")))
    assert command("ground", "nobody/no-such-model", video, "question") == (2, "", [])
    out = str(tmp_path / "out.jsonl")
    words = ["nobody/no-such-model", str(world / "test.jsonl"), "--videos", str(world / "videos"), "--out", out]
    assert command("evaluate", *words) == (2, "", [])


def test_a_command_for_lmms_eval_is_written_at_once(command, tmp_path):
    out = tmp_path / "out"
    words = f"evaluate tiny-teacher --with lmms-eval --tasks timelens_charades --write-only --out {out}"
    status, printed, heavy = command(*words.split())
    assert (status, heavy) == (0, [])
    assert printed.startswith("python ")


ROOMS_REPORT = """
rooms = {".".join(name.split(".")[1:3]) for name in sys.modules if name.startswith("video_opd.")}
print("\\nheavy:", *sorted(rooms), file=sys.stderr)
"""


@pytest.fixture
def entered(command) -> Callable[..., set[str]]:
    """The rooms (`train.loop`, `eval.benchmarks` …) that a command that ends well has loaded."""

    def enter(*arguments: str) -> set[str]:
        status, out, rooms = command(*arguments, report=ROOMS_REPORT)
        assert status == 0
        assert out
        return set(rooms)

    return enter


def below(room: str, rooms: set[str]) -> set[str]:
    return {found for found in rooms if found == room or found.startswith(f"{room}.")}


@pytest.mark.long
def test_asking_a_model_needs_no_training_and_no_report(entered, world, tmp_path):
    manifest = tmp_path / "two.jsonl"
    manifest.write_text("".join((world / "test.jsonl").read_text().splitlines(keepends=True)[:2]))
    videos, out = str(world / "videos"), str(tmp_path / "answers.jsonl")
    for words in (
        ["evaluate", "tiny-student", str(manifest), "--videos", videos, "--out", out],
        ["score", "tiny-student", str(manifest), "--videos", videos, "--out", str(tmp_path / "scores.jsonl")],
        ["ground", "tiny-student", str(next((world / "videos").glob("*.mp4"))), "a red circle"],
    ):
        rooms = entered(*words)
        assert "policy.load" in rooms, "this would be noticed"
        assert below("train", rooms) | below("report", rooms) == set(), words[0]


def test_importing_a_data_set_needs_none_of_the_rooms_that_use_one(entered, world, tmp_path):
    rooms = entered("data", "import", "jsonl", str(world / "test.jsonl"), "--out", str(tmp_path / "out.jsonl"))
    assert below("data.importers", rooms), "this would be noticed"
    assert below("train", rooms) | below("report", rooms) | below("eval.benchmarks", rooms) == set()
