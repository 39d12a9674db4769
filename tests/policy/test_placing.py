"""One place brings a whole model to its device, so that sharding will have one place to begin."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import video_opd
from video_opd.policy import load

SOURCE = Path(video_opd.__file__).parent
WHOLE = {"model", "module", "student", "teacher", "reference", "policy", "network"}


def movers(text: str) -> list[str]:
    """Calls that bring something whole to a device: `model.to(…)`, anything `.cuda()`, `device_map`."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            called = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            if node.func.attr in ("cuda", "to_empty") or (node.func.attr == "to" and called in WHOLE):
                found.append(f"{called}.{node.func.attr}")
        if (isinstance(node, ast.Constant) and node.value == "device_map") or (
            isinstance(node, ast.keyword) and node.arg == "device_map"
        ):
            found.append("device_map")
    return found


def test_only_load_moves_a_whole_model():
    found = {
        (str(path.relative_to(SOURCE)), moved)
        for path in SOURCE.rglob("*.py")
        if "lmms" not in path.name  # there it is an argument of another program
        for moved in movers(path.read_text(encoding="utf-8"))
    }
    assert found == {("policy/load.py", "device_map"), ("policy/load.py", "model.to")}


@pytest.mark.parametrize(
    "code",
    ["policy.model.to(device)", "student.to('cuda')", "x.cuda()", "load(device_map='auto')", "module.to_empty()"],
)
def test_a_second_place_would_be_found(code):
    assert len(movers(code)) == 1


def test_every_model_goes_through_it_once(models, monkeypatch):
    moved = []
    monkeypatch.setattr(load, "place_model", lambda model, where: moved.append((type(model).__name__, where)))
    load.load_policy(models["student"])
    assert moved == [("Qwen3VLForConditionalGeneration", torch.device("cpu"))]
