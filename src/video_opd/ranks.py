"""The processes of a job that `torchrun` started: the first runs the program, the others lend it their devices.

Only the first process reads recipes and files, renders videos, decides and writes. It sends the others commands: which
part of a batch to read, answer and score, to run a backward pass, to update. Every process carries out its own part
with the same code that one process runs on a whole batch, so nothing has to be agreed on: one process decides.

This module carries commands and replies. A command is a function of what a process keeps, and of its share. It imports
torch only once a job has more than one process.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from textwrap import shorten
from threading import Thread
from typing import Any, NoReturn

from video_opd.errors import ConfigurationError, EngineError, UserError, first_line, is_out_of_memory
from video_opd.host_memory import Offered, is_offer_visible, offer
from video_opd.messages import receive_message, send_message
from video_opd.stop_signals import StopNote, handle_stop_signals
from video_opd.terminal import show

TIMEOUT_VARIABLE = "VIDEO_OPD_REPLY_TIMEOUT_S"
"""Environment variable: how long the first process waits for the reply to a command, in seconds."""

_SPEAKS_AFTER_S = 5.0
"""How long a process that failed lets the first one speak in its place."""

_FOREVER = timedelta(days=30)
"""A process without work waits for as long as the first one is alive: when that dies, the connection closes."""

Command = Callable[[dict[str, Any], Any], Any]


def num_started() -> int:
    """Processes that were started for this job, by what `torchrun` puts into the environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def find_reply_timeout() -> timedelta:
    """How long the first process waits for the reply to a command before it takes the other process for hung.

    Raises:
        ConfigurationError: the environment variable is not a number of seconds.
    """
    given = os.environ.get(TIMEOUT_VARIABLE, "1800")
    try:
        seconds = timedelta(seconds=float(given))
    except (ValueError, OverflowError):
        seconds = timedelta(0)
    if not timedelta(0) < seconds <= _FOREVER:
        raise ConfigurationError(
            f"{TIMEOUT_VARIABLE} = {given!r}",
            reason="this is not a number of seconds above 0",
            remedy="give the seconds after which a process that does not reply ends the job, or unset it for 1800",
        )
    return seconds


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
    neighbours: frozenset[int] = frozenset()
    """Processes of the same machine, which map large tensors in place of receiving them."""
    offered: list[Offered] = field(default_factory=list)
    """Memory that other processes may map, until they reply."""
    is_busy: bool = False
    """The first process carries out its own share of a command, and so is one of many."""
    stop_note: StopNote = field(default_factory=StopNote)
    """A signal that asked this process to stop, where it serves the first one."""
    signal_number: int | None = None
    """On the first process: a signal that asked another one to stop."""
    has_failed: bool = False
    """A command has failed. The processes are at different places now, so the job must end."""
    is_asked_for_signals: bool = False
    """The training loop looks at `signal_number` between its steps."""
    reply_timeout: timedelta = field(default_factory=find_reply_timeout)

    def call(self, command: Command, shares: Sequence[Any]) -> list[Any]:
        """Have every process carry out a command on its share; returns the replies in the order of the processes.

        Args:
            command: a function at the top of a module, called with what a process keeps and its share.
            shares: one for each process, of anything that can be pickled; tensors arrive on the CPU.

        Raises:
            EngineError: a process has died or does not reply.
            UserError: what the command raised, here or there.
        """
        before = self.signal_number
        try:
            replies = self._collect_replies(command, shares)
        except BaseException:
            self.has_failed = True
            raise
        while self.offered:
            self.offered.pop().withdraw()  # whoever replied has mapped what was offered
        if self.signal_number and not before and not self.is_asked_for_signals:
            signal.raise_signal(self.signal_number)
        return replies

    def _collect_replies(self, command: Command, shares: Sequence[Any]) -> list[Any]:
        for rank in range(1, self.size):
            self._send((command, shares[rank]), rank)
        self.is_busy = True
        try:
            replies = [command(self.kept, shares[0])]
        except RuntimeError as error:
            if not _is_lost_connection(error):
                raise
            raise self._lost(None, error) from error
        finally:
            self.is_busy = False
        for rank in range(1, self.size):
            reply, failure, signal_number = self._receive(rank, self.reply_timeout)
            if failure is not None:
                raise failure
            self.signal_number = self.signal_number or signal_number  # to one process of the job is to the job
            replies.append(reply)
        return replies

    def find_neighbours(self) -> None:
        """Find out which processes can map memory of this one, by letting each of them look for a random text there."""
        import torch

        content = os.urandom(32)
        if (offered := offer(torch.frombuffer(bytearray(content), dtype=torch.uint8))) is None:
            return
        seen = self.call_all(is_seen_here, (offered, content))
        self.neighbours = frozenset(rank for rank, is_seen in enumerate(seen) if is_seen)
        offered.withdraw()

    def call_all(self, command: Command, share: Any = None) -> list[Any]:
        """The same with one share for all."""
        return self.call(command, [share] * self.size)

    def serve(self) -> int:
        """Carry out commands until the first process ends; returns the exit status that it ends with."""
        while True:
            try:
                command, share = self._receive(0, _FOREVER)
            except EngineError:  # the first process ended without a word here; it has said why
                self._end_after_another()
            if command is None:
                return int(share)
            self._carry_out(command, share)

    def dismiss(self, status: int) -> None:
        """Let the other processes end with an exit status."""
        for rank in range(1, self.size):
            self._send((None, status), rank)

    def _carry_out(self, command: Command, share: Any) -> None:
        try:
            reply = command(self.kept, share)
        except Exception as error:
            if _is_lost_connection(error):
                if "NCCL" in str(error):  # it may have failed here, such as on the network between two machines
                    show(f"video-opd: process {self.rank + 1} of {self.size}: {error}", file=sys.stderr, flush=True)
                self._end_after_another()
            self._fail(self._explain(error))
        self._send((reply, None, self.stop_note.number), 0)

    def _explain(self, error: Exception) -> UserError:
        """The failure of this process, as the first one tells it. A bug keeps its traceback."""
        who = f"process {self.rank + 1} of {self.size}"
        if isinstance(error, UserError):
            return error
        if is_out_of_memory(error):
            return EngineError(
                f"the memory of the device is full on {who}",
                reason=first_line(error),
                remedy="lower the batch size (compute.evaluation_batch_size in a recipe, --batch-size of score and "
                "evaluate), or split the weights over more processes; the same command then goes on",
            )
        show(traceback.format_exc(), end="", file=sys.stderr)
        return EngineError(
            f"{who} failed: {type(error).__name__}: {error}",
            reason="the job cannot go on without it",
            remedy="run the same command again; the output above says where it failed",
        )

    def _fail(self, failure: UserError) -> NoReturn:
        """End this process. The first one tells why, or this one where the first waits for it in a pass."""
        telling = Thread(target=self._tell_first, args=(failure,), daemon=True)
        telling.start()
        telling.join(_SPEAKS_AFTER_S)
        if telling.is_alive():
            show(f"video-opd: process {self.rank + 1} of {self.size}: {failure}", file=sys.stderr, flush=True)
        os._exit(2)

    def _tell_first(self, failure: UserError) -> None:
        with suppress(EngineError):  # it has failed itself, and said so
            self._send((None, failure, None), 0)

    def _end_after_another(self) -> NoReturn:
        """Another process has ended, and the first one has said why."""
        os._exit(1 if self.stop_note.number is None else 128 + self.stop_note.number)

    def _send(self, message: Any, to: int) -> None:
        try:
            self.offered += send_message(message, to, self.control, is_near=to in self.neighbours)
        except RuntimeError as error:
            raise self._lost(to, error) from error

    def _receive(self, source: int, timeout: timedelta) -> Any:
        try:
            return receive_message(source, self.control, timeout)
        except RuntimeError as error:
            raise self._lost(source, error) from error

    def _lost(self, rank: int | None, error: BaseException) -> EngineError:
        which = "a process of this job" if rank is None else f"process {rank + 1} of {self.size}"
        cause = f" ({shorten(str(error), 300, placeholder=' …')})" if "NCCL" in str(error) else ""
        return EngineError(
            f"{which} is lost",
            reason=f"it died, or did not reply within {self.reply_timeout.total_seconds():g} s{cause}",
            remedy="look at its output above, and run the same command again: it goes on from the newest checkpoint",
        )

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Remember what asks for a stop inside the block; the first process is told with the next reply and decides."""
        with handle_stop_signals(lambda number, frame: self.stop_note.take(number, frame)):
            yield


def _is_lost_connection(error: BaseException) -> bool:
    """Whether torch says that another process of the job has ended or does not answer."""
    from torch import distributed

    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "Connection" in str(error))
    )


def is_seen_here(_: dict[str, Any], share: tuple[Offered, bytes]) -> bool:
    """Whether this process sees what the first one offers."""
    return is_offer_visible(*share)


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
    is_new = not _JOINED
    if is_new:
        _JOINED.append(_join(device))
    ranks = _JOINED[0]
    if ranks.rank > 0:
        logging.disable(logging.WARNING)  # the first process says it once
        with ranks.heeding_signals():
            status = ranks.serve()
        leave_job()
        sys.exit(status)
    if is_new:
        ranks.find_neighbours()
    return ranks


def current_job() -> Ranks | None:
    """The job that this process leads; None where it is alone, or carries out a command of the first process."""
    return _JOINED[0] if _JOINED and _JOINED[0].rank == 0 and not _JOINED[0].is_busy else None


def leave_job(status: int = 0) -> None:
    """End the job: the first process dismisses the others. Does nothing where this process is alone.

    Args:
        status: exit status of all processes.
    """
    if _JOINED:
        ranks = _JOINED.pop()
        if ranks.rank == 0:
            ranks.dismiss(status)
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
                remedy=f"start {num_gpus} with `--nproc-per-node`, or set compute.device to cpu",
            )
            if rank and not local:  # of another machine than the first process
                show(f"video-opd: {error}", file=sys.stderr, flush=True)
            raise error
        torch.cuda.set_device(local)
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, timeout=find_reply_timeout())
    # A process waits for commands for as long as the first one lives.
    control = distributed.new_group(backend="gloo", timeout=_FOREVER)
    return Ranks(rank=rank, size=size, control=control)
