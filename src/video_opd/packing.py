"""How a message from one process of a job to another is packed: tensors travel as they are, the rest is pickled."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class _Packer(pickle.Pickler):
    """Takes the tensors out of what it pickles."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.tensors: list[Tensor] = []

    def persistent_id(self, obj: Any) -> tuple[int, tuple[int, ...], Any] | None:
        """The place, shape and type of a tensor; None for anything else."""
        import torch

        if not isinstance(obj, torch.Tensor):
            return None
        self.tensors.append(obj.detach().cpu().contiguous().reshape(-1).view(torch.uint8))
        return len(self.tensors) - 1, tuple(obj.shape), obj.dtype


class _Unpacker(pickle.Unpickler):
    """Puts the tensors back. What it reads comes from a process of the same job."""

    def __init__(self, file: io.BytesIO, tensors: Sequence[Tensor]) -> None:
        super().__init__(file)
        self.tensors = tensors

    def persistent_load(self, pid: Any) -> Tensor:
        """The tensor of that place, in its shape and type."""
        place, shape, dtype = pid
        return self.tensors[place].view(dtype).reshape(shape)


def pack_message(message: Any) -> tuple[bytes, list[Tensor]]:
    """A message as bytes, and its tensors apart, as bytes on the CPU."""
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(message)
    return file.getvalue(), packer.tensors


def unpack_message(payload: bytes, tensors: Sequence[Tensor]) -> Any:
    """The message that `pack_message` packed."""
    return _Unpacker(io.BytesIO(payload), tensors).load()
