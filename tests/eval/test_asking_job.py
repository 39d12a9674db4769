"""Several processes of `torchrun` share the work of a command; what they write is what one process writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from benchmark_files import write_tempcompass

from started import Started
from video_opd.cli import main

JOB = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "video_opd")
SCRIPT = Path(__file__).parents[1] / "train" / "run_commands.py"
needs_accelerate = pytest.mark.skipif(not find_spec("accelerate"), reason="sharding needs accelerate")

pytestmark = pytest.mark.long


def start(*words: Any) -> subprocess.Popen[str]:
    """Start a command on two processes."""
    return launch([*JOB, *map(str, words)])


def launch(arguments: Sequence[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run_in_job(*words: Any) -> str:
    """Run a command on two processes; returns its stdout."""
    out, err = start(*words).communicate(timeout=280)
    assert "Traceback" not in err, err
    warnings = [line for line in err.splitlines() if "warning: " in line]
    assert len(set(warnings)) == len(warnings), "the second process says nothing"
    return out


def run_alone(*words: Any) -> None:
    assert main([str(word) for word in words]) == 0


def read_rows(path: Path) -> list[Any]:
    """The rows of a file without the seconds that they took."""

    def drop_seconds(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: drop_seconds(each) for key, each in value.items() if "seconds" not in key}
        return [drop_seconds(each) for each in value] if isinstance(value, list) else value

    return [drop_seconds(json.loads(line)) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_scores_after_a_stop_are_those_of_one_process(world, tmp_path):
    """With draws, a teacher, batches of uneven prompts, and examples that get no draws on one process only."""
    words = ("score", "tiny-teacher", world / "train.jsonl", "--videos", world / "videos", "--answers", 3,
             "--batch-size", 2, "--teacher", "tiny-student", "--skip-below", 0.5)  # fmt: skip
    alone, shared = tmp_path / "alone.jsonl", tmp_path / "shared.jsonl"
    run_alone(*words, "--out", alone)
    job = start(*words, "--out", shared)
    while not shared.exists() or len(shared.read_text().splitlines()) < 2:
        assert job.poll() is None, job.communicate()
        time.sleep(0.02)
    job.terminate()
    job.communicate(timeout=60)
    assert job.returncode != 0
    kept = shared.read_text().splitlines()
    assert 2 <= len(kept) < 14, "it was stopped on the way"
    out = json.loads(run_in_job(*words, "--out", shared, "--json"))
    assert out["out"] == str(shared)
    assert shared.read_text().splitlines()[: len(kept)] == kept
    rows = read_rows(shared)
    assert rows == read_rows(alone)
    drawn = [any(answer["sampled"] for answer in row["answers"]) for row in rows[1:-1]]
    assert {True, False} == set(drawn)


@pytest.fixture(scope="module")
def commands(world, write_recipe, tmp_path_factory) -> dict[str, list[str]]:
    """Command lines by the name of their output."""
    folder = tmp_path_factory.mktemp("asked")
    clips = sorted((world / "videos").glob("t*.mp4"))[:3]
    tempcompass = write_tempcompass(folder / "tempcompass", [clip.stem for clip in clips])
    (tempcompass / "videos").mkdir()
    for clip in clips:
        shutil.copy(clip, tempcompass / "videos")
    rounds = 'name = "rounds"\nstrategy = "gwds"\nnum_rounds = 2\ncount = 4\nthreshold = 0.0\nnum_answers = 3\n'
    comparison = folder / "compare.toml"
    comparison.write_text(
        f'name = "small"\nrecipe = "{write_recipe(folder).name}"\nseeds = [0]\n[shared.curriculum]\n{rounds}'
        '[methods.opd.method]\nname = "opd"\n[methods.grpo.method]\nname = "grpo"\nnum_answers = 2\n'
    )
    videos = ["--videos", world / "videos"]
    lines = {
        "options.jsonl": ["evaluate", "tiny-student", "--benchmark", "tempcompass", "--data", tempcompass,
                          "--before", "tiny-teacher", "--score", "options", "--batch-size", 3],
        "beam.jsonl": ["score", "tiny-teacher", world / "test.jsonl", *videos, "--answers", 3, "--batch-size", 1,
                       "--top-k", "beam"],
        "evaluation.jsonl": ["evaluate", "tiny-teacher", world / "train.jsonl", *videos, "--batch-size", 3],
        "comparison": ["compare", comparison],
    }  # fmt: skip
    return {name: [str(word) for word in line] for name, line in lines.items()}


SHARDED = ("options.jsonl", "beam.jsonl")
"""Outputs of commands that split the weights here."""


def _write_into(folder: Path, name: str, line: list[str]) -> list[str]:
    """A command line with its output; scores are not taken from those of another run."""
    cache = ["--curriculum.cache", str(folder / "scores")] if name == "comparison" else []
    return [*line, "--out", str(folder / name), *cache]


@pytest.fixture(scope="module")
def alone_and_shared(commands, tmp_path_factory) -> tuple[Path, Path]:
    """The folders with the outputs of one process and of two; the two ran all commands in one job, `compare` twice."""
    alone, shared = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("shared")
    lines = [
        [*_write_into(shared, name, line), *(("--shards", "2") if name in SHARDED else ())]
        for name, line in commands.items()
    ]
    job = Started([SCRIPT, tmp_path_factory.mktemp("gradients"), json.dumps([*lines, lines[-1]])], 2)
    for name, line in commands.items():
        run_alone(*_write_into(alone, name, line))
    out, err = job.communicate(timeout=400)
    assert job.returncode == 0, err
    assert json.loads(out.splitlines()[-1]) == [0] * 5
    return alone, shared


@pytest.mark.slow
@needs_accelerate
def test_options_of_a_benchmark_with_sharded_weights(alone_and_shared):
    """Questions have two or three options, so the processes have other numbers of groups to score."""
    alone, shared = (folder / "options.jsonl" for folder in alone_and_shared)
    assert shared.read_bytes() == alone.read_bytes()
    assert len(read_rows(shared)) >= 12


@pytest.mark.slow
@needs_accelerate
def test_a_beam_search_with_sharded_weights(alone_and_shared):
    """Searches end after different numbers of tokens, and every process gathers the weights as often."""
    alone, shared = (folder / "beam.jsonl" for folder in alone_and_shared)
    assert read_rows(shared) == read_rows(alone)


@pytest.mark.slow
@needs_accelerate
def test_an_evaluation_is_that_of_one_process(alone_and_shared):
    alone, shared = (folder / "evaluation.jsonl" for folder in alone_and_shared)
    assert shared.read_bytes() == alone.read_bytes()
    assert len(read_rows(shared)) >= 12


@pytest.mark.slow
@needs_accelerate
def test_a_comparison_of_runs_in_rounds(alone_and_shared):
    """Each run scores its teacher and its student, selects, trains and is evaluated."""
    alone, shared = (folder / "comparison" for folder in alone_and_shared)
    assert json.loads((shared / "comparison.json").read_text())["methods"].keys() == {"opd", "grpo"}
    runs = sorted(path.name for path in (alone / "runs").iterdir())
    assert len(runs) == 2
    assert runs == sorted(path.name for path in (shared / "runs").iterdir())
    for run in runs:
        one, two = alone / "runs" / run, shared / "runs" / run
        for name in ("rounds/teacher-scores.jsonl", "rounds/1/student-scores.jsonl", "rounds/1/selection.jsonl"):
            assert read_rows(two / name) == read_rows(one / name), name
        for before in ("student-before", "teacher"):
            file = f"evaluation/{before}.predictions.jsonl"
            assert (two / file).read_bytes() == (one / file).read_bytes()
        steps = [[row for row in read_rows(each / "metrics.jsonl") if "loss" in row] for each in (one, two)]
        assert len(steps[0]) == len(steps[1]) == 2, "what is finished is not done again"
        assert steps[1][0]["loss"] == pytest.approx(steps[0][0]["loss"], rel=1e-4, abs=1e-6)
        assert (two / "rounds" / "2" / "selection.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("metrics", "a.jsonl", "--ground-truth", "b.jsonl"), "`video-opd metrics` under torchrun"),
        (("doctor", "tiny-opd"), "`video-opd doctor` under torchrun"),
        (("data", "stats", "a.jsonl"), "`video-opd data stats` under torchrun"),
        (("evaluate", "tiny-teacher", "--with", "lmms-eval", "--tasks", "t", "--out", "o"), "--with lmms-eval under"),
        (("evaluate", "tiny-teacher", "a.jsonl", "--out", "o", "--shards", "3"), "--shards 3 with 2 processes"),
        (("score", "tiny-teacher", "a.jsonl", "--out", "o", "--device", "cuda:1"), "--device cuda:1 with 2 processes"),
    ],
)
def test_what_a_job_cannot_do_is_refused_by_its_first_process(words, said, refused, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert said in refused(*words)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("video_opd.cli.FIRST_SPEAKS_S", 0.0)
    assert main(list(words)) == 2
    assert capsys.readouterr().err == ""


def test_shards_without_a_job_are_refused(refused, tmp_path):
    said = refused("score", "tiny-teacher", "a.jsonl", "--out", tmp_path / "o", "--shards", 2)
    assert "--shards 2 with 1 process:" in said
    assert "torchrun" in said
