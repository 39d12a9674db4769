"""Weights that are sharded over the processes of a job, by PyTorch's FSDP2, loaded through transformers.

transformers reads from every safetensors file only what a process keeps of it, and shards before it reads, so no
process ever holds a whole model. (Tried beside it: `fully_shard` on a model that is loaded whole, and a broadcast from
the first process. docs/LOG.md has what was seen.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed.fsdp
import torch.distributed.tensor
from torch import Tensor, distributed

from video_opd.errors import ConfigurationError
from video_opd.policy.expert_layout import compare_sides_only
from video_opd.policy.families import Family


@dataclass(frozen=True, kw_only=True)
class Sharding:
    """How the weights of a model lie on the processes of a job."""

    shards: int
    """Processes that hold one copy of the weights together; 1: every process holds all of them."""
    replicas: int
    """Copies of the weights. `shards * replicas` is the number of processes."""
    keep_gathered: bool = False
    """Whole weights stay on a device from the first layer's pass to the end of the backward pass. A student needs it:
    its answers end at different lengths. A model that does not fit a device gathers layer by layer."""
    mixed_precision: bool = False
    """Gather and compute in bfloat16; the shards stay as they are, and gradients are summed in float32."""

    def options(self, name: str, family: Family, where: torch.device, quantisation: str | None) -> dict[str, Any]:
        """Arguments of `from_pretrained`.

        Args:
            name: of the model, for messages.
            family: of the model; it names the blocks that are gathered one by one.
            where: this process's device. transformers does not ask: it takes the machine's GPU where there is one.
            quantisation: the method by which its weights are quantised, if they are.

        Raises:
            ConfigurationError: the installed transformers cannot do it, `accelerate` is missing, it would take another
                device, or the weights are quantised.
        """
        refuse_quantised(name, quantisation)
        taken = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        if taken.type != where.type:
            raise ConfigurationError(
                f"model {name!r} cannot be sharded over processes on {where.type} on this machine",
                reason=f"transformers puts shards on the machine's {taken.type} devices",
                remedy="set the device to auto, or write CUDA_VISIBLE_DEVICES= before torchrun, which hides GPUs",
            )
        try:
            from transformers.distributed import DistributedConfig
        except ImportError as error:
            raise _not_possible(name, "this transformers has no sharding of its own") from error
        if not find_spec("accelerate"):
            raise _not_possible(name, "transformers shards with the help of accelerate, which is not installed")
        for model_type in family.model_types:
            compare_sides_only(model_type)
        style = "keep_full_weight" if self.keep_gathered else "free_full_weight"
        config = DistributedConfig(
            fsdp_size=self.shards,
            dp_replicate_size=self.replicas,
            fsdp_plan=dict.fromkeys(family.blocks, style),
            fsdp_mixed_precision=self.mixed_precision,
        )
        return {"distributed_config": config}


def refuse_quantised(name: str, quantisation: str | None) -> None:
    """Refuse to shard quantised weights: it was never tried, and transformers does not promise it.

    Args:
        name: of the model.
        quantisation: the method by which its weights are quantised, if they are.

    Raises:
        ConfigurationError: they are.
    """
    if quantisation:
        raise ConfigurationError(
            f"model {name!r} cannot be sharded over processes",
            reason=f"its weights are quantised ({quantisation})",
            remedy="name a checkpoint with whole weights, or start one process",
        )


def _not_possible(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"model {name!r} cannot be sharded over processes",
        reason=reason,
        remedy="run `pip install 'video-opd[distributed]'`, which brings transformers 5.24 and accelerate",
    )


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is a shard that knows its place in the whole."""
    return isinstance(tensor, distributed.tensor.DTensor)


def is_split_up(tensor: Tensor) -> bool:
    """Whether a process holds only a part of a tensor now. A weight that was gathered is whole for that time."""
    if not isinstance(tensor, distributed.tensor.DTensor):
        return False
    sizes = tensor.device_mesh.shape
    return any(each.is_shard() and size > 1 for each, size in zip(tensor.placements, sizes, strict=True))


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor; all of it where it is not sharded."""
    return tensor.to_local() if isinstance(tensor, distributed.tensor.DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor, gathered where it is sharded. All processes must ask at once."""
    return tensor.full_tensor() if isinstance(tensor, distributed.tensor.DTensor) else tensor


def shard_like(tensor: Tensor, other: Any) -> Tensor:
    """A tensor that every process holds whole, sharded as another one is. Nothing is sent."""
    return distributed.tensor.distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)


def average_over_processes(parameters: Iterable[Tensor]) -> None:
    """Give every process the mean of all processes' gradients of weights that every process holds whole.

    Those of sharded weights are averaged in the backward pass. All processes must call it at once.
    """
    own = [p for p in parameters if not is_sharded(p)]
    if not own:
        return
    for parameter in own:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    together = torch.cat([p.grad.flatten() for p in own if p.grad is not None])
    distributed.all_reduce(together)
    parts = (together / distributed.get_world_size()).split([p.numel() for p in own])
    for parameter, part in zip(own, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def is_any_process(flag: bool, model: Any) -> bool:
    """Whether it is so on any process, where all of them gather the weights of a model for every pass.

    Then all processes must make as many passes, and ask this at once. Elsewhere each process goes its own way.

    Args:
        flag: whether it is so here.
        model: the marker `is_gathered_by_layer` says how its weights are gathered.
    """
    if not getattr(model, "is_gathered_by_layer", False):
        return flag
    flags = torch.tensor([flag], dtype=torch.uint8, device=model.device)
    distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags.item())


def is_every_process(flag: bool, model: torch.nn.Module) -> bool:
    """Whether it is so on every process that holds a shard of a model. All of them must ask at once.

    Args:
        flag: whether it is so here.
        model: where its weights are not sharded, only this process counts.
    """
    if not any(map(is_sharded, model.parameters())):
        return flag
    flags = torch.tensor([flag], dtype=torch.uint8, device=next(model.parameters()).device)
    distributed.all_reduce(flags, distributed.ReduceOp.MIN)
    return bool(flags.item())


def drop_gathered(model: torch.nn.Module) -> None:
    """Let go of whole weights that were gathered, because the shards have changed. Without shards nothing happens.

    The backward pass does so too, but a reading whose examples are all suspended has none.
    """
    for module in model.modules():
        if isinstance(module, distributed.fsdp.FSDPModule):
            module.reshard()
