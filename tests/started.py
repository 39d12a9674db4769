"""Processes that start at once: they are forked from one that has imported everything, which takes a new one 6 s.

Each is a process of its own, with its own memory, signals and exit status. Tests of how a program is started, and of
torchrun, start an interpreter instead.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import socket
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from multiprocessing import forkserver
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")


def start_server() -> None:
    """Start the process to fork from, if there is none. It does not take over `sys.path` (Python 3.11)."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    try:
        CONTEXT.set_forkserver_preload(["started_imports"])
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def run_program(words: Sequence[str], environment: dict[str, str], out: str, err: str) -> None:
    """The body of a process: a script with its arguments, or a command of the package."""
    for path, number in ((out, 1), (err, 2)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    import torch

    torch.set_num_threads(1)
    if words[0].endswith(".py"):
        sys.argv, sys.path[:0] = list(words), [str(Path(words[0]).parent)]
        runpy.run_path(words[0], run_name="__main__")
        return
    from video_opd.cli import main

    sys.argv = ["video-opd", *words]
    sys.exit(main(list(words)))


class Started:
    """One process, or the processes of a job, with what they write; used like `subprocess.Popen`."""

    def __init__(self, words: Sequence[Any], num_processes: int | None = None) -> None:
        folder = tempfile.mkdtemp(prefix="started-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.out, self.err = (Path(folder, name) for name in ("out", "err"))
        self.out.touch()
        self.err.touch()
        environments: list[dict[str, str]] = [{}]
        if num_processes is not None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
            shared |= {"WORLD_SIZE": str(num_processes), "LOCAL_WORLD_SIZE": str(num_processes)}
            environments = [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_processes)]
        texts = [str(word) for word in words]
        self.processes = [
            CONTEXT.Process(
                target=run_program, args=(texts, {**os.environ, **environment}, str(self.out), str(self.err))
            )
            for environment in environments
        ]
        start_server()
        for process in self.processes:
            process.start()

    @property
    def pid(self) -> int:
        """Of the first process."""
        assert self.processes[0].pid is not None
        return self.processes[0].pid

    @property
    def returncode(self) -> int | None:
        """Exit status once all have ended: of the first that is not 0; of a signal its number, below 0."""
        codes = [process.exitcode for process in self.processes]
        if None in codes:
            return None
        return next((code for code in codes if code), 0)

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to all that live."""
        for process in self.processes:
            if process.exitcode is None and process.pid is not None:
                os.kill(process.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        for process in self.processes:
            process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        for process in self.processes:
            process.kill()

    def wait(self, timeout: float = 300) -> int:
        """Wait for the end. As torchrun does, one that fails ends the others, after some seconds."""
        until, others_end = time.monotonic() + timeout, None
        while (code := self.returncode) is None:
            if time.monotonic() > until:
                raise TimeoutExpired("started", timeout)
            if others_end is None and any(process.exitcode for process in self.processes):
                others_end = time.monotonic() + 30
            if others_end is not None and time.monotonic() > others_end:
                self.kill()
            time.sleep(0.01)
        return code

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for the end; returns what was written to stdout and stderr."""
        self.wait(timeout)
        return self.out.read_text(encoding="utf-8"), self.err.read_text(encoding="utf-8")
