"""Whole distributions, B x T x V, some rows at a time: of a large vocabulary every copy takes hundreds of MB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

VALUES_AT_ONCE = 2**20
"""Values that a piece holds at most, 4 MB in float32, or one row where that is more."""


def split_rows(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Go through tensors of (..., size) in step, in pieces of (rows, size); views where a tensor is contiguous.

    Args:
        tensors: alike but for their last dimension.
    """
    rows = max(1, VALUES_AT_ONCE // max(tensor.shape[-1] for tensor in tensors))
    return zip(*(tensor.reshape(-1, tensor.shape[-1]).split(rows) for tensor in tensors), strict=True)


class ReverseKL(torch.autograd.Function):
    """`sum(exp(student) * (student - teacher))` over the last dimension. Only its two inputs are kept for the backward
    pass; the teacher gets no gradient."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        """(..., V) twice -> (...)."""
        ctx.save_for_backward(student, teacher)
        parts = [(mine.exp() * (mine - other)).sum(dim=-1) for mine, other in split_rows(student, teacher)]
        return torch.cat(parts).view(student.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Through the probabilities and through the logarithms."""
        student, teacher = ctx.saved_tensors
        result = torch.empty_like(student, memory_format=torch.contiguous_format)
        for mine, other, gradient, out in split_rows(student, teacher, gradients[0][..., None], result):
            torch.mul(mine.exp() * (mine - other + 1), gradient, out=out)
        return result, None
