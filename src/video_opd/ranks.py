"""The processes of a job that `torchrun` started: the first runs the program, the others lend it their devices.

Only the first process reads recipes and files, renders videos, decides and writes. It sends the others commands: which
part of a batch to read, answer and score, to run a backward pass, to update. Every process carries out its own part
with the same code that one process runs on a whole batch, so nothing has to be agreed on: one process decides.

This module carries commands and replies. A command is a function of what a process keeps, and of its share. It imports
torch only once a job has more than one process.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any

from video_opd.errors import ConfigurationError, EngineError, UserError

if TYPE_CHECKING:
    from torch import Tensor

REPLY_TIMEOUT_S = 1800.0
"""How long the first process waits for the reply to a command before it takes the other process for hung."""

_FOREVER = timedelta(days=30)
"""A process without work waits for as long as the first one is alive: when that dies, the connection closes."""

Command = Callable[[dict[str, Any], Any], Any]


def num_started() -> int:
    """Processes that were started for this job, by what `torchrun` puts into the environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def num_processes() -> int:
    """Processes that this one shares its work with, itself included; 1 until it has joined them."""
    return _JOINED[0].size if _JOINED else 1


def is_first_process() -> bool:
    """Whether this process is the one that decides and writes."""
    return int(os.environ.get("RANK", "0")) == 0


@dataclass(kw_only=True, eq=False)
class Ranks:
    """A process's view of its job.

    `call` sends commands and is for the first process; `serve` carries them out and is for the others.
    """

    rank: int
    size: int
    control: Any = None
    """The group of processes that commands and replies go through, on the CPU."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What this process keeps from one command to the next, such as its shard of a model."""
    is_busy: bool = False
    """The first process carries out its own share of a command, and so is one of many."""
    signal_number: int | None = None
    """A signal that asked this process to stop; on the first one also a signal that came to another."""

    def call(self, command: Command, shares: Sequence[Any]) -> list[Any]:
        """Have every process carry out a command on its share; returns the replies in the order of the processes.

        Args:
            command: a function at the top of a module, called with what a process keeps and its share.
            shares: one for each process, of anything that can be pickled; tensors arrive on the CPU.

        Raises:
            EngineError: a process has died or does not reply.
            UserError: what the command raised, here or there.
        """
        for rank in range(1, self.size):
            self._send((command, shares[rank]), rank)
        self.is_busy = True
        try:
            replies = [command(self.kept, shares[0])]
        except RuntimeError as error:
            if not _is_lost_connection(error):
                raise
            raise self._lost(None) from error
        finally:
            self.is_busy = False
        for rank in range(1, self.size):
            reply, failure, signal_number = self._receive(rank, timedelta(seconds=REPLY_TIMEOUT_S))
            if failure is not None:
                raise failure
            self.signal_number = self.signal_number or signal_number  # to one process of the job is to the job
            replies.append(reply)
        return replies

    def call_all(self, command: Command, share: Any = None) -> list[Any]:
        """The same with one share for all."""
        return self.call(command, [share] * self.size)

    def serve(self) -> None:
        """Carry out commands until the first process ends."""
        while True:
            try:
                command, share = self._receive(0, _FOREVER)
            except EngineError:  # the first process ended without a word here; it has said why
                os._exit(1)
            if command is None:
                return
            self._carry_out(command, share)

    def dismiss(self) -> None:
        """Let the other processes end."""
        for rank in range(1, self.size):
            self._send((None, None), rank)

    def _carry_out(self, command: Command, share: Any) -> None:
        try:
            reply = command(self.kept, share)
        except Exception as error:
            failure = error if isinstance(error, UserError) else None
            if failure is None and _is_lost_connection(error):
                os._exit(1)  # another process has ended, and the first one says so
            if failure is None:
                traceback.print_exc()
                failure = EngineError(
                    f"process {self.rank + 1} of {self.size} failed: {type(error).__name__}: {error}",
                    reason="the job cannot go on without it",
                    remedy="run the same command again; its output above says where it failed",
                )
            self._send((None, failure, None), 0)
            # The first process speaks first. It may wait for this one in a collective operation; then it never does.
            time.sleep(2)
            print(f"video-opd: process {self.rank + 1} of {self.size}: {failure}", file=sys.stderr, flush=True)
            os._exit(2)
        self._send((reply, None, self.signal_number), 0)

    def _send(self, message: Any, to: int) -> None:
        import torch
        from torch import distributed

        payload, tensors = _pack(message)
        sizes = [len(payload), *(tensor.numel() for tensor in tensors)]
        try:
            distributed.send(torch.tensor([len(sizes)]), to, group=self.control)
            distributed.send(torch.tensor(sizes), to, group=self.control)
            for part in (torch.frombuffer(bytearray(payload), dtype=torch.uint8), *tensors):
                if part.numel():
                    distributed.send(part, to, group=self.control)
        except RuntimeError as error:
            raise self._lost(to) from error

    def _receive(self, source: int, timeout: timedelta) -> Any:
        import torch
        from torch import distributed

        def receive(count: int, dtype: torch.dtype = torch.uint8) -> Tensor:
            tensor = torch.empty(count, dtype=dtype)
            if count:
                work = distributed.irecv(tensor, source, group=self.control)
                assert work is not None
                work.wait(timeout)
            return tensor

        try:
            (count,) = receive(1, torch.long).tolist()
            payload, *tensors = map(receive, receive(count, torch.long).tolist())
        except RuntimeError as error:
            raise self._lost(source) from error
        return _Unpacker(io.BytesIO(payload.numpy().tobytes()), tensors).load()

    def _lost(self, rank: int | None) -> EngineError:
        which = "a process of this job" if rank is None else f"process {rank + 1} of {self.size}"
        return EngineError(
            f"{which} is lost",
            reason=f"it died, or did not reply within {REPLY_TIMEOUT_S:.0f} s",
            remedy="look at its output above, and run the same command again: it goes on from the newest checkpoint",
        )

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Remember SIGTERM and SIGINT inside the block; the first process is told with the next reply and decides."""

        def note(number: int, _: FrameType | None) -> None:
            if self.signal_number is not None:
                os._exit(128 + number)  # a second one is not asked
            self.signal_number = number

        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _is_lost_connection(error: BaseException) -> bool:
    """Whether torch says that another process of the job has ended or does not answer."""
    from torch import distributed

    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "Connection" in str(error))
    )


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


def _pack(message: Any) -> tuple[bytes, list[Tensor]]:
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(message)
    return file.getvalue(), packer.tensors


_JOINED: list[Ranks] = []


def join_job(device: str) -> Ranks | None:
    """Join the processes of this job. Returns on the first one; the others serve it, and end when it ends.

    Args:
        device: `cpu`, or `cuda`, where every process takes the GPU of its number on its machine.

    Returns:
        None where this process is alone.

    Raises:
        ConfigurationError: a process has no GPU.
    """
    if num_started() == 1:
        return None
    if not _JOINED:
        _JOINED.append(_join(device))
    ranks = _JOINED[0]
    if ranks.rank > 0:
        logging.disable(logging.WARNING)  # the first process says it once
        with ranks.heeding_signals():
            ranks.serve()
        leave_job()
        sys.exit(0)
    return ranks


def current_job() -> Ranks | None:
    """The job that this process leads; None where it is alone, or carries out a command of the first process."""
    return _JOINED[0] if _JOINED and _JOINED[0].rank == 0 and not _JOINED[0].is_busy else None


def leave_job() -> None:
    """End the job: the first process dismisses the others. Does nothing where this process is alone."""
    if _JOINED:
        ranks = _JOINED.pop()
        if ranks.rank == 0:
            ranks.dismiss()
        from torch import distributed

        distributed.destroy_process_group()


def _join(device: str) -> Ranks:
    import torch
    from torch import distributed

    # Every block of a model gives a view where its tensors are tied; nothing here changes one in place.
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module .* returned a view tensor")
    rank, size, local = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if device.startswith("cuda"):
        here, num_gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if max(here, local + 1) > num_gpus:  # all processes of the machine stop, the first one among them
            error = ConfigurationError(
                f"{here} processes on a machine with {num_gpus} GPUs",
                reason="every process of a job needs a GPU of its own",
                remedy=f"start {num_gpus} with --nproc-per-node, or set compute.device to cpu",
            )
            if rank and not local:  # of another machine than the first process
                print(f"video-opd: {error}", file=sys.stderr, flush=True)
            raise error
        torch.cuda.set_device(local)
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(seconds=REPLY_TIMEOUT_S))
    # A process waits for commands for as long as the first one lives.
    control = distributed.new_group(backend="gloo", timeout=_FOREVER)
    return Ranks(rank=rank, size=size, control=control)
