"""The gradient of the token embedding, added row by row.

PyTorch makes it as large as the embedding, for every pass. A step looks up tokens twice, those of the prompts and those
of the answers. So two matrices of zeros with a few rows in them would be added to the gradient of the output head. With
a large vocabulary that is a good part of a step's time and memory: 2.5 GB each for a model of 8B. docs/LOG.md has
figures.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding as look_up

from video_opd.policy.sharding import is_sharded


class RowwiseEmbedding(torch.nn.Embedding):
    """An embedding whose backward pass adds the rows that were looked up to the gradient of the weight, in place.

    The weight itself is not in the graph, so `torch.autograd.grad` does not reach it; `backward` does.
    """

    def forward(self, ids: Tensor) -> Tensor:
        """(…) token ids -> (…, width)."""
        rows = look_up(ids, self.weight.detach(), self.padding_idx)
        if torch.is_grad_enabled() and self.weight.requires_grad:
            rows.requires_grad_()
            rows.register_post_accumulate_grad_hook(partial(_add_rows, self.weight, ids, self.padding_idx))
        return rows


def add_rows_in_place(model: Any) -> None:
    """Let the backward pass of a model under training add the rows of the token embedding's gradient in place.

    Sharded weights stay as they are, because their gradients are summed over processes as whole tensors. So does a
    module that is no plain embedding, or that does more than look up.

    Args:
        model: of transformers; another one stays as it is.
    """
    find_embedding = getattr(model, "get_input_embeddings", None)
    module: Any = find_embedding() if find_embedding else None
    is_plain = type(module) is torch.nn.Embedding and module.max_norm is None and not module.scale_grad_by_freq
    if not is_plain or not module.weight.requires_grad or is_sharded(module.weight):
        return
    module.__class__ = RowwiseEmbedding  # the same module, so that its name, its weight and what it is tied to stay
    if "_old_forward" in vars(module):  # accelerate, which spreads layers over devices, calls it
        module._old_forward = RowwiseEmbedding.forward.__get__(module)


@torch.no_grad()
def _add_rows(weight: Tensor, ids: Tensor, padding_id: int | None, rows: Tensor) -> None:
    """Add the gradient of rows to that of the weight.

    Where the output head has the same weight, its gradient is there already: it comes first in a backward pass.
    """
    gradient, rows.grad = rows.grad, None
    if gradient is None:
        return
    if padding_id is not None:  # PyTorch does not train the row of this token by its inputs
        gradient = gradient.masked_fill((ids == padding_id)[..., None], 0)
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    # Unlike `index_add_`, it gives the same sum each time on a GPU too.
    weight.grad.index_put_((ids,), gradient.to(weight.grad.dtype), accumulate=True)
