"""A model's folder is data: which files of it are read, and what they may say. Known without torch.

Code is never run, pickles are never opened, and nothing in the folder names a file or a model elsewhere. What
transformers would do with such a folder depends on its version and on the installed packages. Here it is refused.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from video_opd.errors import ConfigurationError
from video_opd.policy.folder_claims import refuse_large_claims, walk
from video_opd.policy.weights_files import INDEX, is_adapter

SMALL_FILES = ["*.json", "*.jinja", "*.txt", "*.model"]
MODEL_FILES = ["*.safetensors", *SMALL_FILES]
"""Files that are read, from a folder or from the hub: neither pickled weights nor code."""

MORE_TEMPLATES = "additional_chat_templates"
"""Folder in which transformers looks for further chat templates; one that is called default.jinja is the template."""

_MEGABYTE = 2**20
_MOST_BYTES = {
    "tokenizer.json": 512, "vocab.json": 512, "merges.txt": 512, "vocab.txt": 512, "tokenizer.model": 512,
    INDEX: 64, "chat_template.jinja": 1, "chat_template.json": 1, "tokenizer_config.json": 16, "added_tokens.json": 16,
    "config.json": 4, "generation_config.json": 4, "processor_config.json": 4, "preprocessor_config.json": 4,
    "video_preprocessor_config.json": 4, "special_tokens_map.json": 16, "adapter_config.json": 4, "grounding.json": 1,
}  # fmt: skip
"""Most megabytes of each file that is read whole; several times what published models have."""

_SETTINGS = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
    "adapter_config.json",
)
"""Files whose keys tell transformers and peft what to do."""

_EXPERTS = ("eager", "grouped_mm", "batched_mm")
"""How transformers computes experts with its own code; the others fetch a kernel from the hub and run it."""

_FORBIDDEN = {
    "transformers_weights": "it names another file of weights than the one that was checked",
    "configuration_files": "it names another configuration than the one that was checked",
    "fast_tokenizer_files": "it names another tokenizer than the one that was checked",
    "audio_tokenizer": "it names another model, which would be downloaded",
    "audio_tokenizer_name_or_path": "it names another model, which would be downloaded",
    "custom_generate": "it names code, and code from a model is never run",
    "megatron_config": "it lets peft import a package",
}
"""Key -> why no model may have it."""

_MOST_GROWTH = 10_000
"""Times that the rules of a tokenizer may make a text longer."""


class _Place(NamedTuple):
    """A key in a file."""

    file: Path
    key: str


def refuse_unsafe_files(folder: Path) -> None:
    """Refuse a model's folder whose files are more than data.

    Args:
        folder: of a whole model or of an adapter; its weights need not be here yet.

    Raises:
        ConfigurationError: a file is not a regular one, leads out of the folder or is too large; a key names code, a
            file or a model elsewhere; or the configuration claims more than the weights hold.
    """
    for path in list_files(folder):
        _refuse_other_than_file(folder, path)
    for name in _SETTINGS:
        _refuse_keys(folder / name)
    if (folder / "audio_tokenizer_config.json").exists():
        _refuse(_Place(folder / "audio_tokenizer_config.json", ""), "it names another model, which would be downloaded")
    _refuse_growth(folder / "tokenizer.json")
    if not is_adapter(folder):
        refuse_large_claims(folder)


def list_files(folder: Path) -> list[Path]:
    """Every file of a model's folder that may be read, sorted."""
    found = {path for pattern in MODEL_FILES for path in folder.glob(pattern)}
    return sorted(found | set((folder / MORE_TEMPLATES).glob("*.jinja")))


def _refuse_other_than_file(folder: Path, path: Path) -> None:
    try:
        found, real = path.stat(), path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links
        _refuse(_Place(path, ""), f"it cannot be opened ({getattr(error, 'strerror', None) or error})")
    if not stat.S_ISREG(found.st_mode):
        _refuse(_Place(path, ""), "it is not a regular file")
    # The hub's cache is made of links to its blobs. Of weights nothing but tensors is taken, so they may lie elsewhere.
    in_hub = real.parent.name == "blobs" and real.parent.parent.name.startswith("models--")
    if path.suffix != ".safetensors" and not in_hub and not real.is_relative_to(folder.resolve()):
        _refuse(_Place(path, ""), "it is a link to a file outside of the folder, which may be private", "copy the file")
    most = _MOST_BYTES.get(path.name, 1 if path.suffix == ".jinja" else None)
    if most is not None and found.st_size > most * _MEGABYTE:
        _refuse(_Place(path, ""), f"it has {found.st_size:,} bytes, and at most {most} MiB are read")


def _refuse_keys(path: Path) -> None:
    for where, key, value in walk(_read_json(path)):
        if key in _FORBIDDEN and value is not None:
            _refuse(_Place(path, where + key), _FORBIDDEN[key])
        if key.strip("_").startswith("experts_implementation") and value not in (None, *_EXPERTS):
            _refuse(
                _Place(path, where + key),
                f"experts are computed by {', '.join(_EXPERTS)}; for others code would be fetched from the hub and run",
            )


def _refuse_growth(path: Path) -> None:
    """Refuse a tokenizer whose rules make a text very much longer: twenty that double it make a million of one."""
    growth = 1
    tokenizer = _read_json(path)
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        for rule in _list_rules(tokenizer.get(part)):
            growth *= 1 + max((len(text) for text in rule.values() if isinstance(text, str)), default=0)
            if growth > _MOST_GROWTH:
                _refuse(_Place(path, part), f"its rules may make a text {_MOST_GROWTH:,} times as long")


def _list_rules(part: Any) -> Iterator[dict[str, Any]]:
    """The rules of a part that write a text of their own, by that text."""
    written = {"Replace": ("content",), "Prepend": ("prepend",), "Metaspace": ("replacement",)}
    waiting = [part]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += found
        elif isinstance(found, dict):
            waiting += found.values()
            if found.get("type") in written:
                yield {key: found.get(key) for key in written[found["type"]]}


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON table; nothing where it cannot be read, for then the loader says what is wrong."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _refuse(place: _Place, reason: str, remedy: str = "use another copy of the model") -> NoReturn:
    key = f" says {place.key}" if place.key else ""
    raise ConfigurationError(f"model folder {place.file.parent}: {place.file.name}{key}", reason=reason, remedy=remedy)
