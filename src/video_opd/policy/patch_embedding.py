"""The patch embedding of a vision tower as one matrix product.

Its kernel covers a whole patch, and the processor delivers patches one by one. So the convolution is a linear layer,
and a matrix product computes it faster: in bfloat16, a `Conv3d` takes seconds on some GPUs. docs/LOG.md has figures.

transformers can replace the module (`fusion_config`). It changes the class of the module for every later model of the
process, and the name and the shape of the weight. Here both stay, and with them checkpoints, shards and the state of
the optimiser.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from video_opd.policy.families import Family


class PatchProjection(torch.nn.Conv3d):
    """A convolution that is given one patch at a time, each as large as its kernel."""

    def forward(self, patches: Tensor) -> Tensor:
        """(N, channels, frames, height, width) -> (N, width of the tower, 1, 1, 1)."""
        if patches.dim() != 5 or tuple(patches.shape[2:]) != tuple(self.kernel_size):
            return super().forward(patches)
        return linear(patches.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None, None]


def use_matrix_product(model: Any, family: Family) -> None:
    """Let a loaded model embed its patches by a matrix product.

    A module that is no plain convolution, or that does more than this, stays as it is.

    Args:
        model: of transformers.
        family: says where the convolution is.
    """
    ending = f".{family.vision_module}.{family.patch_embedding}"
    for name, module in model.named_modules():
        if f".{name}".endswith(ending) and _is_linear(module):
            module.__class__ = PatchProjection  # the same module, so that its name and its weights stay
            if "_old_forward" in vars(module):  # accelerate, which spreads layers over devices, calls it
                module._old_forward = PatchProjection.forward.__get__(module)


def _is_linear(module: torch.nn.Module) -> bool:
    return (
        type(module) is torch.nn.Conv3d
        and tuple(module.stride) == tuple(module.kernel_size)
        and set(module.dilation) == {1}
        and module.padding in ("valid", (0, 0, 0))
        and module.groups == 1
    )
