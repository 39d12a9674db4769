"""A message from one process of a job to another: tensors travel as they are, the rest is pickled."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from video_opd.host_memory import LARGE, Offered, map_offered, offer

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


def send_message(message: Any, to: int, group: Any, *, is_near: bool) -> list[Offered]:
    """Send a message.

    Args:
        message: anything that can be pickled.
        to: number of the process.
        group: of processes, on the CPU.
        is_near: the process can map memory of this one.

    Returns:
        the memory that the process will map; it can be withdrawn once it has replied.
    """
    import torch
    from torch import distributed

    payload, tensors = pack_message(message)
    parts = [torch.frombuffer(bytearray(payload), dtype=torch.uint8), *tensors]
    offers = [offer(part) if is_near and part.numel() >= LARGE else None for part in parts]
    head = [(part.numel(), *(offered[:2] if offered else (0, 0))) for part, offered in zip(parts, offers, strict=True)]
    distributed.send(torch.tensor([len(head)]), to, group=group)
    distributed.send(torch.tensor(head), to, group=group)
    for part, offered in zip(parts, offers, strict=True):
        if part.numel() and offered is None:
            distributed.send(part, to, group=group)
    return [offered for offered in offers if offered is not None]


def receive_message(source: int, group: Any, timeout: timedelta) -> Any:
    """Receive what `send_message` sent; tensors are on the CPU.

    Args:
        source: number of the process.
        group: of processes, on the CPU.
        timeout: how long to wait for each part.
    """
    import torch
    from torch import distributed

    def receive(count: int, dtype: torch.dtype = torch.uint8) -> Tensor:
        tensor = torch.empty(count, dtype=dtype)
        if count:
            work = distributed.irecv(tensor, source, group=group)
            assert work is not None
            work.wait(timeout)
        return tensor

    (count,) = receive(1, torch.long).tolist()
    head = receive(3 * count, torch.long).reshape(-1, 3).tolist()
    payload, *tensors = (
        map_offered(Offered(process=process, descriptor=descriptor, size=size)) if process else receive(size)
        for size, process, descriptor in head
    )
    return unpack_message(payload.numpy().tobytes(), tensors)
