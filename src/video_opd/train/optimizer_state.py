"""The state of the optimiser on the disk: safetensors, in one file, or of a job of several processes in one file each.

Every tensor knows its place in the whole, so a checkpoint goes on with any number of processes. PyTorch's distributed
checkpoints do the work; their usual metadata are pickled, which is code, so they are written as safetensors here.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from torch.distributed import checkpoint
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.nn import Parameter

from video_opd.errors import ConfigurationError
from video_opd.policy.description import BROKEN_FILE
from video_opd.policy.saving import split_into_files
from video_opd.policy.sharding import is_sharded
from video_opd.ranks import is_first_process

ONE_FILE = "optimizer.safetensors"
"""Of one process."""
FOLDER = "optimizer"
"""Of several, with files of each."""
MOST_BYTES = 2**30
"""Of a file of one process of several. PyTorch holds two copies of such a file in the memory of the CPU."""
KINDS = frozenset({"step", "exp_avg", "exp_avg_sq"})
"""What AdamW keeps of a parameter; of one that never had a gradient the step alone is written, 0."""


def save_optimizer(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Parameter], folder: Path) -> None:
    """Write the optimiser's tensors, named after the parameters. All processes of a job call it at once.

    Args:
        optimizer: of the student.
        parameters: that it trains, by name.
        folder: of the checkpoint.

    Raises:
        OSError: on the first process of a job, where any of them could not write.
    """
    tensors = {
        f"{kind}.{name}": value
        for name, p in parameters.items()
        for kind, value in (optimizer.state.get(p) or {"step": torch.zeros(())}).items()
    }
    if any(map(is_sharded, parameters.values())):
        files = split_into_files(tensors, MOST_BYTES * distributed.get_world_size())
        writer = HuggingFaceStorageWriter(
            path=str(folder / FOLDER),
            fqn_to_index_mapping={name: number for number, file in enumerate(files, start=1) for name in file},
            save_distributed=True,
            enable_consolidation=False,
        )
        try:
            checkpoint.save(tensors, storage_writer=writer)
        except CheckpointException as error:  # on all processes, whichever of them could not write
            if is_first_process():
                raise OSError(next(str(failure) for failure, _ in error.failures.values())) from error
    else:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / ONE_FILE)


def load_optimizer(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Parameter], folder: Path) -> None:
    """Take up what `save_optimizer` wrote, on as many processes or on another number of them.

    Args:
        optimizer: of a student with the same trained parameters; `refuse_other_optimizer` checks that.
        parameters: that it trains, by name.
        folder: of the checkpoint.
    """
    sharded = any(map(is_sharded, parameters.values()))
    if (folder / ONE_FILE).exists() and not sharded:
        tensors = load_file(folder / ONE_FILE)
    else:
        reader = _open(folder)
        tensors = {}
        for key in reader.read_metadata().state_dict_metadata:
            kind, name = key.split(".", 1)
            tensors[key] = torch.zeros(()) if kind == "step" else torch.zeros_like(parameters[name].detach())
        with warnings.catch_warnings():
            # Here one process is enough, and torch asks whether that is meant.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            checkpoint.load(tensors, storage_reader=reader, no_dist=not sharded)
    for name, parameter in parameters.items():
        if f"exp_avg.{name}" in tensors:
            # Each tensor is let go when it is copied, so that no second state of the optimiser lies in memory.
            # Fused, AdamW counts its steps on the device of the parameter, else on the CPU.
            device = parameter.device if optimizer.defaults["fused"] else "cpu"
            state = optimizer.state[parameter] = {"step": tensors.pop(f"step.{name}").to(device, copy=True)}
            for kind in ("exp_avg", "exp_avg_sq"):
                state[kind] = tensors.pop(f"{kind}.{name}").to(parameter.device, copy=True)


def refuse_other_optimizer(parameters: Mapping[str, Parameter], folder: Path) -> None:
    """Look before anything is loaded whether a checkpoint's state of the optimiser is of these parameters.

    Only the headers of its files are read.

    Args:
        parameters: that are trained, by name; of shards the whole counts.
        folder: of the checkpoint.

    Raises:
        ConfigurationError: the state is of other parameters, or cannot be read.
    """
    try:
        sizes = {key: tuple(entry.size) for key, entry in _open(folder).read_metadata().state_dict_metadata.items()}
    except BROKEN_FILE as error:
        raise _unfit(folder, f"the state of its optimiser cannot be read ({type(error).__name__}: {error})") from error
    kinds: dict[str, set[str]] = defaultdict(set)
    for key in sizes:
        kind, _, name = key.partition(".")
        kinds[name].add(kind)
    unknown, missing = sorted(kinds.keys() - parameters), sorted(parameters.keys() - kinds) if kinds else []
    if unknown or missing:
        raise _unfit(
            folder,
            f"{len(unknown or missing)} weights, such as {(unknown or missing)[0]}, are trained "
            + ("there and not here" if unknown else "here and not there"),
        )
    for name in sorted(kinds):
        if kinds[name] not in (KINDS, {"step"}):
            listed = " and ".join(sorted(KINDS ^ kinds[name]))
            raise _unfit(folder, f"for {name}, its optimiser has other entries than AdamW ({listed})")
        here = tuple(parameters[name].shape)
        for kind in kinds[name] - {"step"}:
            if (there := sizes[f"{kind}.{name}"]) != here:
                raise _unfit(folder, f"{name} is {there} there and {here} here")


def _open(folder: Path) -> Any:
    return HuggingFaceStorageReader(str(folder if (folder / ONE_FILE).exists() else folder / FOLDER))


def _unfit(folder: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"checkpoint {folder} does not fit the student of this run",
        reason=reason,
        remedy="restore the checkpoint that this run wrote, or begin again in another folder with --out",
    )
