"""What several processes made of parts of a batch, as one record of the whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

Part = TypeVar("Part")


def merge(parts: Sequence[Part]) -> Part:
    """Join records of one kind, part after part: tuples are put together, tensors (B, T, …) padded to one T and joined.

    Padding is 0 or False, as it is behind the end of an answer. A field that is None in the parts stays so.

    Args:
        parts: at least one; dataclasses of tuples, tensors (B, …), None and such dataclasses again.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if not is_dataclass(first):
        raise TypeError(f"records of {type(first).__name__} cannot be joined")
    values = {field.name: [getattr(part, field.name) for part in parts] for field in fields(first)}
    make: Any = type(first)
    joined: Part = make(**{name: _join(each) for name, each in values.items()})
    return joined


def _join(values: Sequence[Any]) -> Any:
    first = values[0]
    if first is None:
        return None
    if isinstance(first, tuple):
        return tuple(item for value in values for item in value)
    if isinstance(first, Tensor):
        longest = max(value.shape[1] for value in values)
        behind = [(0, 0) * (value.dim() - 2) + (0, longest - value.shape[1]) for value in values]
        # What came from other processes lies on the CPU, whatever device it was made on.
        here = [value.to(first.device) for value in values]
        return torch.cat([pad(value, widths) for value, widths in zip(here, behind, strict=True)])
    return merge(values)
