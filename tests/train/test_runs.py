"""A run from beginning to end: it can be stopped anywhere. That it can be killed anywhere, `test_chaos.py` shows."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from started import Started
from video_opd.train.trained_batch import StepOutcome

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny-opd.toml"
STEPS = 6
NOTHING_TRAINED = StepOutcome(
    batches=(), suspended=(), num_scheduled_tokens=0, grad_norm=0.0, learning_rate=0.0, seconds_by_phase={},
    cpu_seconds_by_phase={},
)  # fmt: skip


def command(out: Path, data: Path, *extra: str) -> list[str]:
    return [
        "train", str(RECIPE), "--out", str(out), "--steps", str(STEPS),
        "--data.videos", str(data / "videos"), "--data.train", str(data / "train.jsonl"),
        "--data.validation", str(data / "validation.jsonl"), "--data.test", str(data / "test.jsonl"),
        "--data.tiny-world.num-train", "16", "--data.tiny-world.num-validation", "4", "--data.tiny-world.num-test", "4",
        "--training.batch-size", "4", "--training.micro-batch-size", "2", "--schedule.checkpoint-every", "2",
        "--schedule.evaluate-every", "3", "--schedule.probe-every", "2", "--answers.max-new-tokens", "8", *extra,
    ]  # fmt: skip


def final_hash(out: Path) -> str:
    return hashlib.sha256(
        (out / "checkpoints" / f"step-{STEPS:06d}" / "model" / "model.safetensors").read_bytes()
    ).hexdigest()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs") / "world"


@pytest.fixture(scope="module")
def uninterrupted(data) -> Path:
    out = data.parent / "uninterrupted"
    assert Started(command(out, data)).wait() == 0
    return out


def journal_length(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigterm_saves_and_the_same_command_goes_on(uninterrupted, data):
    out = data.parent / "stopped"
    process = Started(command(out, data))
    while journal_length(out) < 1 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "the state is saved" in errors
    saved = [folder.name for folder in (out / "checkpoints").iterdir() if (folder / "COMPLETE.json").exists()]
    assert saved
    assert Started(command(out, data)).wait() == 0
    assert final_hash(out) == final_hash(uninterrupted)


@pytest.mark.slow
def test_a_finished_run_is_told_from_its_folder(uninterrupted, data):
    """The same command once more trains nothing and says the same; the checkpoint loads by from_pretrained."""
    before = final_hash(uninterrupted), (uninterrupted / "metrics.jsonl").read_bytes()
    out, _ = Started(command(uninterrupted, data, "--json")).communicate()
    result = json.loads(out)
    assert result["steps"] == STEPS
    assert result["student_after"]["num_queries"] == 4
    assert (final_hash(uninterrupted), (uninterrupted / "metrics.jsonl").read_bytes()) == before
    assert (uninterrupted / "report.html").exists()
    folder = uninterrupted / "checkpoints" / f"step-{STEPS:06d}" / "model"
    assert json.loads((folder / "grounding.json").read_text())["prompt"]["template"] == "tiny"
    assert all(
        tensor.dtype.is_floating_point and tensor.element_size() == 4
        for tensor in load_file(folder / "model.safetensors").values()
    )


@pytest.mark.slow
def test_another_recipe_is_refused_and_nothing_is_lost(uninterrupted, data):
    before = sorted(
        (p, p.stat().st_mtime_ns) for p in uninterrupted.rglob("*") if p.is_file() and p.name != ".run.lock"
    )
    refused = Started(command(uninterrupted, data, "--training.learning-rate", "0.5"))
    _, err = refused.communicate()
    assert refused.returncode == 2
    assert "training.learning_rate: " in err
    assert " -> 0.5" in err
    assert "Traceback" not in err
    assert before == sorted(
        (p, p.stat().st_mtime_ns) for p in uninterrupted.rglob("*") if p.is_file() and p.name != ".run.lock"
    )


def short_recipe(world, **more: str):
    """Of a run of six steps on a world that is there."""
    from video_opd.config.recipe_file import load_recipe

    paths = {f"data.{split}": str(world / f"{split}.jsonl") for split in ("train", "validation")}
    few = {"training.steps": str(STEPS), "training.batch_size": "2", "schedule.evaluate_every": "1"}
    recipe = load_recipe(
        RECIPE, {"data.videos": str(world / "videos"), "answers.max_new_tokens": "4", **paths, **few, **more}
    )
    data = recipe.data.model_copy(update={"tiny_world": None, "test": None})
    return recipe.model_copy(update={"data": data, "side_questions": None})


def test_every_step_draws_with_a_seed_of_its_own(world, tmp_path, monkeypatch):
    """An example that comes again is answered with other draws; a run that goes on takes the same ones."""
    from video_opd.seeds import derive_seed
    from video_opd.train import loop
    from video_opd.train.run import run_recipe

    recipe, seeds = short_recipe(world), {}

    def take_step(learner, prompts, method, *, step, seed):
        seeds[step] = seed
        return NOTHING_TRAINED

    monkeypatch.setattr(loop, "take_step", take_step)
    monkeypatch.setattr(loop, "_evaluate", lambda *_: 0.0)
    run_recipe(recipe, tmp_path / "run")
    assert seeds == {step: derive_seed(recipe.seed, "step", step) for step in range(STEPS)}
    assert len(set(seeds.values())) == STEPS


def test_a_checkpoint_holds_who_is_suspended(world, tmp_path, monkeypatch):
    from video_opd.train import loop
    from video_opd.train.run import run_recipe

    suspended = set()

    def take_step(learner, prompts, method, *, step, seed):
        for prompt in prompts:
            learner.gate.coupling.is_admitted(prompt.id, iou=1.0)
            suspended.add(prompt.id)
        return NOTHING_TRAINED

    monkeypatch.setattr(loop, "take_step", take_step)
    monkeypatch.setattr(loop, "_evaluate", lambda *_: 0.0)
    run_recipe(short_recipe(world, **{"curriculum.suspend_at": "0.5"}), tmp_path / "run")
    state = json.loads((tmp_path / "run" / "checkpoints" / f"step-{STEPS:06d}" / "state.json").read_text())
    assert state["coupling"] == {"suspended": sorted(suspended)}
    assert len(suspended) > 1


@pytest.mark.parametrize("step", [0, STEPS])
def test_a_signal_during_validation_stops_the_run_there(step, world, tmp_path, monkeypatch):
    """The last validation included: nothing is trained or evaluated any more, and the state is saved."""
    from video_opd.train import loop
    from video_opd.train.interruption import Interrupted
    from video_opd.train.run import run_recipe

    recipe = short_recipe(world)
    seen = []

    def evaluate(parts, now, run):
        seen.append(now)
        if now == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return 0.0

    monkeypatch.setattr(loop, "_evaluate", evaluate)
    with pytest.raises(Interrupted) as stopped:
        run_recipe(recipe, tmp_path / "run")
    assert stopped.value.exit_code == 143
    assert seen == list(range(step + 1))
    assert (tmp_path / "run" / "checkpoints" / f"step-{step:06d}" / "COMPLETE.json").exists()
