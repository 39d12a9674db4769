"""LoRA by peft: small float32 matrices beside the frozen weights of a model. peft is an extra of the package.

The matrices are put into the transformers model itself, so every other part of the engine sees the same class and the
same modules. With the adapter switched off, the same module is the model as it was before training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from video_opd.errors import ConfigurationError
from video_opd.files.strict_json import load_json
from video_opd.policy.description import BROKEN_FILE, describe, guard_loading, make_empty
from video_opd.policy.families import find_family
from video_opd.policy.lora_settings import LoraSettings, choose_targets
from video_opd.policy.saving import save_whole_model
from video_opd.policy.sharding import is_sharded, shard_like
from video_opd.policy.weights_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, refuse_unfit_adapter

_PREFIX = "base_model.model."
"""What peft writes before every name in its files."""
_NAME = "default"
"""peft's name of the only adapter of a model."""
_OF_ADAPTER = re.compile(rf"(\.lora_\w+)\.{_NAME}(?=\.|$)")
"""In the names of an adapter's weights; peft leaves its name for the adapter out of its files."""


def require_peft() -> None:
    """Refuse to go on without peft.

    Raises:
        ConfigurationError: it is not installed.
    """
    if not find_spec("peft"):
        raise ConfigurationError(
            "peft is not installed",
            reason="adapters are trained, read and merged with it",
            remedy="install the extra: `pip install 'video-opd[lora]'`",
        )


def refuse_unfit_targets(name: str, settings: LoraSettings) -> None:
    """Look before the weights are loaded whether a model has the layers that are to get adapters.

    Raises:
        ConfigurationError: peft is not installed, or a target names no linear layer.
    """
    require_peft()
    if not settings.targets:
        return
    known = describe(name)
    choose_targets(name, known.family, settings.targets, list_linear(make_empty(name, known.config)))


def list_linear(model: Any) -> list[str]:
    """Names of the linear layers of a model that may get an adapter: all but the output head, which may be tied."""
    head = model.get_output_embeddings()
    return [
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head
    ]


def attach_adapter(name: str, model: Any, settings: LoraSettings, *, seed: int, saved: Path | None = None) -> None:
    """Freeze a model and put an adapter beside its layers; only the adapter is trained.

    Args:
        name: of the model; it is written beside the adapter as that of the base.
        model: of transformers; it is changed.
        settings: rank, alpha and targets.
        seed: of the random numbers that a new adapter begins with.
        saved: folder of an adapter that is trained further.

    Raises:
        ConfigurationError: peft is not installed, a target names no linear layer, or `saved` does not fit the model.
    """
    require_peft()
    from peft import LoraConfig, inject_adapter_in_model

    targets = choose_targets(name, find_family(model.config, name), settings.targets, list_linear(model))
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=targets,
        base_model_name_or_path=_name_to_write(name),
    )
    with torch.random.fork_rng(devices=[]), _sizes_of_whole_layers():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    model.peft_config[_NAME].target_modules = set(targets)  # all of them by name; peft shortens the list
    model.peft_config[_NAME].inference_mode = True  # as peft writes it: whoever loads it does not train it
    _use_float32(model)
    if saved is not None:
        _fill(model, saved)
    model.eval()


def refuse_other_adapter(folder: Path, settings: LoraSettings) -> None:
    """Look whether a saved adapter has the rank and the alpha of these settings. Names and shapes are not looked at.

    Raises:
        ConfigurationError: it has not, or its configuration cannot be read.
    """
    refuse_unfit_adapter(folder)
    config = load_json((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    for key, here in (("r", settings.rank), ("lora_alpha", settings.alpha)):
        if config.get(key) != here:
            raise ConfigurationError(
                f"{folder / ADAPTER_CONFIG} is of another adapter",
                reason=f"its {key} is {json.dumps(config.get(key))} there and {here:g} here",
                remedy="give the adapter that was saved with these settings",
            )


@contextmanager
def _sizes_of_whole_layers() -> Iterator[None]:
    """Make adapters for whole layers, also beside sharded weights: a layer gathers them before it computes.

    peft 0.21 knows this of a mesh that only shards. Where it also has replicas, peft takes a shard for a layer.
    """
    from peft.tuners.lora import layer

    inner: Any = getattr(layer, "_get_in_out_features", None)
    if inner is None:  # another version of peft, which does not look at the weight
        yield
        return
    layer._get_in_out_features = lambda module: (
        (module.in_features, module.out_features) if isinstance(module, torch.nn.Linear) else inner(module)
    )
    try:
        yield
    finally:
        layer._get_in_out_features = inner


def _name_to_write(name: str) -> str:
    """The base model's name; of a folder its full path, so that it is found from every folder."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


def _use_float32(model: Any) -> None:
    for name, parameter in model.named_parameters():
        if is_of_adapter(name):
            parameter.data = parameter.data.float()


def is_of_adapter(parameter: str) -> bool:
    """Whether a parameter of that name belongs to an adapter."""
    return _OF_ADAPTER.search(parameter) is not None


def has_adapter(model: Any) -> bool:
    """Whether an adapter stands beside the weights of a model."""
    return _NAME in getattr(model, "peft_config", {})


def save_model(model: Any, folder: Path) -> None:
    """Write a student's weights to a folder: as a model that transformers loads, or its adapter in peft's format."""
    if not has_adapter(model):
        save_whole_model(model, folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {_PREFIX + name: tensor.cpu().contiguous() for name, tensor in _list_weights(model).items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS, {"format": "pt"})
    model.peft_config[_NAME].save_pretrained(str(folder))
    path = folder / ADAPTER_CONFIG
    config = load_json(path.read_text(encoding="utf-8"))
    config["target_modules"] = sorted(config["target_modules"])  # a set has another order in every process
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def merge_adapter(name: str, model: Any, folder: Path) -> None:
    """Add a saved adapter to the weights of its base model.

    Args:
        name: of the adapter, for messages.
        model: the base model, of transformers; it is changed. Where its weights are sharded, every process adds what
            belongs to its shards.
        folder: of the adapter.

    Raises:
        ConfigurationError: peft is not installed, or the adapter does not fit the model.
    """
    require_peft()
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    with guard_loading(name, "adapter"):
        config = LoraConfig.from_pretrained(str(folder))
        try:
            with _sizes_of_whole_layers():
                tuner = LoraModel(model, config, _NAME)
        except TypeError as error:
            raise ValueError(str(error)) from error
    _use_float32(model)
    _fill(model, folder)
    with torch.no_grad():
        if any(map(is_sharded, model.parameters())):
            for layer in _list_layers(model):
                _add_to_shards(layer)
            tuner.unload()
        else:
            tuner.merge_and_unload()


def _add_to_shards(layer: Any) -> None:
    """Add what an adapter gives to this process's shards of the layer beside which it stands."""
    base = layer.get_base_layer()
    if layer.lora_bias[_NAME] or layer.lora_variant:
        raise ConfigurationError(
            "the adapter has biases or is of another kind than LoRA itself",
            reason="only two matrices beside a weight are added to sharded weights",
            remedy="merge it first, with `video-opd merge MODEL --out FOLDER`",
        )
    base.weight.add_(shard_like(layer.get_delta_weight(_NAME).to(base.weight.dtype), base.weight))


def _list_weights(model: Any) -> dict[str, Tensor]:
    """The weights of the adapter, by the names that they have in a file of peft, without the prefix."""
    return {
        _OF_ADAPTER.sub(r"\1", name): parameter.detach()
        for name, parameter in model.named_parameters()
        if is_of_adapter(name)
    }


@torch.no_grad()
def _fill(model: Any, folder: Path) -> None:
    """Take up the weights of a saved adapter, all of them and no others."""
    path = folder / ADAPTER_WEIGHTS
    try:
        tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(path).items()}
    except BROKEN_FILE as error:
        raise ConfigurationError(
            f"{path} cannot be read",
            reason=f"{type(error).__name__}: {error}",
            remedy="download or save the folder again",
        ) from error
    places = _list_weights(model)
    strange = sorted(places.keys() ^ tensors.keys())
    other = [name for name, place in places.items() if not strange and tensors[name].shape != place.shape]
    if strange or other:
        what = (
            f"such as {strange[0]}, which only one of the two has"
            if strange
            else f"{other[0]} is {tuple(tensors[other[0]].shape)} there and {tuple(places[other[0]].shape)} here"
        )
        raise ConfigurationError(
            f"model folder {folder}: its adapter does not fit the base model",
            reason=f"{len(strange or other)} of {len(places)} weights differ: {what}",
            remedy="give the model that it was trained on as base_model_name_or_path in its adapter_config.json",
        )
    for name in places:
        if not torch.isfinite(tensors[name]).all():
            raise ConfigurationError(
                f"model folder {folder}: weights of its adapter are not finite, such as {name}",
                reason="one NaN or infinity makes everything that the model computes NaN",
                remedy="download or save the folder again; if this happened in training, use an earlier checkpoint",
            )
    for name, place in places.items():
        place.copy_(tensors[name])


def _list_layers(model: Any) -> list[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def without_adapter(model: Any) -> Iterator[None]:
    """Switch the adapter of a model off for a while: it computes as its base."""
    layers = _list_layers(model)
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
