"""Checkpoints that do not fit the student of their run: what is done to a good one, and what the sentence says."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

STEP = Path("checkpoints/step-000001")
"""The only checkpoint of a run of one step."""
LORA = ["--student.lora.rank", "2"]


def seal(checkpoint: Path) -> None:
    """Vouch for the files of a checkpoint as they are now."""
    files = [path for path in checkpoint.rglob("*") if path.is_file() and path.name != "COMPLETE.json"]
    entries = {
        path.relative_to(checkpoint).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": path.stat().st_size,
        }
        for path in files
    }
    marker = {"format": 1, "step": int(checkpoint.name.removeprefix("step-")), "files": entries}
    (checkpoint / "COMPLETE.json").write_text(json.dumps(marker))


def change_optimizer(change: Callable[[dict], None]) -> Callable[[Path, Path], None]:
    def spoil(checkpoint: Path, _: Path) -> None:
        tensors = load_file(checkpoint / "optimizer.safetensors")
        change(tensors)
        save_file(tensors, checkpoint / "optimizer.safetensors")

    return spoil


def change_state(**keys: object) -> Callable[[Path, Path], None]:
    def spoil(checkpoint: Path, _: Path) -> None:
        state = json.loads((checkpoint / "state.json").read_text())
        (checkpoint / "state.json").write_text(json.dumps(state | keys))

    return spoil


def drop_a_weight(tensors: dict) -> None:
    for kind in ("step", "exp_avg", "exp_avg_sq"):
        del tensors[f"{kind}.model.language_model.norm.weight"]


def add_a_weight(tensors: dict) -> None:
    tensors["step.model.language_model.layers.99.weight"] = tensors["step.model.language_model.norm.weight"].clone()


def take_optimizer_of_adapter(checkpoint: Path, adapter: Path) -> None:
    shutil.copy(adapter / STEP / "optimizer.safetensors", checkpoint)


def take_adapter(checkpoint: Path, adapter: Path) -> None:
    shutil.rmtree(checkpoint)
    shutil.copytree(adapter / STEP, checkpoint)


def make_shallow(checkpoint: Path, _: Path) -> None:
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(checkpoint / "model")
    model.config.text_config.num_hidden_layers = 2
    del model.model.language_model.layers[2:]
    model.save_pretrained(checkpoint / "model")


def remove(*names: str) -> Callable[[Path, Path], None]:
    def spoil(checkpoint: Path, _: Path) -> None:
        for name in names:
            (checkpoint / name).unlink()

    return spoil


def write(name: str, content: bytes) -> Callable[[Path, Path], None]:
    def spoil(checkpoint: Path, _: Path) -> None:
        (checkpoint / name).parent.mkdir(exist_ok=True)
        (checkpoint / name).write_bytes(content)

    return spoil


def change_weights(change: Callable[[dict], None], name: str = "model") -> Callable[[Path, Path], None]:
    def spoil(checkpoint: Path, _: Path) -> None:
        tensors = load_file(checkpoint / "model" / f"{name}.safetensors")
        change(tensors)
        save_file(tensors, checkpoint / "model" / f"{name}.safetensors", {"format": "pt"})

    return spoil


def change_json(name: str, **keys: object) -> Callable[[Path, Path], None]:
    def spoil(checkpoint: Path, _: Path) -> None:
        found = json.loads((checkpoint / name).read_text())
        (checkpoint / name).write_text(json.dumps(found | keys))

    return spoil


def change_table(name: str, table: str, **keys: object) -> Callable[[Path, Path], None]:
    def spoil(checkpoint: Path, _: Path) -> None:
        found = json.loads((checkpoint / name).read_text())
        found[table] |= keys
        (checkpoint / name).write_text(json.dumps(found))

    return spoil


def take_optimizer_of_a_job(checkpoint: Path, _: Path) -> None:
    (checkpoint / "optimizer").mkdir()
    shutil.copy(checkpoint / "optimizer.safetensors", checkpoint / "optimizer" / "shard-00001.safetensors")


def rename_a_token(checkpoint: Path, _: Path) -> None:
    path = checkpoint / "model" / "tokenizer.json"
    found = json.loads(path.read_text())
    vocabulary = found["model"]["vocab"]
    first, second = list(vocabulary)[:2]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(found))


NORM = "model.language_model.norm.weight"

CASES: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    # the optimiser
    "weight without state": (
        change_optimizer(drop_a_weight),
        "1 weights, such as model.language_model.norm.weight, are trained here and not there",
    ),
    "unknown weight": (change_optimizer(add_a_weight), "layers.99.weight, are trained there and not here"),
    "optimiser of an adapter": (take_optimizer_of_adapter, "are trained there and not here"),
    "means that are not finite": (
        change_optimizer(lambda tensors: tensors[f"exp_avg.{NORM}"].fill_(float("inf"))),
        f"the entry exp_avg.{NORM} of its optimiser is not finite",
    ),
    "no optimiser": (remove("optimizer.safetensors"), "it has no optimizer.safetensors"),
    "two optimisers": (take_optimizer_of_a_job, "it holds more than one state of the optimiser"),
    # the model
    "adapter for a whole student": (take_adapter, "it holds an adapter, and the recipe trains the whole student"),
    "another model": (make_shallow, "model.language_model.layers.2.input_layernorm.weight is here and not there"),
    "half as precise": (
        change_weights(lambda tensors: tensors.update({NORM: tensors[NORM].half()})),
        f"{NORM} is F16 there and F32 here",
    ),
    "no such weight": (
        change_weights(lambda tensors: tensors.pop(NORM)),
        f"weights, such as {NORM}: they would be filled with random numbers",
    ),
    "weight too many": (
        change_weights(lambda tensors: tensors.update(new=tensors[NORM].clone())),
        "its architecture has no place for 1 of the weights in its files, such as new",
    ),
    "weight that is not finite": (
        change_weights(lambda tensors: tensors[NORM].fill_(float("nan"))),
        "1 of its weights are not finite",
    ),
    "broken weights": (write("model/model.safetensors", b"no tensors"), "0 tensors of 10 bytes"),
    "no weights": (remove("model/model.safetensors"), "has no *.safetensors"),
    "no configuration": (remove("model/config.json"), "has no config (config.json)"),
    "broken configuration": (write("model/config.json", b"{"), "its config cannot be loaded"),
    "configuration of another kind": (change_json("model/config.json", text_config=[]), "its config cannot be loaded"),
    "no tokenizer": (remove("model/tokenizer.json"), "has no tokenizer"),
    "other tokens": (rename_a_token, "its tokenizer has other tokens than the student's"),
    "another template": (
        write("model/chat_template.jinja", b"{{ messages }}"),
        "its chat template is not the student's",
    ),
    "other norms": (
        change_table("model/config.json", "text_config", rms_norm_eps=0.5),
        "rms_norm_eps of its configuration is 0.5 there",
    ),
    "other patches": (
        change_table("model/processor_config.json", "video_processor", merge_size=1),
        "merge_size of its configuration is 1 there and 2 here",
    ),
    "no processor": (remove("model/processor_config.json"), "has no processor"),
    # the state, and the whole
    "key of a newer program": (
        change_state(horizon=3),
        "state.json has the key 'horizon': this program does not know it",
    ),
    "state of another kind": (change_state(step="one"), 'state.json cannot be read: its step is "one"'),
    "broken state": (write("state.json", b"{"), "state.json cannot be read: it should say how far the run got"),
    "no state": (remove("state.json"), "it has no state.json"),
    "part of a newer program": (write("schedule.json", b"{}"), "holds 'schedule.json': this program does not know it"),
}
"""What is done to the checkpoint of a run that trains a whole student, and what the sentence says."""

ADAPTER = "base_model.model.model.language_model.layers.0.mlp.down_proj.lora_A.weight"

CASES_OF_ADAPTER: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "no such weight": (
        change_weights(lambda tensors: tensors.pop(ADAPTER), "adapter_model"),
        f"such as {ADAPTER.removeprefix('base_model.model.')}, which only one of the two has",
    ),
    "half as precise": (
        change_weights(lambda tensors: tensors.update({ADAPTER: tensors[ADAPTER].half()}), "adapter_model"),
        f"{ADAPTER} is F16 there and F32 here",
    ),
    "weight that is not finite": (
        change_weights(lambda tensors: tensors[ADAPTER].fill_(float("nan")), "adapter_model"),
        "weights of its adapter are not finite, such as model.language_model.layers.0",
    ),
    "broken weights": (write("model/adapter_model.safetensors", b"no tensors"), "adapter_model.safetensors cannot be"),
    "no weights": (remove("model/adapter_model.safetensors"), "without adapter_model.safetensors"),
    "no configuration": (remove("model/adapter_config.json"), "it holds no adapter, and the recipe trains one"),
    "broken configuration": (write("model/adapter_config.json", b"{"), "adapter_config.json cannot be read"),
    "another alpha": (change_json("model/adapter_config.json", lora_alpha=1), "its lora_alpha is 1 there and 32 here"),
    "adapter of another kind": (change_json("model/adapter_config.json", peft_type="IA3"), "of the kind IA3"),
    "optimiser that is not whole": (
        change_optimizer(lambda tensors: tensors.pop(next(name for name in tensors if name.startswith("exp_avg.")))),
        "its optimiser has no exp_avg",
    ),
    "no state": (remove("state.json"), "it has no state.json"),
}
"""The same where the student is an adapter."""

STATES: dict[str, tuple[dict[str, object], str]] = {
    "another step": ({"step": 3}, "its step is 3, and the checkpoint is of step 2"),
    "step that is true": ({"step": True}, "its step is true"),
    "half a step": ({"step": 2.0}, "its step is 2.0"),
    "time before the start": ({"seconds": -1.0}, "its seconds is -1.0"),
    "no time": ({"seconds": None}, "its seconds is null"),
    "time that is not a number": ({"seconds": float("nan")}, "NaN is not a number"),
    "examples set aside as a list": ({"set_aside": ["q1"]}, 'its set_aside is ["q1"]'),
    "example set aside for a number": ({"set_aside": {"q1": 3}}, 'its set_aside is {"q1": 3}'),
    "gate as a list": ({"coupling": ["q1"]}, 'its coupling is ["q1"]'),
    "gate of a newer program": ({"coupling": {"suspended": [], "mood": 1}}, "its coupling is"),
    "number that is suspended": ({"coupling": {"suspended": [1]}}, "its coupling is"),
    "gate that there is not": ({"coupling": {"suspended": ["q1"]}}, "the recipe does not have a suspend_at"),
    "hash of data that is a number": ({"data_sha256": 7}, "its data_sha256 is 7"),
}
"""Keys of the state that are changed, and what the sentence says."""
