"""A model's folder is data: whatever it says, no code of it is run, and no other file, model or amount of memory is
taken. Each folder here is the tiny student with one change."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from video_opd.data.manifest import read_manifest
from video_opd.errors import ConfigurationError
from video_opd.policy.attention import choose_attention_backends
from video_opd.policy.description import describe, make_empty
from video_opd.policy.load import load_policy
from video_opd.policy.location import find_local_folder, model_sha256
from video_opd.policy.published_shapes import read_config

INDEX = "model.safetensors.index.json"
Spoil = Callable[[Path], None]


@pytest.fixture
def folder(models, tmp_path) -> Path:
    """A model folder of one's own."""
    return Path(shutil.copytree(models["student"], tmp_path / "model"))


@pytest.fixture
def clip(world) -> Path:
    return world / "videos" / read_manifest(world / "test.jsonl")[0].video


@pytest.fixture(autouse=True)
def asked(monkeypatch) -> list[object]:
    """Every name that was looked up and every address that was connected to; in this file there must be none."""
    seen: list[object] = []

    def note(*what: object, **_: object) -> None:
        seen.append(what)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", note)
    monkeypatch.setattr(socket, "getaddrinfo", note)
    yield seen
    assert seen == []


class Boom:
    """Makes a folder called `boom` where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("boom",)


@pytest.fixture(autouse=True)
def no_code_is_run(tmp_path, monkeypatch):
    """Whatever runs leaves a folder here."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "boom").exists()


CODE = "import os\nos.mkdir('boom')\n"


def write(name: str, text: str) -> Spoil:
    return lambda folder: (folder / name).write_text(text) and None


def say(name: str, **entries: Any) -> Spoil:
    """Add keys to a JSON file; a dotted key leads into a table."""

    def change(folder: Path) -> None:
        path = folder / name
        table = json.loads(path.read_text()) if path.exists() else {}
        for key, value in entries.items():
            *parts, last = key.split("__")
            within = table
            for part in parts:
                within = within[part]
            within[last] = value
        path.write_text(json.dumps(table))

    return change


def link(name: str, target: str) -> Spoil:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def fifo(name: str) -> Spoil:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def index(*names: str) -> Spoil:
    def change(folder: Path) -> None:
        weights = {key: names[place % len(names)] for place, key in enumerate(load_file(folder / "model.safetensors"))}
        (folder / "model.safetensors").rename(folder.parent / "x.safetensors")
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weights}))

    return change


def grow(name: str, num_bytes: int) -> Spoil:
    """A file with a hole, so that it takes no disk."""

    def change(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.truncate(num_bytes)

    return change


def only_pickled(name: str) -> Spoil:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(pickle.dumps(Boom()))

    return change


def doubling(part: str, rule: dict[str, Any]) -> Spoil:
    return say("tokenizer.json", **{part: {"type": "Sequence", f"{part}s": [rule] * 40}})


def directory(name: str) -> Spoil:
    return lambda folder: (folder / name).mkdir()


REPLACE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}

REFUSED = {
    "a kernel for attention": (say("config.json", attn_implementation="evil/kernel"), "attention backend"),
    "the same, by its inner name": (say("config.json", _attn_implementation="evil/kernel"), "attention backend"),
    "a kernel by the part": (
        say("config.json", _attn_implementation={"vision_config": "paged|evil/kernel"}), "attention backend",
    ),
    "a kernel for experts": (say("config.json", experts_implementation="deepgemm"), "code would be fetched"),
    "the same, for the text model ": (
        say("config.json", text_config___experts_implementation="sonicmoe"), "code would be fetched",
    ),
    "weights of another name": (say("config.json", transformers_weights="adapter_model.bin"), "transformers_weights"),
    "another configuration": (say("config.json", configuration_files=["config.4.0.0.json"]), "configuration_files"),
    "another tokenizer": (
        say("tokenizer_config.json", fast_tokenizer_files=["../tokenizer.4.0.0.json"]), "fast_tokenizer_files",
    ),
    "a tokenizer of sounds on the hub": (
        say("processor_config.json", audio_tokenizer={"audio_tokenizer_class": "DacModel",
                                                      "audio_tokenizer_name_or_path": "evil/model"}),
        "audio_tokenizer",
    ),
    "the same, in a file of its own": (
        write("audio_tokenizer_config.json", '{"audio_tokenizer_name_or_path": "evil/model"}'), "would be downloaded",
    ),
    "code that generates": (say("generation_config.json", custom_generate="evil/repo"), "never run"),
    "code and an unknown model": (
        say("config.json", model_type="evil", auto_map={"AutoConfig": "code.Config"}), "config cannot be loaded",
    ),
    "an unknown quantisation": (say("config.json", quantization_config={"quant_method": "os"}), "quantised \\(os\\)"),
    "a quantisation of a package": (
        say("config.json", quantization_config={"quant_method": "quark"}), "without amd-quark",
    ),
    "an index that leads out": (index("../x.safetensors"), "names '../x.safetensors'"),
    "an index with a full path": (index("/etc/x.safetensors"), "names '/etc/x.safetensors'"),
    "an index of a pickle": (index("pytorch_model.bin"), "names 'pytorch_model.bin'"),
    "an index of no text": (
        lambda folder: write(INDEX, '{"weight_map": {"x": 7}}')(folder), "cannot be read",
    ),
    "pickled weights": (only_pickled("pytorch_model.bin"), "\\*.bin files can run code"),
    "a pickled adapter": (
        lambda folder: (folder / "adapter_model.bin").write_bytes(pickle.dumps(Boom())) and None, "holds an adapter",
    ),
    "a private file as template": (link("chat_template.jinja", "/etc/hostname"), "outside of the folder"),
    "a private file as settings": (link("grounding.json", "../secret.json"), "grounding.json"),
    "a device as configuration": (link("config.json", "/dev/zero"), "not a regular file"),
    "a device as weights": (link("more.safetensors", "/dev/zero"), "not a regular file"),
    "a pipe as tokenizer": (fifo("tokenizer.json"), "not a regular file"),
    "a pipe as weights": (fifo("model.safetensors"), "not a regular file"),
    "a circle of links": (link("vocab.json", "vocab.json"), "cannot be opened"),
    "a folder as file": (directory("merges.txt"), "not a regular file"),
    "a tokenizer of a terabyte": (grow("tokenizer.json", 2**40), "1,099,511,627,776 bytes"),
    "a configuration of a gigabyte": (grow("config.json", 2**30), "1,073,741,824 bytes"),
    "a template of a gigabyte": (grow("chat_template.jinja", 2**30), "1,073,741,824 bytes"),
    "a tokenizer that doubles texts": (doubling("normalizer", REPLACE), "times as long"),
    "a tokenizer that doubles answers": (doubling("decoder", REPLACE), "times as long"),
    "1e8 layers": (say("config.json", text_config__num_hidden_layers=10**8), "num_hidden_layers = 1e\\+08"),
    "1e8 layers of vision": (say("config.json", vision_config__depth=1e8), "depth = 1e\\+08"),
    "a vocabulary of 1e12": (say("config.json", text_config__vocab_size=10**12), "vocab_size = 1e\\+12"),
    "a vocabulary that fits alone": (say("config.json", text_config__vocab_size=10**5), "make at least \\S+ numbers"),
    "a wide layer": (say("config.json", text_config__intermediate_size=10**5), "numbers"),
    "many experts": (say("config.json", text_config__num_experts=10**9), "num_experts = 1e\\+09"),
    "many heads": (say("config.json", text_config__num_attention_heads=10**5, text_config__head_dim=10**4), "numbers"),
    "many labels": (say("config.json", num_labels=10**10), "num_labels = 1e\\+10"),
    "many positions": (say("config.json", vision_config__num_position_embeddings=10**5), "numbers"),
    "a number of 400 digits": (say("config.json", text_config__hidden_size=10**400), "a number beyond 1e308"),
    "a size without end": (say("config.json", text_config__hidden_size=float("inf")), "hidden_size = inf"),
    "a negative size": (say("config.json", text_config__hidden_size=-1), "hidden_size = -1"),
    "a list of a million mergers": (
        say("config.json", vision_config__deepstack_visual_indexes=[0] * 500_000), "500,000 entries",
    ),
    "groups of 1e9 frames": (
        say("processor_config.json", video_processor__temporal_patch_size=10**9), "temporal_patch_size = 1e\\+09",
    ),
    "patches of 1e9 pixels": (say("config.json", vision_config__patch_size=10**9), "patch_size = 1e\\+09"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_is_more_than_data_is_refused_with_one_sentence(refused, name, folder, clip, tmp_path):
    (tmp_path / "secret.json").write_text('{"secret": "s3cr3t"}')
    spoil, message = REFUSED[name]
    spoil(folder)
    sentence = refused("ground", folder, clip, "the red circle")
    assert re.search(message, sentence), sentence
    assert "s3cr3t" not in sentence


HARMLESS = {
    "code beside a known model": lambda folder: (
        [
            say(name, auto_map={each: f"code.{each}" for each in (
                "AutoConfig", "AutoProcessor", "AutoTokenizer", "AutoModelForImageTextToText", "AutoImageProcessor",
                "AutoVideoProcessor")})(folder)
            for name in ("config.json", "processor_config.json", "tokenizer_config.json")
        ],
        write("code.py", CODE)(folder),
        write("__init__.py", CODE)(folder),
    ),
    "a kernel by names that are not read": lambda folder: [
        say("config.json", text_config___attn_implementation_internal="evil/kernel")(folder),
        say("config.json", vision_config__attn_implementation="paged|evil/kernel")(folder),
    ],
    "code of another repository": say("config.json", auto_map={"AutoConfig": "evil/repo--code.Config"}),
    "code that generates, in its folder": lambda folder: (
        (folder / "custom_generate").mkdir(),
        write("custom_generate/generate.py", CODE)(folder),
        write("custom_generate/requirements.txt", "evil")(folder),
    ),
    "pickles beside weights": lambda folder: [
        (folder / name).write_bytes(pickle.dumps(Boom()))
        for name in ("pytorch_model.bin", "optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth")
    ],
    "a name that is not a folder": say("config.json", _name_or_path="evil/model", name_or_path="evil/model"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_never_read_does_no_harm(name, folder):
    HARMLESS[name](folder)
    policy = load_policy(str(folder))
    assert policy.model.config.get_text_config()._attn_implementation == "sdpa"


def test_a_hostile_adapter_names_no_package(refused, models, clip, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(models["student"]), "r": 1,
              "megatron_config": {"x": 1}, "megatron_core": "antigravity", "target_modules": ["q_proj"]}  # fmt: skip
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    save_file({"x": torch.ones(1)}, adapter / "adapter_model.safetensors")
    assert "lets peft import a package" in refused("ground", adapter, clip, "the red circle")


def test_an_adapter_with_pickled_weights_is_refused(refused, models, clip, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(models["student"])}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Boom()))
    assert "without adapter_model.safetensors" in refused("ground", adapter, clip, "the red circle")


def test_a_plan_builds_no_model_with_a_kernel_of_the_folder(folder, monkeypatch):
    """`plan` reads configurations too, and builds models without weights."""
    from transformers.integrations import hub_kernels

    monkeypatch.setattr(hub_kernels, "get_kernel", lambda *_, **__: pytest.fail("a kernel was asked for"))
    say("config.json", attn_implementation="evil/kernel")(folder)
    config, _, _ = read_config(str(folder))
    assert config._attn_implementation == "evil/kernel"
    assert make_empty(str(folder), config).config._attn_implementation == "sdpa"
    assert config._attn_implementation == "evil/kernel"  # the caller's own is left alone
    with pytest.raises(ConfigurationError, match="attention backend"):
        choose_attention_backends("m", config)


def test_the_hub_s_own_links_and_links_of_weights_are_taken(models, tmp_path):
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "c"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(Path(models["student"]).iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert find_local_folder(str(snapshot)) == snapshot
    own = Path(shutil.copytree(models["student"], tmp_path / "own"))
    link("model.safetensors", str(Path(models["student"]) / "model.safetensors"))(own)
    assert find_local_folder(str(own)) == own


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json", "processor_config.json", "config.json",
                                  "additional_chat_templates/default.jinja", "vocab.json"])  # fmt: skip
def test_the_hash_covers_every_file_that_is_read(folder, name):
    before = model_sha256(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    with (folder / name).open("a") as file:
        file.write("\n")
    assert model_sha256(folder) != before


def test_published_configurations_claim_no_more_than_their_weights(models):
    """The arithmetic has room for real models: half a byte for each of their numbers is more than is claimed."""
    from video_opd.policy.folder_claims import count_claimed
    from video_opd.policy.published_shapes import find_published_config

    for name in ("Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen3-VL-30B-A3B-Instruct"):
        config = find_published_config(name)
        held = sum(weight.numel() for weight in make_empty(name, config).parameters())
        assert 0.05 * held < count_claimed(config.to_dict()) < held, name
    assert describe(str(models["student"])).folder == Path(models["student"])
