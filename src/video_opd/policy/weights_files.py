"""The weights files of a model's folder: one whole set, and no adapter beside it; or an adapter. Known without torch.

What transformers does with two sets, or with an adapter beside weights, depends on an order of its own and on the
installed packages. Here such a folder is always refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from video_opd.errors import ConfigurationError
from video_opd.files.strict_json import load_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, "adapter_model.bin")

_OTHER_FORMAT = re.compile(r"consolidated.*\.safetensors")
"""Mistral publishes the same weights a second time for its own program; transformers never reads them."""

_PREFIXES = {
    "base_model.model.": "peft's wrapper: merge_and_unload() it",
    "module.": "DataParallel: save its .module",
    "_orig_mod.": "torch.compile: save the module that was compiled",
}
"""Prefix of every weight's name when a wrapped model was saved -> the wrapper, and what to do instead."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no model: peft's files, without a model's configuration or weights."""
    of_model = ("config.json", SINGLE, INDEX)
    return (folder / ADAPTER_CONFIG).exists() and not any((folder / name).exists() for name in of_model)


def read_base(folder: Path) -> tuple[str, str | None]:
    """The name of the model that an adapter was trained on, and its revision on the hub.

    Raises:
        ConfigurationError: the adapter's configuration cannot be read, or it is of another kind than LoRA.
    """
    path = folder / ADAPTER_CONFIG
    try:
        config = load_json(path.read_text(encoding="utf-8"))
        kind, base, revision = config["peft_type"], config["base_model_name_or_path"], config.get("revision")
        more = config.get("modules_to_save") or config.get("bias", "none") != "none"
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read",
            reason=f"it should say of which kind the adapter is, and of which model ({type(error).__name__}: {error})",
            remedy="download or save the folder again, with peft's save_pretrained",
        ) from error
    if kind != "LORA" or more:
        raise ConfigurationError(
            f"model folder {folder} holds an adapter that changes more than linear layers"
            if kind == "LORA"
            else f"model folder {folder} holds an adapter of the kind {kind}",
            reason="only LoRA adapters, without biases and modules_to_save, are merged here",
            remedy="merge it first, with peft: PeftModel.from_pretrained(base_model, folder).merge_and_unload()"
            ".save_pretrained(new_folder), and the processor likewise",
        )
    if not isinstance(base, str) or not base:
        raise ConfigurationError(
            f"{path} names no base model",
            reason="an adapter is used together with the model that it was trained on",
            remedy="write the base model's name or folder there as base_model_name_or_path",
        )
    return base, revision if isinstance(revision, str) else None


def refuse_unfit_adapter(folder: Path) -> None:
    """Refuse a folder of an adapter that cannot be used. Only small files are read.

    Raises:
        ConfigurationError: its configuration cannot be used, or there are no weights or other weights beside them.
    """
    read_base(folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ConfigurationError(
            f"model folder {folder} holds an adapter ({ADAPTER_CONFIG}) without {ADAPTER_WEIGHTS}",
            reason="weights are read from safetensors only",
            remedy="download or save the folder again, with peft's save_pretrained",
        )
    beside = sorted({path.name for path in folder.glob("*.safetensors")} - {ADAPTER_WEIGHTS})
    if beside:
        raise ConfigurationError(
            f"model folder {folder} holds an adapter ({ADAPTER_CONFIG}) and other weights ({_list_some(beside)})",
            reason="it is unclear which are meant",
            remedy="move the other weights out of the folder",
        )


def refuse_adapter(folder: Path) -> None:
    """Refuse a folder that holds an adapter beside whole weights, or a part of one.

    Transformers applies an adapter by itself where peft is installed, and ignores it without a message where it is not.

    Raises:
        ConfigurationError: the folder holds one.
    """
    found = [name for name in _ADAPTER_FILES if (folder / name).exists()]
    if found:
        raise ConfigurationError(
            f"model folder {folder} holds an adapter ({found[0]})",
            reason="it would be applied or ignored depending on which packages are installed",
            remedy="merge it first: move the adapter's files into a folder of their own and run `video-opd merge` on "
            "it; or, to use the base model alone, move the adapter's files away",
        )


def refuse_other_weights(folder: Path) -> None:
    """Refuse a folder whose weights files are not one whole model's. Only the headers of the files are read.

    Raises:
        ConfigurationError: there are no weights, they are not whole, there is more than one set of them, or they were
            saved from a wrapped model.
    """
    lies_in: dict[str, Path] = {}
    for file in _list_weights_files(folder):
        for name in _read_header(file):
            if name in lies_in:
                raise ConfigurationError(
                    f"model folder {folder} holds the weight {name} twice ({lies_in[name].name}, {file.name})",
                    reason="the files come from two models or two saves, and it is unclear which is meant",
                    remedy="download or save the folder again",
                )
            lies_in[name] = file
    for prefix, saved_by in _PREFIXES.items():
        wrapped = [name for name in lies_in if name.startswith(prefix)]
        if wrapped:
            raise ConfigurationError(
                f"model folder {folder}: {len(wrapped)} of its {len(lies_in)} weights are called {prefix}…, such as "
                f"{wrapped[0]}",
                reason=f"they were saved from a wrapped model ({saved_by})",
                remedy="save the model itself with save_pretrained, or rename them: load_file from safetensors.torch, "
                f"removeprefix({prefix!r}) of every name, save_file",
            )


def _list_weights_files(folder: Path) -> list[Path]:
    """A single file, or the shards that the index names; nothing beside them."""
    found = {path.name for path in folder.glob("*.safetensors") if not _OTHER_FORMAT.fullmatch(path.name)}
    if not found:
        pickled = any(folder.glob("*.bin"))
        raise ConfigurationError(
            f"model folder {folder} has no *.safetensors",
            reason="weights are read from safetensors only" + (", since *.bin files can run code" if pickled else ""),
            remedy="save the model with save_pretrained of a current transformers"
            if pickled
            else "give the folder that holds config.json and *.safetensors",
        )
    named = set(list_shards(folder))
    single = {SINGLE} & found
    wanted = named or single
    if not wanted:
        raise ConfigurationError(
            f"model folder {folder} has {min(found)}, but neither {SINGLE} nor {INDEX}",
            reason="it is unclear which files belong to the model",
            remedy="download or save the folder again, with its index",
        )
    missing, beside = sorted(wanted - found), sorted(found - wanted)
    if missing:
        raise ConfigurationError(
            f"model folder {folder} has no {missing[0]}"
            + (f" and {len(missing) - 1} more of {len(wanted)} shards" if len(missing) > 1 else ""),
            reason=f"{INDEX} names it, and without it weights would be missing",
            remedy="download the folder again until it is complete",
        )
    if beside:
        chosen = f"the {len(named)} files of {INDEX}" if named else SINGLE
        raise ConfigurationError(
            f"model folder {folder} holds two sets of weights: {_list_some(beside)}, and {chosen}",
            reason="only one of them can be the model, and it is unclear which",
            remedy="move the other set out of the folder",
        )
    return [folder / name for name in sorted(wanted)]


def list_shards(folder: Path) -> list[str]:
    """List the shards that the folder's index names; none without an index.

    Raises:
        ConfigurationError: the index cannot be read, or names something outside the folder.
    """
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        names = sorted(set(load_json(index.read_text(encoding="utf-8"))["weight_map"].values()))
        outside = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{index} cannot be read",
            reason=f"it should say in which file every weight lies ({type(error).__name__}: {error})",
            remedy="download or save the folder again",
        ) from error
    if outside or not names:
        raise ConfigurationError(
            f"{index} names {outside[0]!r}" if outside else f"{index} names no file",
            reason="weights are read from *.safetensors in the model's own folder",
            remedy="download or save the folder again",
        )
    return names


def measure_files(folder: Path) -> int | None:
    """Bytes of the weights files of a folder; None where they are not all there."""
    files = [folder / name for name in list_shards(folder)] or list(folder.glob("*.safetensors"))
    return sum(file.stat().st_size for file in files) if files and all(file.is_file() for file in files) else None


class WeightsSize(NamedTuple):
    """How much the files of weights hold."""

    num_tensors: int
    num_bytes: int


def measure_weights(folder: Path) -> WeightsSize | None:
    """Count the tensors and the bytes of a folder's weights; None where it has none. Only headers are read."""
    files = [folder / name for name in (list_shards(folder) or [SINGLE])]
    files = [file for file in files if file.is_file()]
    if not files:
        return None
    # A file that was cut short held more: the loader says that it is broken, so it gets room to come so far.
    sizes = [file.stat().st_size for file in files]
    return WeightsSize(
        sum(len(_read_header(file)) for file in files),
        sum(min(max(size, _find_end(file)), 64 * size) for file, size in zip(files, sizes, strict=True)),
    )


def _find_end(file: Path) -> int:
    """Where a safetensors file should end by its header; 0 where that cannot be read."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = load_json(opened.read(min(length, file.stat().st_size)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return 8 + length + max(end for end in ends if isinstance(end, int))
    except (OSError, ValueError, RecursionError, TypeError, LookupError, AttributeError):
        return 0


def list_types(folder: Path) -> dict[str, str]:
    """The type of every floating-point weight in the files of a folder, as safetensors names it, such as F32.

    Only headers are read. A broken file has none here: the loader says what is wrong with it.
    """
    kinds = {
        name: str(entry.get("dtype"))
        for file in sorted(folder.glob("*.safetensors"))
        for name, entry in _read_header(file).items()
        if isinstance(entry, dict)
    }
    return {name: kind for name, kind in kinds.items() if "F" in kind}


def _read_header(file: Path) -> dict[str, Any]:
    """The tensors in a safetensors file by name; of a broken one nothing, for the loader says what is wrong."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = load_json(opened.read(min(length, file.stat().st_size)))
        return {name: entry for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, RecursionError, TypeError, AttributeError):
        return {}


def _list_some(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
