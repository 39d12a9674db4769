"""The state of the optimiser on the disk: safetensors, in one file, or of a job of several processes in one file each.

Every tensor knows its place in the whole, so a checkpoint goes on with any number of processes. PyTorch's distributed
checkpoints do the work; their usual metadata are pickled, which is code, so they are written as safetensors here.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed
from torch.distributed import checkpoint
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.nn import Parameter

from video_opd.policy.description import BROKEN_FILE
from video_opd.policy.saving import split_into_files
from video_opd.policy.sharding import is_sharded, local_part
from video_opd.ranks import is_first_process
from video_opd.train.unfit_checkpoint import unfit

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
    """Take up what `save_optimizer` wrote, on as many processes or on another number of them: all of it or nothing.

    Args:
        optimizer: of a student with the same trained parameters; `refuse_other_optimizer` checks that.
        parameters: that it trains, by name.
        folder: of the checkpoint.

    Raises:
        ConfigurationError: its numbers cannot be those of AdamW.
    """
    is_job = any(map(is_sharded, parameters.values()))
    if (folder / ONE_FILE).exists() and not is_job:
        tensors = load_file(folder / ONE_FILE)
    else:
        reader = _open(folder)
        tensors = {}
        for key in reader.read_metadata().state_dict_metadata:
            kind, name = key.split(".", 1)
            tensors[key] = torch.zeros(()) if kind == "step" else torch.zeros_like(parameters[name].detach())
        _read(tensors, reader, is_job=is_job)
    _refuse_impossible(tensors, folder)
    for name, parameter in parameters.items():
        if f"exp_avg.{name}" in tensors:
            # Each tensor is let go when it is copied, so that no second state of the optimiser lies in memory.
            # Fused, AdamW counts its steps on the device of the parameter, else on the CPU.
            device = parameter.device if optimizer.defaults["fused"] else "cpu"
            state = optimizer.state[parameter] = {"step": tensors.pop(f"step.{name}").to(device, copy=True)}
            for kind in ("exp_avg", "exp_avg_sq"):
                state[kind] = tensors.pop(f"{kind}.{name}").to(parameter.device, copy=True)


def _refuse_impossible(tensors: Mapping[str, Tensor], folder: Path) -> None:
    for key, tensor in tensors.items():
        numbers = local_part(tensor)
        if not torch.isfinite(numbers).all():
            raise unfit(folder, f"the entry {key} of its optimiser is not finite")
        if key.startswith("exp_avg_sq.") and (numbers < 0).any():
            raise unfit(folder, f"the entry {key} of its optimiser is a mean of squares and below 0")


def refuse_other_optimizer(parameters: Mapping[str, Parameter], folder: Path, *, most_updates: int) -> None:
    """Look before anything is loaded whether a checkpoint's state of the optimiser is of these parameters, and whole.

    Only the headers of its files and the numbers of steps are read.

    Args:
        parameters: that are trained, by name; of shards the whole counts.
        folder: of the checkpoint.
        most_updates: that the run can have made so far.

    Raises:
        ConfigurationError: the state is of other parameters, or cannot be read.
    """
    try:
        entries = dict(_open(folder).read_metadata().state_dict_metadata)
        kinds: dict[str, set[str]] = defaultdict(set)
        for key in entries:
            kind, _, name = key.partition(".")
            kinds[name].add(kind)
        _refuse_other_names(parameters, kinds, folder)
        for key, entry in entries.items():
            _refuse_other_entry(key, entry, parameters[key.partition(".")[2]], folder)
        steps = {key: torch.zeros(()) for key in entries if key.startswith("step.")}
        _read(steps, _open(folder))
    except (*BROKEN_FILE, TypeError, AttributeError, IndexError, CheckpointException) as error:
        raise unfit(folder, f"the state of its optimiser cannot be read ({type(error).__name__}: {error})") from error
    for key, tensor in steps.items():
        step, has_moments = float(tensor), kinds[key.partition(".")[2]] == KINDS
        if not 0 <= step <= most_updates or step != int(step):
            raise unfit(folder, f"{key} is {step:g}, and the run has made at most {most_updates} updates")
        if has_moments != (step > 0):
            raise unfit(folder, f"{key} is {step:g}, and its means are {'there' if has_moments else 'not there'}")


def _refuse_other_names(
    parameters: Mapping[str, Parameter], kinds: Mapping[str, Collection[str]], folder: Path
) -> None:
    for name, found in kinds.items():
        if strange := sorted(set(found) - KINDS):
            raise unfit(folder, f"its optimiser has the entry {strange[0]}.{name}, which AdamW does not have here")
    unknown, missing = sorted(kinds.keys() - parameters), sorted(parameters.keys() - kinds)
    if unknown or missing:
        raise unfit(
            folder,
            f"{len(unknown or missing)} weights, such as {(unknown or missing)[0]}, are trained "
            + ("there and not here" if unknown else "here and not there"),
        )
    for name in sorted(kinds):
        if kinds[name] not in (KINDS, {"step"}):
            listed = " and ".join(sorted(KINDS - set(kinds[name])))
            raise unfit(folder, f"for {name}, its optimiser has no {listed}")


def _refuse_other_entry(key: str, entry: TensorStorageMetadata, parameter: Parameter, folder: Path) -> None:
    is_step = key.startswith("step.")
    here = torch.Size() if is_step else parameter.shape
    if tuple(entry.size) != tuple(here):
        raise unfit(folder, f"{key.partition('.')[2]} is {tuple(entry.size)} there and {tuple(here)} here")
    wanted = torch.float32 if is_step else parameter.dtype
    if entry.properties.dtype != wanted:
        raise unfit(folder, f"the entry {key} of its optimiser is {entry.properties.dtype} there and {wanted} here")
    # A part that lies in no file would stay 0 without an error.
    parts = [chunk for chunk in entry.chunks if chunk.sizes.numel()]
    if sum(part.sizes.numel() for part in parts) != here.numel() or len({part.offsets for part in parts}) != len(parts):
        raise unfit(folder, f"the entry {key} of its optimiser is not whole")


def _read(tensors: dict[str, Tensor], reader: Any, *, is_job: bool = False) -> None:
    """Fill tensors from files; in a job all processes do it together."""
    with warnings.catch_warnings():
        # Here one process is enough, and torch asks whether that is meant.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        checkpoint.load(tensors, storage_reader=reader, no_dist=not is_job)


def _open(folder: Path) -> Any:
    return HuggingFaceStorageReader(str(folder if (folder / ONE_FILE).exists() else folder / FOLDER))
