"""Whole distributions, B x T x V, some rows at a time: of a large vocabulary every copy takes hundreds of MB."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
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


def _sum_rows(compute: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor) -> Tensor:
    """Sum a function of both over the last dimension: (..., V) twice -> (...)."""
    parts = [compute(mine, other).sum(dim=-1) for mine, other in split_rows(student, teacher)]
    return torch.cat(parts).view(student.shape[:-1])


class ReverseKL(torch.autograd.Function):
    """`sum(exp(student) * (student - teacher))` over the last dimension. Only its two inputs are kept for the backward
    pass; the teacher gets no gradient."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        """(..., V) twice -> (...)."""
        ctx.save_for_backward(student, teacher)
        return _sum_rows(lambda mine, other: mine.exp() * (mine - other), student, teacher)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Through the probabilities and through the logarithms."""
        student, teacher = ctx.saved_tensors
        result = torch.empty_like(student, memory_format=torch.contiguous_format)
        for mine, other, gradient, out in split_rows(student, teacher, gradients[0][..., None], result):
            torch.mul(mine.exp() * (mine - other + 1), gradient, out=out)
        return result, None


class ForwardKL(torch.autograd.Function):
    """`sum(exp(teacher) * (teacher - student))` over the last dimension. Only the teacher is kept for the backward
    pass; it gets no gradient."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        """(..., V) twice -> (...)."""
        ctx.save_for_backward(teacher)
        return _sum_rows(lambda mine, other: other.exp() * (other - mine), student, teacher)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Minus the teacher's probabilities."""
        (teacher,) = ctx.saved_tensors
        result = torch.empty_like(teacher, memory_format=torch.contiguous_format)
        for other, gradient, out in split_rows(teacher, gradients[0][..., None], result):
            torch.mul(other.exp(), -gradient, out=out)
        return result, None


class JensenShannon(torch.autograd.Function):
    """`beta * KL(teacher || mixture) + (1 - beta) * KL(student || mixture)` over the last dimension, where the mixture
    is `beta * teacher + (1 - beta) * student`. Only its two inputs are kept for the backward pass; the teacher gets no
    gradient."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, beta: float) -> Tensor:
        """(..., V) twice -> (...).

        Args:
            ctx: of torch.
            student: log-probs.
            teacher: log-probs.
            beta: weight of the teacher in the mixture, strictly between 0 and 1.
        """
        ctx.save_for_backward(student, teacher)
        ctx.beta = beta

        def compute(mine: Tensor, other: Tensor) -> Tensor:
            mixture = _mix(mine, other, beta)
            return beta * other.exp() * (other - mixture) + (1 - beta) * mine.exp() * (mine - mixture)

        return _sum_rows(compute, student, teacher)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The terms through the mixture add up to a constant that cancels against that of the student's logarithm."""
        student, teacher = ctx.saved_tensors
        result = torch.empty_like(student, memory_format=torch.contiguous_format)
        for mine, other, gradient, out in split_rows(student, teacher, gradients[0][..., None], result):
            slope = (1 - ctx.beta) * mine.exp() * (mine - _mix(mine, other, ctx.beta))
            torch.mul(slope, gradient, out=out)
        return result, None, None


def _mix(mine: Tensor, other: Tensor, beta: float) -> Tensor:
    """`log(beta * exp(other) + (1 - beta) * exp(mine))`, also where both probabilities are too small for a float."""
    return torch.logaddexp(other + math.log(beta), mine + math.log1p(-beta))
