"""The state of the optimiser on the disk: safetensors, in one file, or of a job of several processes in one file each.

Every tensor knows its place in the whole, so a checkpoint goes on with any number of processes. PyTorch's distributed
checkpoints do the work; their usual metadata are pickled, which is code, so they are written as safetensors here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed import checkpoint
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.nn import Parameter

from video_opd.policy.sharding import is_sharded

ONE_FILE = "optimizer.safetensors"
"""Of one process."""
FOLDER = "optimizer"
"""Of several, with a file of each."""


def save_optimizer(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Parameter], folder: Path) -> None:
    """Write the optimiser's tensors, named after the parameters. All processes of a job call it at once.

    Args:
        optimizer: of the student.
        parameters: that it trains, by name.
        folder: of the checkpoint.
    """
    tensors = {
        f"{key}.{name}": value for name, p in parameters.items() for key, value in optimizer.state.get(p, {}).items()
    }
    if any(map(is_sharded, tensors.values())):
        writer = HuggingFaceStorageWriter(path=str(folder / FOLDER), save_distributed=True, enable_consolidation=False)
        checkpoint.save(tensors, storage_writer=writer)
    else:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / ONE_FILE)


def load_optimizer(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Parameter], folder: Path) -> None:
    """Take up what `save_optimizer` wrote, on as many processes or on another number of them.

    Args:
        optimizer: of a student with the same trained parameters.
        parameters: that it trains, by name.
        folder: of the checkpoint.
    """
    sharded = any(map(is_sharded, parameters.values()))
    if (folder / ONE_FILE).exists() and not sharded:
        tensors = load_file(folder / ONE_FILE)
    else:
        where = folder if (folder / ONE_FILE).exists() else folder / FOLDER
        reader = HuggingFaceStorageReader(str(where))
        tensors = _empty(parameters, reader)
        with warnings.catch_warnings():
            # Here one process is enough, and torch asks whether that is meant.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            checkpoint.load(tensors, storage_reader=reader, no_dist=not sharded)
    for key, value in tensors.items():
        kind, name = key.split(".", 1)
        parameter = parameters[name]
        optimizer.state[parameter][kind] = value.clone() if kind == "step" else value.to(parameter.device).clone()


def _empty(parameters: Mapping[str, Parameter], reader: Any) -> dict[str, Tensor]:
    """Tensors to read into, each placed as the parameter that it belongs to."""
    room: dict[str, Tensor] = {}
    for key in reader.read_metadata().state_dict_metadata:
        kind, name = key.split(".", 1)
        room[key] = torch.zeros(()) if kind == "step" else torch.zeros_like(parameters[name].detach())
    return room
