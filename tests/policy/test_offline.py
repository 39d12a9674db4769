"""With `--offline` or HF_HUB_OFFLINE no name reaches for the network, and a model that is not here is one sentence."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
from huggingface_hub import constants

from video_opd.cli.application import list_arguments, list_commands
from video_opd.cli.path_roles import Role, role_of
from video_opd.data.manifest import read_manifest
from video_opd.policy import location
from video_opd.policy.load import load_policy
from video_opd.policy.offline import is_offline


@pytest.fixture(autouse=True)
def asked(monkeypatch, tmp_path) -> list[object]:
    """What was looked up and connected to."""
    seen: list[object] = []

    def note(*what: object, **_: object) -> None:
        seen.append(what)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", note)
    monkeypatch.setattr(socket, "getaddrinfo", note)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for remembered in (location._download_small_files, location._download_weights):
        remembered.cache_clear()
    return seen


@pytest.fixture
def clip(world) -> Path:
    return world / "videos" / read_manifest(world / "test.jsonl")[0].video


def test_without_the_flag_a_name_reaches_for_the_hub(refused, clip, asked):
    """So the tests below see what there is to see."""
    assert "could not be downloaded" in refused("ground", "nobody/nothing", clip, "the red circle")
    assert asked


def test_no_command_reaches_for_the_network(refused, clip, world, recipe_file, tmp_path, asked):
    questions = (world / "test.jsonl", "--videos", world / "videos", "--out", tmp_path / "out.jsonl")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "nobody/nothing"}')
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    commands = [
        ("ground", "nobody/nothing", clip, "the red circle"),
        ("ground", adapter, clip, "the red circle"),
        ("evaluate", "nobody/nothing", *questions),
        ("score", "tiny-student", *questions, "--teacher", "nobody/nothing"),
        ("train", recipe_file, "--student.model", "nobody/nothing", "--out", tmp_path / "run"),
        ("train", recipe_file, "--teacher.model", "nobody/nothing", "--out", tmp_path / "run"),
        ("doctor", recipe_file, "--teacher.model", "nobody/nothing"),
        ("plan", recipe_file, "--teacher.model", "nobody/nothing", "--gpus", "1xH100-80GB"),
        ("merge", adapter, "--out", tmp_path / "merged"),
    ]
    for command in commands:
        os.environ["HF_HUB_OFFLINE"] = ""
        assert "--offline or HF_HUB_OFFLINE forbids downloads" in refused(*command, "--offline")
        assert is_offline()  # for processes that it starts
    assert asked == []


def test_the_environment_is_honoured(refused, clip, asked, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "forbids downloads" in refused("ground", "nobody/nothing", clip, "the red circle")
    assert asked == []


def test_a_model_that_is_here_needs_no_network(models, asked):
    load_policy(str(models["student"]))
    assert asked == []


def test_every_command_with_a_model_or_a_recipe_has_the_flag():
    writes_names_only = {"init"}
    for name, command in list_commands():
        arguments = list_arguments(command)
        names = {argument.name for argument in arguments}
        asks = any(role_of(argument.hint) is Role.READS_MODEL_OR_NAMES for argument in arguments)
        if (asks or "--help-keys" in names) and name not in writes_names_only:
            assert "--offline" in names, name


def test_a_model_in_the_hub_s_cache_is_used(models, tmp_path, asked, monkeypatch):
    commit = "0123456789" * 4
    cached = tmp_path / "cache" / "models--ours--student"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    shutil.copytree(models["student"], cached / "snapshots" / commit)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert load_policy("ours/student").num_bytes > 0
    assert asked == []
