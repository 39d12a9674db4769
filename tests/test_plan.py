"""What `video-opd plan` says, what it refuses, and how far it is from what was measured."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import shipped_recipes
from video_opd.errors import ConfigurationError
from video_opd.plan import Plan, find_gpus_here, make_plan, measured_errors, parse_gpus
from video_opd.plan.model_flops import ModelFlops
from video_opd.policy.families import find_family
from video_opd.policy.location import resolve_model
from video_opd.policy.model_shape import measure_shape
from video_opd.policy.published_shapes import find_published_config, list_published
from video_opd.train.measured_models import measure_model
from video_opd.train.memory_choice import estimate_step

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"

LARGE = "8xH200"


def plan(name: str, gpus: str = LARGE, **keys: str) -> Plan:
    overrides = {key.replace("__", "."): value for key, value in keys.items()}
    return make_plan(load_recipe(shipped_recipes()[name], overrides), parse_gpus(gpus), num_examples=2500)


def small(**keys: str) -> Plan:
    """Of the 2B on one card."""
    return plan("qwen3-vl-2b-from-8b", "H100", **keys)


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_has_a_plan(name, capsys, sentence):
    if name == "compare-tiny":  # a comparison is no recipe
        assert main(["plan", name, "--gpus", "H100"]) == 2
        return
    words = ["plan", name, "--gpus", "2xH200" if name.startswith("tiny") else LARGE, "--examples", "2500", "--json"]
    recipe = load_recipe(shipped_recipes()[name])
    if recipe.student.model.startswith("Qwen") and recipe.student.lora is not None:
        words[3] = "H200"  # quantised weights are not split over processes
    status = main(words)
    captured = capsys.readouterr()
    assert status == 0, captured.err
    found = json.loads(captured.out)
    assert found["memory"]["fit"] in ("fits", "tight")
    assert sum(found["memory"]["bytes_by_part"].values()) == found["memory"]["peak_bytes"]
    assert found["step"]["seconds"] == pytest.approx(sum(found["step"]["seconds_by_phase"].values()))
    assert found["hours"] > 0
    assert found["largest_max_tokens"] >= recipe.video.max_tokens or recipe.video.max_tokens < 256


def test_the_tables_for_a_reader(capsys):
    assert main(["plan", "qwen3-vl-2b-from-8b", "--gpus", "1xH100-80GB", "--examples", "2500"]) == 0
    captured = capsys.readouterr()
    for word in ("optimiser", "keys and values", "backward", "communication", "79 steps", "video.max_tokens", "2.13 B"):
        assert word in captured.out, word
    assert "Estimates of memory differ from" in captured.err
    assert main(["plan", "qwen3-vl-2b-from-8b", "--gpus", "1xH100-80GB"]) == 0
    assert "give --examples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gpus", "part"),
    [
        ("8xH101", "erhaps 8xH100-80GB is meant"),
        ("8xQ77", "--gpus 8x96GB@1000TFLOPS"),
        ("0xH100", "names no card"),
        ("", "names no card"),
        ("8x96GB@0TFLOPS", "96GB@0TFLOPS"),
        ("8x9.6.1GB@100TFLOPS", "9.6.1GB"),
    ],
)
def test_a_card_that_nobody_knows(gpus, part, refused):
    assert part in refused("plan", "tiny-opd", "--gpus", gpus)


def test_a_card_by_its_numbers():
    gpus = parse_gpus("8x96GB@1000TFLOPS")
    assert (gpus.count, gpus.card.memory_gb, gpus.card.tflops) == (8, 96, 1000)
    assert gpus.card.bandwidth_tbs == pytest.approx(3.39, abs=0.01)
    assert parse_gpus("96gb@1000tflops@2TB/s@100GB/s").card.link_gbs == 100
    assert parse_gpus("h200").card.name == "H200-141GB"
    assert parse_gpus("2xa100-80gb").card.memory_gb == 80


def test_what_is_assumed_of_a_card_is_said(capsys):
    assert main(["plan", "tiny-opd", "--gpus", "2x96GB@1000TFLOPS"]) == 0
    printed = capsys.readouterr().out
    assert "a link of 32 GB/s" in printed
    assert "student 1.01 M" in printed, printed
    assert (
        parse_gpus("96GB@1000TFLOPS@2TB/s@100GB/s").card.assumed == parse_gpus("8x9GB@1TFLOPS@2TB/s@1GB/s").card.assumed
    )


@pytest.mark.parametrize(
    ("name", "gib", "card"),
    [
        ("NVIDIA H100 80GB HBM3", 79.2, "H100-80GB"),
        ("NVIDIA H100 PCIe", 79.2, "H100-PCIe-80GB"),
        ("NVIDIA H100 NVL", 93.1, "H100-NVL-94GB"),
        ("NVIDIA H200", 139.8, "H200-141GB"),
        ("NVIDIA H200 NVL", 139.8, "H200-NVL-141GB"),
        ("NVIDIA A100-SXM4-40GB", 39.4, "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", 79.2, "A100-80GB"),
        ("NVIDIA A100-PCIE-40GB", 39.4, "A100-PCIe-40GB"),
        ("NVIDIA A100 80GB PCIe", 79.2, "A100-PCIe-80GB"),
        ("NVIDIA L40S", 44.4, "L40S-48GB"),
        ("NVIDIA L4", 22.0, "L4-24GB"),
        ("NVIDIA A10", 22.0, "A10-24GB"),
        ("NVIDIA RTX A6000", 47.5, "A6000-48GB"),
        ("NVIDIA GeForce RTX 3090", 23.7, "RTX3090-24GB"),
        ("NVIDIA GeForce RTX 5090", 31.4, "RTX5090-32GB"),
        ("NVIDIA B200", 178.4, "B200-180GB"),
        ("AMD Instinct MI300X", 191.7, "MI300X-192GB"),
    ],
)
def test_the_cards_of_a_machine_are_recognised(name, gib, card, monkeypatch):
    properties = SimpleNamespace(name=name, total_memory=int(gib * 2**30))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: properties)
    assert str(find_gpus_here()) == f"4x{card}"


@pytest.mark.parametrize(("name", "gib"), [("NVIDIA A40", 44.4), ("NVIDIA L40", 44.4), ("NVIDIA H100 80GB HBM3", 39)])
def test_a_card_here_that_nobody_knows(name, gib, monkeypatch):
    properties = SimpleNamespace(name=name, total_memory=int(gib * 2**30))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: properties)
    with pytest.raises(ConfigurationError, match="ive its memory and its rate"):
        find_gpus_here()


def test_a_reference_is_no_teacher():
    planned = plan("tiny-grpo", "H100", method__reference_weight="0.04")
    assert planned.seconds["reference"] > 0
    assert "teacher" not in planned.seconds.keys() | planned.flops.keys() | planned.memory.phases.keys()
    assert "reference" in planned.memory.phases


def test_without_cards_and_without_a_gpu(refused, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "--gpus 8xH100-80GB" in refused("plan", "tiny-opd")


def test_a_recipe_that_cannot_fit(capsys, sentence):
    words = ["plan", "qwen3-vl-2b-from-8b", "--gpus", "1xA100-40GB", "--json"]
    assert main(words) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["memory"]["fit"] == "does not fit"
    assert json.loads(captured.out)["largest_max_tokens"] is None
    (line,) = captured.err.splitlines()
    assert sentence.fullmatch(line)
    assert "whatever the prompts are" in line
    assert line.endswith("Train an adapter with a table [student.lora]; or use 2xA100-40GB.")
    fitting = small(video__max_tokens="65536", video__max_frames="4096").largest_max_tokens
    with pytest.raises(ConfigurationError, match=f"lower video.max_tokens to {fitting}; or"):
        small(video__max_tokens="65536", video__max_frames="4096").refuse_unfit()


def test_a_model_whose_configuration_cannot_be_read(refused, tmp_path, monkeypatch):
    assert "was not found" in refused("plan", "tiny-opd", "--gpus", "H100", "--student.model", "no-model")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{")
    refused("plan", "tiny-opd", "--gpus", "H100", "--student.model", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "could not be downloaded" in refused("plan", "tiny-opd", "--gpus", "H100", "--student.model", "own/model")


def test_a_job_that_cannot_be(refused):
    assert "64 processes for a batch of 32" in refused("plan", "qwen3-vl-2b-from-8b", "--gpus", "64xH200")
    assert "compute.shards" in refused("plan", "qwen3-vl-2b-from-8b", "--gpus", "8xH200", "--compute.shards", "3")


def test_the_errors_that_are_printed_are_those_of_the_committed_measurements(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import plan_accuracy

    found = plan_accuracy.compare_all()
    sys.modules.pop("plan_accuracy")
    assert found == measured_errors.read_accuracy(), "run python benchmarks/plan_accuracy.py"
    assert found["memory_on_gpu"]["smallest"] > 0.975
    assert found["memory_on_gpu"]["largest"] < 1.025
    assert found["memory_on_cpu"]["smallest"] > 0.85
    assert found["memory_on_cpu"]["largest"] < 1.15
    assert found["memory_of_answering"]["count"] == 6
    assert found["memory_of_answering"]["smallest"] > 0.97
    assert found["memory_of_answering"]["largest"] < 1.05
    assert found["seconds_of_a_step"]["smallest"] > 0.75
    assert found["seconds_of_a_step"]["largest"] < 1.25
    assert found["seconds_of_a_phase"]["count"] > 50


def test_the_page_about_growth_is_what_the_code_says(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scaling

    curves = scaling.make_curves()
    sys.modules.pop("scaling")
    assert scaling.PAGE.read_text() == scaling.write_page(curves), "run python benchmarks/scaling.py"
    assert scaling.PICTURE.read_text() == scaling.draw_picture(curves)


def test_memory_is_what_doctor_estimates():
    recipe = load_recipe(shipped_recipes()["tiny-opd"], {"training.gradient_checkpointing": "false"})
    planned = make_plan(recipe, parse_gpus("2xH100"))
    on_cpu = estimate_step(recipe, num_processes=2)
    assert planned.memory.certain == on_cpu.certain
    assert planned.memory.load == on_cpu.load


def test_published_models_have_the_sizes_in_their_names():
    for name in list_published():
        config = find_published_config(name)
        shape = measure_shape(name, config, find_family(config, name))
        size = name.replace("williamljz/Video-opd", "8B", name.count("opd") == 1 and "32B" not in name)
        wanted = next(
            float(part[:-1]) for part in size.replace("/", "-").split("-") if part[:-1].replace(".", "").isdigit()
        )
        # A name counts the language model without its embeddings, or all, and rounds.
        assert 0.85 < shape.num_all / 1e9 / wanted < 1.26, (name, shape.num_all)
    assert measure_model("Qwen/Qwen3-VL-235B-A22B-Instruct").num_active == pytest.approx(22e9, rel=0.03)
    assert measure_model("Qwen/Qwen3-VL-30B-A3B-Instruct").num_active == pytest.approx(3e9, rel=0.12)


def test_operations_by_hand():
    """SPEED's arithmetic for 8,192 video tokens and 300 of text: the student's prefill 139 TFLOP, its tower 31; the
    teacher's 607."""
    student, teacher = (ModelFlops(shape=measure_model(f"Qwen/Qwen3-VL-{size}-Instruct")) for size in ("8B", "32B"))
    # A reading ends with the keys and values of the last layer: 35 of 36 layers, 63 of 64.
    assert student.read_text(8492).total == pytest.approx(139e12 * 35 / 36, rel=0.02)
    assert teacher.read_text(8492).total == pytest.approx(607e12 * 63 / 64, rel=0.02)
    assert student.read_vision(4 * 8192, 256).total == pytest.approx(31e12, rel=0.05)


def test_what_makes_a_plan_dearer():
    plain = small()
    longer, more = small(video__max_tokens="16384"), small(method__num_answers="4")
    assert longer.flops["read"].total > 1.5 * plain.flops["read"].total
    assert longer.step_s > plain.step_s
    # With `auto` a shorter prompt may have others beside it in its token loop, as far as there is room.
    alone = {"training__answer_together": "1"}
    assert small(**alone, video__max_tokens="16384").memory.peak > small(**alone).memory.peak
    assert more.flops["answer"].total == pytest.approx(4 * plain.flops["answer"].total)
    assert more.flops["read"] == plain.flops["read"]
    assert small(training__updates_per_batch="2").seconds["backward"] == pytest.approx(2 * plain.seconds["backward"])
    assert small(teacher__offload="true").seconds["communication"] > 0
    halves = plan("qwen3-vl-2b-from-8b", "2xH100")
    assert halves.seconds["communication"] > plain.seconds["communication"] == 0
    assert halves.flops["read"].total == pytest.approx(plain.flops["read"].total / 2)
    assert plan("qwen3-vl-2b-from-8b", "16xH100").seconds["communication"] > halves.seconds["communication"] / 8
    sft = plan("tiny-sft", "H100")
    assert sft.seconds["answer"] == sft.seconds["teacher"] == 0


def test_curricula_score_the_pool():
    tvdf = plan("tiny-tvdf", "H100")
    assert tvdf.selection_s is not None
    assert tvdf.selection_s > 0
    assert tvdf.hours == pytest.approx((tvdf.num_steps * tvdf.step_s + tvdf.selection_s + tvdf.evaluation_s) / 3600)
    more = plan("tiny-tvdf", "H100", curriculum__num_answers="8")
    assert more.selection_s > tvdf.selection_s
    alone = plan("tiny-tvdf", "H100", compute__evaluation_batch_size="1")
    assert alone.selection_s > 2 * tvdf.selection_s  # the recipe has 32 prompts in one token loop


def test_auto_checkpoints_where_a_card_has_less():
    assert small().memory.is_checkpointed
    assert not plan("qwen3-vl-2b-from-8b", "H200").memory.is_checkpointed


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_hidden_layers", 0), ("num_attention_heads", -2), ("vocab_size", 0), ("hidden_size", 0), ("depth", 0),
     ("patch_size", 0), ("spatial_merge_size", 0)],
)  # fmt: skip
def test_a_configuration_without_a_size_is_refused(key, value, refused, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(resolve_model("tiny-student"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config" if key in config["text_config"] else "vision_config"][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    refused("plan", "tiny-opd", "--gpus", "H100", "--student.model", str(folder))


@pytest.mark.parametrize("text", ["null", '"x"', "[]", '{"model_type": "llava"}', '{"text_config": 3}'])
def test_a_configuration_that_is_none_is_refused(text, refused, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(resolve_model("tiny-student"), folder)
    (folder / "config.json").write_text(text)
    refused("plan", "tiny-opd", "--gpus", "H100", "--student.model", str(folder))


def test_what_train_refuses_is_refused(refused):
    eight = ("--gpus", "8xH100")
    assert "cannot be sharded" in refused("plan", "qwen3-vl-8b-lora", *eight)
    assert "quantised" in refused("plan", "video-opd-8b", *eight, "--student.model", "Qwen/Qwen3-VL-8B-Instruct-FP8")
    assert "at most 64" in refused("plan", "video-opd-8b", *eight, "--answer-tokens", "65")


def test_what_fits_is_the_same_for_every_size_that_is_asked_for():
    asked = [plan("qwen3-vl-2b-from-8b", "8xH100", video__max_tokens=size) for size in ("1024", "4096", "32768")]
    assert len({each.largest_max_tokens for each in asked}) == 1
    assert asked[0].largest_max_tokens >= plan("qwen3-vl-2b-from-8b", "H100").largest_max_tokens


@pytest.mark.parametrize("text", ["8xH100", "8 x H100-80GB", "8×H100", "8Xh100-80gb"])
def test_a_number_of_cards_may_stand_apart(text):
    assert str(parse_gpus(text)) == "8xH100-80GB"
