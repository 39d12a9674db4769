"""The models of a plan: what is read of them, and which ones are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from video_opd.cli import main
from video_opd.policy.location import resolve_model
from video_opd.train.memory_choice import count_weight_bytes, measure_model


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
