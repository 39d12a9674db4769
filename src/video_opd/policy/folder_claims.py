"""What a model's config.json claims, against what its weights hold; by arithmetic, before anything is allocated.

Transformers builds what a configuration claims: a list with an entry for each layer, then every weight that the files
do not have. So a line of text could take all memory. Needs no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from video_opd.errors import ConfigurationError
from video_opd.policy.families import MERGE_SIZE, PATCH_SIZES
from video_opd.policy.weights_files import INDEX, WeightsSize, measure_weights

_MOST_TENSORS, _MOST_NUMBERS = 1_000_000, 10**13
"""Of a model whose weights are not here yet."""
_LISTS_AT_LEAST = 1024
"""Entries that any list in config.json may have."""

_LAYERS = re.compile(r"(^|_)(layers|depth|blocks|n_layer)$")
_SIZE = re.compile(
    r"(^|_)(layers|depth|blocks|n_layer|size|dim|heads|experts|channels|chans|vocab|labels|embeddings|ratio|experts_per_tok|"
    r"section)$"
)
"""Keys of what is multiplied into a shape."""
_FREE = re.compile(r"^max_")
"""Keys of limits. No weight has such a size."""

_MOST_OF_A_PATCH = 1024
"""Pixels or frames; the processor fills a video up to a multiple of it."""
_PATCH_KEYS = (*PATCH_SIZES, MERGE_SIZE)
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")


@dataclass(frozen=True)
class _Room:
    """The most that a configuration may claim."""

    tensors: int
    numbers: int
    found: str
    """Says what the weights hold, for a message."""


def refuse_large_claims(folder: Path) -> None:
    """Refuse a configuration that claims more than the weights beside it can hold.

    Args:
        folder: of a whole model. Where its weights are not here yet, its index says how large they are, or nothing.

    Raises:
        ConfigurationError: it claims more layers than there are tensors, or more numbers than there are bytes.
    """
    config = _read_table(folder / "config.json")
    room = _measure_room(folder, is_quantised='"quantization_config"' in json.dumps(config))
    for where, key, value in walk(config):
        if isinstance(value, list):
            if len(value) > max(_LISTS_AT_LEAST, room.tensors):
                _refuse(folder, f"{where}{key} has {len(value):,} entries", room)
        elif _SIZE.search(key) and not _FREE.search(key) and _is_number(value):
            most = room.tensors if _LAYERS.search(key) else room.numbers
            if not 0 <= value <= most:
                _refuse(folder, f"{where}{key} = {_show(value)}", room)
    claimed = count_claimed(config)
    if claimed > room.numbers:
        _refuse(folder, f"its sizes make at least {claimed:.3g} numbers", room)
    _refuse_large_patches(folder)


def _refuse_large_patches(folder: Path) -> None:
    for name in ("config.json", *_PROCESSOR_FILES):
        for where, key, value in walk(_read_table(folder / name)):
            if key in _PATCH_KEYS and _is_number(value) and not 0 < value <= _MOST_OF_A_PATCH:
                raise ConfigurationError(
                    f"model folder {folder}: {name} says {where}{key} = {_show(value)}",
                    reason=f"every video is filled up to a multiple of it, and {_MOST_OF_A_PATCH} is the limit",
                    remedy="download or save the folder again",
                )


def _measure_room(folder: Path, *, is_quantised: bool) -> _Room:
    size = measure_weights(folder)
    if size is None:
        size = _read_index(folder)
    if size is None:
        return _Room(_MOST_TENSORS, _MOST_NUMBERS, f"models of up to {_MOST_NUMBERS:.0e} numbers are read")
    # A number of a quantised weight may take one bit; others take a byte at least.
    numbers = size.num_bytes * (8 if is_quantised else 1)
    return _Room(size.num_tensors, numbers, f"its weights are {size.num_tensors:,} tensors of {size.num_bytes:,} bytes")


def _read_index(folder: Path) -> WeightsSize | None:
    """What the index says of weights that are not here yet."""
    index = _read_table(folder / INDEX)
    names, total = index.get("weight_map"), index.get("metadata")
    total = total.get("total_size") if isinstance(total, dict) else None
    if not isinstance(names, dict) or not isinstance(total, int | float) or not 0 <= total <= _MOST_NUMBERS:
        return None
    return WeightsSize(len(names), int(total))


def count_claimed(config: Mapping[str, Any]) -> float:
    """Count the numbers that a model has at least, by the sizes in its configuration."""
    return sum(map(_count_numbers, _list_tables(config)))


def _count_numbers(table: Mapping[str, Any]) -> float:
    """Numbers that one part of a model has at least, by its sizes: embeddings, and of each layer attention and MLP."""

    def size(*names: str) -> float:
        return next((float(table[name]) for name in names if _is_number(table.get(name))), 0.0)

    hidden = size("hidden_size", "embed_dim")
    layers = size("num_hidden_layers", "depth")
    experts, of_expert = size("num_experts", "num_local_experts"), size("moe_intermediate_size")
    mlp = 2 * experts * of_expert if experts and of_expert else 2 * size("intermediate_size")
    heads = size("num_attention_heads", "num_heads") * size("head_dim")
    rows = size("vocab_size") + size("num_position_embeddings")
    patch = size("in_channels", "in_chans") * size(PATCH_SIZES[0]) ** 2 * size(PATCH_SIZES[1])
    return hidden * (rows + patch + layers * (1 + mlp + heads))


def _list_tables(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts of a configuration. Where it has none, it is the only part itself."""
    parts = [part for key, part in config.items() if key.endswith("_config") and isinstance(part, dict)]
    return [*parts] if any("hidden_size" in part for part in parts) else [config]


def walk(table: Any) -> Iterator[tuple[str, str, Any]]:
    """Every key of a table and of the tables within, with the place of its table."""
    waiting: list[tuple[str, Any]] = [("", table)]
    while waiting:
        where, found = waiting.pop()
        if isinstance(found, list):
            waiting += [(where, each) for each in found if isinstance(each, dict | list)]
            continue
        for key, value in found.items():
            if isinstance(value, dict | list):
                waiting.append((f"{where}{key}.", value))
            yield where, str(key), value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _show(value: float) -> str:
    try:
        return f"{value:g}"
    except OverflowError:
        return "a number beyond 1e308"


def _read_table(path: Path) -> dict[str, Any]:
    """A JSON table; nothing where there is none, for then the loader says what is wrong."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _refuse(folder: Path, claim: str, room: _Room) -> NoReturn:
    raise ConfigurationError(
        f"model folder {folder}: config.json claims more than the model has ({claim})",
        reason=room.found,
        remedy="use config.json and *.safetensors of one model; download or save the folder again",
    )
