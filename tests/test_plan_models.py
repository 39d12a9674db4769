"""The models of a plan: what is read of them, and which ones are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import shipped_recipes
from video_opd.plan import Plan, make_plan, parse_gpus
from video_opd.policy.common_tokens import require_like_configs
from video_opd.policy.location import resolve_model
from video_opd.policy.published_shapes import find_published_config
from video_opd.train.measured_models import count_weight_bytes, measure_model


def copy_config(folder: Path, name: str = "tiny-student", *files: str, **changes: object) -> str:
    """A folder with the configuration of a bundled model, and nothing else but the named files."""
    folder.mkdir()
    config = json.loads((resolve_model(name) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    for file in files:
        shutil.copy(resolve_model(name) / file, folder)
    return str(folder)


def plan_json(capsys, *words: str) -> dict[str, object]:
    assert main(["plan", "tiny-opd", "--gpus", "H100", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_configuration_is_all_that_a_plan_needs(tmp_path, capsys, refused):
    student, teacher = copy_config(tmp_path / "student"), copy_config(tmp_path / "teacher", "tiny-teacher")
    found = plan_json(capsys, "--student.model", student, "--teacher.model", teacher)
    assert found == plan_json(capsys)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    told = {"peft_type": "LORA", "base_model_name_or_path": student}
    (adapter / "adapter_config.json").write_text(json.dumps(told))
    assert plan_json(capsys, "--student.model", str(adapter))["memory"] == found["memory"]
    (adapter / "adapter_config.json").write_text(json.dumps(told | {"base_model_name_or_path": str(adapter)}))
    assert "leads back to itself" in refused("plan", "tiny-opd", "--gpus", "H100", "--student.model", adapter)
    (tmp_path / "empty").mkdir()
    assert "has no config" in refused("plan", "tiny-opd", "--gpus", "H100", "--student.model", tmp_path / "empty")


def test_files_of_quantised_weights_count_only_where_all_are_there(tmp_path):
    name = copy_config(tmp_path / "model", quantization_config={"quant_method": "gptq"})
    shape = measure_model(name)
    by_config = count_weight_bytes(name, shape, 2)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model" / "model-1.safetensors").write_bytes(bytes(1000))
    assert count_weight_bytes(name, shape, 2) == by_config == int(0.6 * shape.num_all)
    (tmp_path / "model" / "model-2.safetensors").write_bytes(bytes(500))
    assert count_weight_bytes(name, shape, 2) == 1500


def write_quantised(folder: Path, method: str) -> str:
    return copy_config(folder, "tiny-teacher", quantization_config={"quant_method": method})


def test_a_teacher_with_another_tokenizer_is_refused(tmp_path, refused):
    words = ("plan", "tiny-opd", "--gpus", "H100", "--teacher.model")
    assert "different tokenizers" in refused(*words, "Qwen/Qwen3-VL-8B-Instruct")
    swapped = tmp_path / "swapped"
    shutil.copytree(resolve_model("tiny-teacher"), swapped)
    (swapped / "model.safetensors").unlink()
    tokenizer = json.loads((swapped / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, other = list(vocabulary)[:2]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (swapped / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "different tokenizers" in refused(*words, swapped)
    published = ("plan", "video-opd-8b", "--gpus", "8xH100", "--teacher.model")
    assert "different tokenizers" in refused(*published, "Qwen/Qwen3.5-9B")
    assert "patch_size: 16 / 14" in refused(*published, "Qwen/Qwen2.5-VL-7B-Instruct")


def test_padded_vocabularies_are_those_of_one_tokenizer():
    three, seven = (find_published_config(f"Qwen/Qwen2.5-VL-{size}-Instruct") for size in ("3B", "7B"))
    assert three.get_text_config().vocab_size != seven.get_text_config().vocab_size
    require_like_configs("3B", three, "7B", seven)


def test_weights_in_fp8_are_dequantised_on_older_cards():
    def plan(gpus: str) -> Plan:
        return make_plan(load_recipe(shipped_recipes()["one-gpu-lora-24gb"]), parse_gpus(gpus))

    newer, older = plan("RTX4090"), plan("RTX3090")
    teacher = newer.teachers["teacher"]
    assert newer.memory.certain["teacher"] < 1.2 * teacher.num_all < 1.8 * teacher.num_all
    assert older.memory.certain["teacher"] > 1.85 * teacher.num_all
    assert older.fit == "does not fit"
    name = "Qwen/Qwen3-VL-8B-Instruct-FP8"
    assert count_weight_bytes(name, teacher, 2, capability=0.0) == 2 * teacher.num_all


def test_what_train_refuses_of_quantised_teachers(tmp_path, refused):
    fp8, fbgemm = write_quantised(tmp_path / "fp8", "fp8"), write_quantised(tmp_path / "fbgemm", "fbgemm_fp8")
    words = ("plan", "tiny-opd", "--teacher.model")
    assert "teacher.offload" in refused(*words, fp8, "--gpus", "H100", "--teacher.offload", "true")
    assert "compute capability of 9.0" in refused(*words, fbgemm, "--gpus", "L4")
    assert "cannot be sharded" in refused(*words, fbgemm, "--gpus", "2xH100")


CONFIGS = {
    "a list": "[]",
    "a number": "3",
    "not whole": '{"model_type": "qwen3_vl"',
    "no bytes of a text": "\udcff",
    "of a language model": '{"model_type": "llama"}',
    "no MLP": '{"model_type": "qwen3_vl", "text_config": {"intermediate_size": 0}}',
    "no experts": '{"model_type": "qwen3_vl_moe", "text_config": {"num_experts": 0}}',
    "a tower below the ground": '{"model_type": "qwen3_vl", "vision_config": {"depth": -3}}',
    "a word for a size": '{"model_type": "qwen3_vl", "text_config": {"hidden_size": "big"}}',
    "too many layers": '{"model_type": "qwen3_vl", "text_config": {"num_hidden_layers": 100000000}}',
    "an unknown quantisation": '{"model_type": "qwen3_vl", "quantization_config": [1]}',
    "deeper than Python": "[" * 100_000,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_broken_configuration_is_one_sentence(name, tmp_path, refused):
    (tmp_path / "config.json").write_text(CONFIGS[name], errors="surrogateescape")
    words = ("--student.model", tmp_path, "--teacher.model", tmp_path)
    assert str(tmp_path) in refused("plan", "tiny-opd", "--gpus", "H100", *words)


def test_a_manifest_that_is_there_must_be_one(tmp_path, refused):
    (tmp_path / "train.jsonl").write_text('{"id": 3')
    words = ("plan", "qwen3-vl-2b-from-8b", "--gpus", "H100", "--data.train")
    assert "train.jsonl" in refused(*words, tmp_path / "train.jsonl")


def test_a_student_in_4_bits_needs_less():
    def plan(**keys: str) -> Plan:
        overrides = {f"student.lora.{key}": value for key, value in keys.items()}
        return make_plan(load_recipe(shipped_recipes()["one-gpu-lora-80gb"], overrides), parse_gpus("H100"))

    whole, quantised = plan(), plan(quantise="4bit")
    shape = whole.student
    linear = shape.num_weights["text"] - shape.embedding
    saved = whole.memory.certain["student"] - quantised.memory.certain["student"]
    assert shape.is_tied
    assert saved == pytest.approx((2 - 0.5625) * linear)
