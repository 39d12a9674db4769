"""What a step needs, what `auto` chooses, and what is refused before weights are loaded."""

from __future__ import annotations

import json
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_training_job import communicate, launch

from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.errors import ConfigurationError
from video_opd.policy.families import find_family
from video_opd.policy.model_shape import measure_shape
from video_opd.train import memory_choice
from video_opd.train.early_checks import refuse_unfit_job
from video_opd.train.largest_micro_batch import Load
from video_opd.train.measured_models import measure_model
from video_opd.train.memory_choice import estimate_step, find_room, settle_memory
from video_opd.train.memory_estimate import GIB, FrozenModel, StepMemory
from video_opd.train.run_inputs import Inputs

ROOT = Path(__file__).resolve().parents[2]
GPU = ROOT / "benchmarks" / "gpu"
MIB = 2**20


@pytest.fixture
def recipe_file(world, tmp_path) -> Path:
    import tomli_w

    path = tmp_path / "recipe.toml"
    tables = {
        "name": "memory",
        "student": {"model": "tiny-student"},
        "teacher": {"model": "tiny-teacher"},
        "data": {"videos": str(world / "videos")}
        | {split: str(world / f"{split}.jsonl") for split in ("train", "validation")},
        "prompt": {"template": "tiny"},
        "video": {"max_frames": 64, "max_tokens": 64, "max_frame_tokens": 1},
        "answers": {"max_new_tokens": 16},
        "training": {"steps": 1, "learning_rate": 1e-4, "batch_size": 4},
        "compute": {"device": "cpu", "threads": 1},
    }
    path.write_text(tomli_w.dumps(tables))
    return path


@pytest.fixture
def room(monkeypatch) -> list[int]:
    """Bytes of the device, in all and free; to be changed."""
    found = [2**40, 2**40]
    monkeypatch.setattr(memory_choice, "find_room", lambda _: tuple(found))
    return found


def estimate(recipe_file: Path, num_processes: int = 1, **keys: str):
    overrides = {key.replace("__", "."): value for key, value in keys.items()}
    return estimate_step(load_recipe(recipe_file, overrides), num_processes=num_processes)


@pytest.mark.parametrize("card", ["h100", "h200"])
def test_the_estimate_is_what_was_measured_on_a_gpu(card, monkeypatch):
    """The student 2B, the teacher 8B, one prompt a step."""
    monkeypatch.syspath_prepend(str(GPU))
    monkeypatch.syspath_prepend(str(GPU.parent))
    from models import config_of, processor_of

    configs = [config_of(size, processor_of(None)) for size in ("2B", "8B")]
    student, teacher = (measure_shape("model", config, find_family(config)) for config in configs)
    assert round(student.num_all / 1e9, 1) == 2.1
    recipe = load_recipe(ROOT / "recipes" / "qwen3-vl-2b-from-8b.toml")
    (path,) = (GPU / "results").glob(f"{card}-*.json")
    results = json.loads(path.read_text())["real-size"]
    cases = {
        name: case["peak_gib"]
        for name, case in results.items()
        if name.startswith(("opd, shared", "opd-exact, shared")) and "peak_gib" in case
    }
    assert len(cases) >= 4
    for name, peaks in cases.items():
        visual, together = (int(part.split()[0]) for part in name.split(", ")[2:])
        tokens = results[f"prompt of {visual}"]["tokens"] * together
        load = Load(prompts=together, tokens=tokens, patches=4 * visual * together, answers=together, answer_tokens=20,
                    num_pieces=1)  # fmt: skip
        frozen = [FrozenModel(part="teacher", shape=teacher, num_bytes=2 * teacher.num_all)]
        memory = StepMemory(recipe=recipe, student=student, frozen=frozen, load=load, is_on_gpu=True,
                            is_fused=False, adds_rows=False).estimate()  # fmt: skip
        assert memory.peak / GIB == pytest.approx(max(peaks.values()), rel=0.025), name
        for phase, measured in (("teacher", "teacher"), ("optimiser", "step"), ("backward pass", "backward")):
            assert sum(memory.phases[phase].values()) / GIB == pytest.approx(peaks[measured], rel=0.025), (name, phase)


def test_with_checkpointing_the_gradient_of_all_weights_meets_what_a_trained_tower_computes_again(recipe_file):
    """The first block holds all of the gradient, its input, and one block of all patches of a short clip."""
    on = {"training__gradient_checkpointing": "true"}
    found = estimate(recipe_file, **on)
    phase, optimiser = found.phases["backward pass of vision"], found.phases["optimiser"]
    shape, patches = measure_model("tiny-student"), found.load.patches
    assert phase["gradient"] == optimiser["gradient"]
    assert phase["student"] == optimiser["student"]
    inputs = patches * shape.vision_width * 4 * (1 + shape.vision.depth)  # of every block and of the mergers, float32
    assert phase["activations"] > inputs + patches * shape.patch_bytes
    frozen = estimate(recipe_file, **on, student__freeze_vision="true", student__freeze_merger="true")
    assert "backward pass of vision" not in frozen.phases
    assert "backward pass of vision" not in estimate(recipe_file).phases


def test_every_key_changes_the_estimate(recipe_file):
    plain = estimate(recipe_file)
    on = {"training__gradient_checkpointing": "true"}
    assert estimate(recipe_file, **on).parts["activations"] < plain.parts["activations"] / 2
    assert estimate(recipe_file, training__micro_batch_size="4").peak > plain.peak
    assert estimate(recipe_file, training__micro_batch_tokens="9999").load.prompts == 4
    assert estimate(recipe_file, video__max_tokens="8").load.tokens < plain.load.tokens
    full = estimate(recipe_file, method__name="opd", method__estimator="exact")
    assert sum(full.phases["scoring"].values()) > sum(plain.phases["scoring"].values())
    many = estimate(recipe_file, method__name="grpo", method__num_answers="8", method__reference_weight="0.1")
    assert many.load.answers == 8
    assert many.certain["reference"] > 0
    assert "teacher" not in estimate(recipe_file, teacher__offload="true").certain
    assert estimate(recipe_file, compute__precision="bfloat16").parts["bfloat16 copies"] > 0
    frozen = estimate(recipe_file, student__freeze_vision="true", student__freeze_merger="true")
    assert frozen.certain["optimiser"] < plain.certain["optimiser"]
    halves = estimate(recipe_file, num_processes=2)
    assert halves.certain["student"] == pytest.approx(plain.certain["student"] / 2, rel=1e-3)
    assert halves.load.num_pieces == 2
    assert estimate(recipe_file, num_processes=2, compute__shards="1").certain["student"] == plain.certain["student"]
    adapter = estimate(recipe_file, student__lora__rank="4", training__gradient_checkpointing='"auto"')
    assert adapter.certain["gradient"] < plain.certain["gradient"] / 4


def test_auto_is_off_where_a_step_fits_and_on_where_not(recipe_file, room):
    recipe = load_recipe(recipe_file, {"training.gradient_checkpointing": "auto"})
    peak = estimate_step(recipe).peak

    def choose(free: float) -> bool | str | None:
        room[1] = int(free)
        return settle_memory(recipe, Inputs()).training.gradient_checkpointing

    assert choose(1.2 * peak) is False
    assert choose(1.1 * peak) is True
    assert settle_memory(load_recipe(recipe_file), Inputs()).training.gradient_checkpointing is None


def test_a_run_keeps_its_choice_on_another_device(recipe_file, room, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["train", str(recipe_file), "--out", str(run), "--training.gradient-checkpointing", "auto"]
    assert main(words) == 0
    assert "gradient checkpointing is off (auto)" in capsys.readouterr().err
    assert tomllib.loads((run / "recipe.toml").read_text())["training"]["gradient_checkpointing"] is False
    room[1] = 1  # a new run would choose otherwise
    before = load_file(run / "checkpoints/step-000001/model/model.safetensors")
    assert main(words) == 0
    assert "is off (auto)" in capsys.readouterr().err
    assert main([*words[:4], "--training.gradient-checkpointing", "true"]) == 2
    again = load_file(run / "checkpoints/step-000001/model/model.safetensors")
    assert all(torch.equal(before[name], again[name]) for name in before)


def test_a_recipe_that_cannot_fit_is_refused_before_weights_are_loaded(
    recipe_file, room, tmp_path, capsys, monkeypatch
):
    def load(*_):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("video_opd.train.build.load_student", load)
    room[:] = [MIB, MIB]
    assert main(["train", str(recipe_file), "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("video-opd: recipe 'memory' needs at least 0.")
    assert "GiB on a device, which has 0.0 GiB" in line
    remedies = ["teacher.offload", "compute.precision", "freeze_vision", "[student.lora]", "torchrun"]
    places = [line.lower().index(word.lower()) for word in remedies]
    assert places == sorted(places)
    assert not (tmp_path / "run").exists()


def test_what_is_not_certain_is_a_warning(recipe_file, room, caplog):
    recipe = load_recipe(recipe_file)
    estimated = estimate_step(recipe)
    room[:] = [(estimated.least + estimated.peak) // 2] * 2
    settle_memory(recipe, Inputs())
    (record,) = caplog.records
    assert "training.gradient_checkpointing = true; lower video.max_tokens" in record.message
    caplog.clear()
    room[:] = [estimated.least - 1] * 2
    settle_memory(recipe, Inputs(), refuses=False)
    assert not caplog.records
    with pytest.raises(ConfigurationError, match="needs at least"):
        settle_memory(recipe, Inputs())


def test_doctor_shows_the_estimate(recipe_file, monkeypatch):
    from video_opd.doctor import cost_estimate

    recipe = load_recipe(recipe_file)
    verdicts = {}
    for total in (2**40, estimate_step(recipe).peak, MIB):
        monkeypatch.setattr(cost_estimate, "find_room", lambda _, total=total: (total, total))
        finding = cost_estimate.judge_memory(recipe, Inputs())
        verdicts[total] = finding.verdict
        assert bool(finding.remedy) == (finding.verdict != "ok")
        assert "in the phase `" in finding.found
    assert list(verdicts.values()) == ["ok", "warn", "fail"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_processes_of_a_machine_share_its_memory(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    alone, free = find_room("cpu")
    assert 0 < free <= alone
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert find_room("cpu")[0] == alone // 2


def test_what_an_earlier_run_left_with_the_allocator_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (20, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 50)
    assert find_room("cuda:0") == (80, 70)


@pytest.mark.parametrize(("rank", "says"), [("0", ""), ("2", "video-opd: 2 processes on a machine with 1 GPUs")])
def test_every_process_of_a_machine_with_too_few_gpus_stops(rank, says, monkeypatch, capsys):
    from video_opd import ranks

    for name, value in {"RANK": rank, "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigurationError, match="2 processes on a machine with 1 GPUs"):
        ranks.join_job("cuda")
    assert capsys.readouterr().err.startswith(says)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"training.batch_size": "1"}, "2 processes for a batch of 1 examples"),
        ({"compute.shards": "3"}, "compute.shards = 3 in a job of 2 processes"),
        ({"compute.device": "cuda:1"}, "compute.device = 'cuda:1' in a job of 2 processes"),
        ({"teacher.devices": '["cuda:1", "cuda:2"]'}, "devices of the teacher in a job of 2 processes"),
        ({}, r"needs accelerate, which is not installed.*video-opd\[distributed\]"),
    ],
)
def test_a_job_refuses_what_processes_cannot_share(recipe_file, keys, said, monkeypatch):
    if not keys:
        monkeypatch.setattr("video_opd.train.early_checks.find_spec", lambda _: None)
    recipe = load_recipe(recipe_file, keys)
    refuse_unfit_job(recipe, 1)
    with pytest.raises(ConfigurationError, match=said):
        refuse_unfit_job(recipe, 2)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("accelerate") is None, reason="sharding needs accelerate")
def test_each_mistake_is_one_sentence_of_a_job(recipe_file, tmp_path):
    """On all processes before they join, and on the first one after that."""
    mistakes = {
        "2 processes for a batch of 1 examples": ["--training.batch-size", "1"],
        "compute.shards = 3 in a job of 2 processes": ["--compute.shards", "3"],
        "device of the teacher in a job of 2 processes": ["--teacher.device", "cpu"],
        "the teacher has both device and devices": ["--teacher.device", "cuda:1", "--teacher.devices",
                                                    '["cuda:1", "cuda:2"]'],
        "device 'cuda:77' cannot be used": ["--compute.device", "cuda:77"],
        "student.lora.targets names 'nope'": ["--student.lora.targets", '["nope"]'],
    }  # fmt: skip
    if find_spec("peft") is None:
        del mistakes["student.lora.targets names 'nope'"]
    words = [["train", recipe_file, "--out", tmp_path / "run", *keys] for keys in mistakes.values()]
    job = launch(tmp_path / "gradients", words)
    out, err = communicate(job, 120)
    assert json.loads(out.splitlines()[-1]) == [2] * len(mistakes), err
    assert job.returncode == 2
    assert "video_opd/cli" not in err, "the only traceback is that of torchrun"
    said = [line for line in err.splitlines() if line.startswith("video-opd: ")]
    assert len(said) == len(mistakes), err
    assert all(mistake in line for mistake, line in zip(mistakes, said, strict=True)), said
