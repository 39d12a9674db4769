"""Finds a model's folder and checks that it can hold a model; checks the name of a device. Needs no torch."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from video_opd.errors import ConfigurationError, first_line
from video_opd.policy.file_hashes import hash_file
from video_opd.policy.folder_files import SMALL_FILES, list_files, refuse_unsafe_files
from video_opd.policy.offline import is_offline
from video_opd.policy.run_folders import find_model
from video_opd.policy.weights_files import (
    ADAPTER_WEIGHTS,
    SINGLE,
    is_adapter,
    list_shards,
    read_base,
    refuse_adapter,
    refuse_other_weights,
    refuse_unfit_adapter,
)
from video_opd.suggestions import suggest

BUNDLED = ("tiny-student", "tiny-teacher")
"""Models that ship with the package."""

DEVICES = ("auto", "cpu", "cuda", "mps", "xpu", "hpu", "npu", "mtia")
"""Kinds of devices that a model may run on, where torch has one; a number may follow behind a colon."""

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")

_HOW_TO_ASK = ("grounding.json", "generation_config.json")

_PARTS = {
    "config": ("config.json",),
    "tokenizer": ("tokenizer.json", "vocab.json", "tokenizer.model"),
    "processor": ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"),
}
"""Parts that a model has beside its weights, and the files that may hold each; one is enough."""


def resolve_model(name: str, revision: str | None = None, *, weights: bool = True) -> Path:
    """Find a model's folder by its name; a model on the hub is downloaded first. The folder may hold an adapter alone;
    `resolve_parts` finds its base too.

    Args:
        name: a folder, a run folder (its newest checkpoint is meant), a hub name, or one of `BUNDLED`.
        revision: branch, tag or commit of a model on the hub.
        weights: False: download only the small files beside the weights, so that a model that will be refused anyway
            costs no large download. A local folder is checked as a whole in either case.

    Raises:
        ConfigurationError: the name is none of these, the download failed, or the folder lacks what a model needs or
            holds more than one model.
    """
    folder = find_local_folder(name)
    if folder is not None:
        return folder
    folder = _download_small_files(name, revision)
    refuse_unsafe_files(folder)
    if is_adapter(folder):
        read_base(folder)
        if weights:
            folder = _download_weights(name, revision)
            refuse_unfit_adapter(folder)
        return folder
    refuse_adapter(folder)
    _refuse_without_parts(folder, name)
    if weights:
        folder = _download_weights(name, revision)
        refuse_unsafe_files(folder)
        refuse_other_weights(folder)
    return folder


class ModelParts(NamedTuple):
    """The folders of a model; more than one where it is an adapter."""

    base: Path
    """Of the whole model."""
    adapters: tuple[Path, ...]
    """To be merged into the base, in this order; none for a whole model."""

    @property
    def processor(self) -> Path:
        """The folder with tokenizer and processor: the uppermost one that has both."""
        return next((folder for folder in reversed(self.adapters) if has_processor(folder)), self.base)


def resolve_parts(name: str, revision: str | None = None, *, weights: bool = True) -> ModelParts:
    """Find the folders of a model and, of an adapter, those of its base; as `resolve_model`.

    Raises:
        ConfigurationError: as `resolve_model`, or an adapter's base is missing.
    """
    folder = resolve_model(name, revision, weights=weights)
    adapters: list[Path] = []
    while is_adapter(folder):
        _refuse_circle(folder, adapters)
        adapters.append(folder)
        base, revision = read_base(folder)
        with _explain_base(folder, base):
            folder = resolve_model(base, revision, weights=weights)
    return ModelParts(folder, tuple(reversed(adapters)))


def find_local_folder(name: str) -> Path | None:
    """Find the folder of a model on this machine; None if `name` is a name on the hub. A run folder stands for its
    newest checkpoint.

    Raises:
        ConfigurationError: the name is neither, the folder lacks what a model needs or holds more than one model, or
            the run has no checkpoint.
    """
    folder = Path(str(files("video_opd"))) / "models" / name if name in BUNDLED else Path(name).expanduser()
    if not os.path.exists(folder):  # `Path.exists` raises an error where the name is too long
        if _HUB_NAME.fullmatch(name):
            return None
        raise ConfigurationError(
            f"model {name!r} was not found",
            reason=f"it is neither a folder here, nor of the form owner/name, nor one of {', '.join(BUNDLED)}",
            remedy=suggest(name, BUNDLED, "give the folder that holds config.json and *.safetensors"),
        )
    if not folder.is_dir():
        raise ConfigurationError(
            f"model {folder} is a file",
            reason="a model is a folder that holds weights, config, tokenizer and processor",
            remedy="give the folder",
        )
    folder = find_model(folder)
    refuse_unsafe_files(folder)
    if is_adapter(folder):
        _refuse_without_base(folder)
        return folder
    refuse_adapter(folder)
    refuse_other_weights(folder)
    _refuse_without_parts(folder, str(folder))
    return folder


def find_configured(name: str) -> ModelParts | None:
    """Find the folders of a model here that has its config.json, of an adapter in its base; None if it is on the hub.
    Neither weights nor tokenizer have to be there.

    Raises:
        ConfigurationError: the name leads to no folder with config.json, or an adapter leads back to itself.
    """
    adapters: list[Path] = []
    while True:
        folder = Path(str(files("video_opd"))) / "models" / name if name in BUNDLED else Path(name).expanduser()
        if not folder.is_dir():
            find_local_folder(name)  # it says what is wrong
            return None
        folder = find_model(folder)
        if not is_adapter(folder):
            _refuse_without_parts(folder, str(folder), parts=("config",))
            return ModelParts(folder, tuple(reversed(adapters)))
        _refuse_circle(folder, adapters)
        adapters.append(folder)
        name, _ = read_base(folder)


def _refuse_without_base(folder: Path, above: tuple[Path, ...] = ()) -> None:
    """Refuse an adapter that cannot be used, or whose base is not on this machine and cannot be on the hub."""
    _refuse_circle(folder, above)
    refuse_unsafe_files(folder)
    refuse_unfit_adapter(folder)
    base, _ = read_base(folder)
    below = Path(base).expanduser()
    with _explain_base(folder, base):
        if base not in BUNDLED and below.is_dir() and is_adapter(below := find_model(below)):
            _refuse_without_base(below, (*above, folder))
        else:
            find_local_folder(base)


def _refuse_circle(folder: Path, above: Sequence[Path]) -> None:
    if folder.resolve() in {each.resolve() for each in above}:
        raise ConfigurationError(
            f"model folder {folder} holds an adapter whose base model leads back to itself",
            reason="an adapter is used together with the model that it was trained on",
            remedy="correct base_model_name_or_path in its adapter_config.json",
        )


@contextmanager
def _explain_base(folder: Path, base: str) -> Iterator[None]:
    """Say of a refused base model that an adapter needs it."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(
            f"model folder {folder} holds an adapter of {base!r}, and that model cannot be used",
            reason=f"{error.cause}: {error.reason}",
            remedy="restore the base model, or write its present folder into adapter_config.json as "
            "base_model_name_or_path",
        ) from error


def check_device_name(text: str) -> str:
    """Check the name of a device, and return it. Whether this machine has the device is not checked.

    Raises:
        ConfigurationError: no device can have this name.
    """
    kind, colon, number = text.partition(":")
    if kind not in DEVICES or (colon and (kind == "auto" or not number.isdecimal())):
        raise ConfigurationError(
            f"device {text!r} cannot be used",
            reason="no device has that name",
            remedy=suggest(kind, DEVICES, "give auto, cpu, or cuda on a machine with a GPU that torch sees"),
        )
    return text


def model_sha256(folder: Path) -> str:
    """Hash everything in a model's folder that its answers depend on: weights, configuration, tokenizer, processor.

    The defaults for asking it (`grounding.json`, `generation_config.json`) are not part of it, nor are the settings
    that are written beside answers.
    """
    digest = hashlib.sha256()
    if is_adapter(folder):
        base, revision = read_base(folder)
        digest.update(model_sha256(resolve_model(base, revision)).encode())
    for name, path in _list_deciding_files(folder).items():
        digest.update(name.encode() + bytes.fromhex(hash_file(path)))
    return digest.hexdigest()


def list_model_files(name: str) -> dict[str, Path]:
    """The files that `model_sha256` covers, by their names in the model's folder; `base/…` are those of an adapter's
    base. A folder must be one that `find_local_folder` accepts. The weights of a model on the hub are downloaded.

    Raises:
        ConfigurationError: as `resolve_parts`.
    """
    parts = find_configured(name) or resolve_parts(name)
    return {
        "base/" * depth + file: path
        for depth, folder in enumerate((*reversed(parts.adapters), parts.base))
        for file, path in _list_deciding_files(folder).items()
    }


def _list_deciding_files(folder: Path) -> dict[str, Path]:
    """The files of a folder that a model's answers depend on, by their names, sorted."""
    return {
        str(path.relative_to(folder)): path
        for path in list_files(folder)
        if path.name not in _HOW_TO_ASK and not path.name.endswith(".settings.json")
    }


@cache
def _download_small_files(name: str, revision: str | None) -> Path:
    """Download the hub's snapshot into the local cache, without the weights.

    In one request, so that it fails at once without a network, and not after minutes of retries of every single file.
    """
    return _download(name, revision, SMALL_FILES)


@cache
def _download_weights(name: str, revision: str | None) -> Path:
    """Download the same snapshot with its weights: those that its index names, and no other format of them."""
    small = _download_small_files(name, revision)
    if _COMMIT.fullmatch(small.name):
        revision = small.name  # the very commit that was looked at, even if another is uploaded meanwhile
    weights = [ADAPTER_WEIGHTS] if is_adapter(small) else [SINGLE, *list_shards(small)]
    return _download(name, revision, [*SMALL_FILES, *weights])


def _download(name: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # httpx's, under whichever name the hub's library imports it

    from_cache: dict[str, Any] = {"local_files_only": True} if is_offline() else {}
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, **from_cache))
    except (OSError, ValueError, HTTPError) as error:
        if from_cache:
            raise ConfigurationError(
                f"model {name!r} is not a folder here and could not be downloaded from the Hugging Face hub",
                reason="it is not whole in the hub's cache, and --offline or HF_HUB_OFFLINE forbids downloads",
                remedy="run the command once without it, or give a folder",
            ) from error
        raise ConfigurationError(
            f"model {name!r} is not a folder here and could not be downloaded from the Hugging Face hub",
            reason=first_line(error.__cause__ or error),
            remedy="check the spelling and the network, sign in with `hf auth login` if it is gated, or give a folder",
        ) from error


def has_processor(folder: Path) -> bool:
    """Whether a folder holds a tokenizer and a processor."""
    return all(any((folder / file).is_file() for file in _PARTS[part]) for part in ("tokenizer", "processor"))


def _refuse_without_parts(folder: Path, called: str, parts: Sequence[str] = tuple(_PARTS)) -> None:
    """Refuse a folder that lacks what stands beside the weights."""
    for part in parts:
        names = _PARTS[part]
        if not any((folder / file).is_file() for file in names):
            raise ConfigurationError(
                f"model folder {called} has no {part} ({' or '.join(names)})",
                reason="all parts of a video-language model are loaded from one folder",
                remedy="give the folder of a complete model, or add the part with processor.save_pretrained(folder)",
            )
