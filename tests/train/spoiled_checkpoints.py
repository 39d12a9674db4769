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


def drop_a_moment(tensors: dict) -> None:
    del tensors["exp_avg_sq.model.language_model.norm.weight"]


def add_a_weight(tensors: dict) -> None:
    tensors["step.model.language_model.layers.99.weight"] = tensors["step.model.language_model.norm.weight"].clone()


def cut_a_weight(tensors: dict) -> None:
    name = "exp_avg.model.language_model.norm.weight"
    tensors[name] = tensors[name][:7].clone()


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


def break_optimizer(checkpoint: Path, _: Path) -> None:
    (checkpoint / "optimizer.safetensors").write_bytes(b"no tensors")


def lose_optimizer(checkpoint: Path, _: Path) -> None:
    (checkpoint / "optimizer.safetensors").unlink()


def break_state(checkpoint: Path, _: Path) -> None:
    (checkpoint / "state.json").write_text("{")


CASES: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "weight without state": (
        change_optimizer(drop_a_weight),
        "1 weights, such as model.language_model.norm.weight, are trained here and not there",
    ),
    "state of half a weight": (change_optimizer(drop_a_moment), "its optimiser has other entries than AdamW"),
    "unknown weight": (change_optimizer(add_a_weight), "layers.99.weight, are trained there and not here"),
    "other shape": (change_optimizer(cut_a_weight), "model.language_model.norm.weight is (7,) there and (128,) here"),
    "optimiser of an adapter": (take_optimizer_of_adapter, "are trained there and not here"),
    "adapter for a whole student": (take_adapter, "it holds an adapter, and the recipe trains the whole student"),
    "another model": (make_shallow, "model.language_model.layers.2.input_layernorm.weight is here and not there"),
    "broken optimiser": (break_optimizer, "the state of its optimiser cannot be read (SafetensorError"),
    "no optimiser": (lose_optimizer, "the state of its optimiser cannot be read (FileNotFoundError"),
    "key of a newer program": (change_state(horizon=3), "state.json has the key 'horizon': this program does not know"),
    "state of another kind": (change_state(step="one"), "state.json cannot be read: its step is 'one'"),
    "broken state": (break_state, "state.json cannot be read: it should say how far the run got"),
}
"""What is done to the checkpoint of a run, and what the sentence says."""
