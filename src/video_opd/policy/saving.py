"""A model on the disk, as transformers loads it: plain safetensors, also where several processes hold its weights.

No process gathers a whole model. The weights are split into files of whole tensors; each process writes some of the
files, and holds one file at a time in memory. So every checkpoint has a whole model, and whoever takes one loads it.
(Tried beside it: PyTorch's distributed checkpoints. Their shards are no model; their consolidation reads and writes
everything a second time, in one process. docs/SCALE.md has what was seen.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, distributed
from transformers.core_model_loading import revert_weight_conversion

from video_opd.policy.sharding import drop_gathered, is_sharded, whole
from video_opd.policy.weights_files import INDEX, SINGLE
from video_opd.ranks import is_first_process

MOST_BYTES = 2 * 2**30
"""Of a file, unless one block of the model is larger. Every process holds one file in the memory of the CPU."""
LEAST_BYTES = 64 * 2**20
"""A smaller model is not split for the sake of the processes."""

_BLOCK = re.compile(r".*?\.\d+\.")
"""In the name of a weight, what names its layer. transformers may convert the weights of a layer together."""


def save_whole_model(model: Any, folder: Path) -> None:
    """Write a model with its configuration. All processes of a job call it at once, and each writes its files.

    transformers (5.24) would have the first process gather sharded weights, and writes weights that are tied to others
    a second time.

    Args:
        model: of transformers.
        folder: it is made if it is not there.

    Raises:
        OSError: on the first process, where any of them could not write.
    """
    drop_gathered(model)
    if not any(map(is_sharded, model.parameters())):
        model.save_pretrained(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    if is_first_process():
        config, model.config.distributed_config = model.config.distributed_config, None  # it is no part of the model
        try:
            model.save_pretrained(folder, state_dict={})
        finally:
            model.config.distributed_config = config
    weights = model.state_dict()
    for tied in getattr(model, "all_tied_weights_keys", None) or {}:
        weights.pop(tied, None)
    _write_files(model, weights, folder)


def _write_files(model: Any, weights: Mapping[str, Tensor], folder: Path) -> None:
    rank, size = distributed.get_rank(), distributed.get_world_size()
    total = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    files = list(split_into_files(weights, min(MOST_BYTES, max(LEAST_BYTES, -(-total // size)))))
    names = [f"model-{number:05d}-of-{len(files):05d}.safetensors" for number in range(1, len(files) + 1)]
    names = names if len(files) > 1 else [SINGLE]
    failure: str | None = None
    for first in range(0, len(files), size):
        own: dict[str, Tensor] = {}
        for writer, file in enumerate(files[first : first + size]):
            for name in file:
                tensor = whole(weights[name])  # all processes gather it together
                if writer == rank:
                    own[name] = tensor.cpu()
                del tensor
        if own:
            converted = revert_weight_conversion(model, own)  # to the names and layouts of published weights
            del own
            tensors = {name: tensor.contiguous() for name, tensor in converted.items()}
            try:
                save_file(tensors, folder / names[first + rank], {"format": "pt"})
            except (OSError, SafetensorError) as error:
                failure = str(error)  # it goes on, because the others cannot gather without it
            del converted, tensors
    failures: list[str | None] = [None] * size
    distributed.all_gather_object(failures, failure)
    if is_first_process():
        if any(failures):
            raise OSError(next(filter(None, failures)))
        if len(files) > 1:
            _write_index(folder, names)


def split_into_files(tensors: Mapping[str, Tensor], most_bytes: int) -> Iterator[list[str]]:
    """Split names of tensors into those of each file. Those of one layer stay together.

    Args:
        tensors: sharded or not; the whole of each is counted.
        most_bytes: of a file with more than one layer.
    """
    file: list[str] = []
    filled = 0
    for _, group in groupby(tensors, key=_name_block):
        block = list(group)
        added = sum(tensors[name].numel() * tensors[name].element_size() for name in block)
        if file and filled + added > most_bytes:
            yield file
            file, filled = [], 0
        file, filled = [*file, *block], filled + added
    yield file


def _name_block(weight: str) -> str:
    found = _BLOCK.match(weight)
    return found[0] if found else weight


def _write_index(folder: Path, names: list[str]) -> None:
    """Say in which file every weight lies, by the headers of the files."""
    places: dict[str, str] = {}
    total = 0
    for name in names:
        with safe_open(folder / name, framework="pt") as file:
            places |= dict.fromkeys(file.keys(), name)
        total += (folder / name).stat().st_size
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
