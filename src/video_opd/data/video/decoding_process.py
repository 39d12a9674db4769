"""A process that decodes videos for another: `python -m video_opd.data.video.decoding_process` with its descriptors.

It imports FFmpeg and numpy, and neither torch nor transformers: it starts in a fraction of a second. The frames go
through memory that both processes map, in the size in which they are stored; they are resized on the other side.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from video_opd.data.video.concealment import follow_log
from video_opd.data.video.picture_folder import decode_video, probe_video
from video_opd.data.video.video_file import MAX_FRAME_PIXELS
from video_opd.data.video.video_sampling import VideoBudget
from video_opd.errors import ConfigurationError, DataError, EngineError, UserError
from video_opd.types import Span

MEMORY_BYTES = 3 * MAX_FRAME_PIXELS
"""Of the memory that both processes map. Only what is written takes room."""
SLOTS, MOST_SLOTS, SMALL_BYTES = 4, 64, 16 << 20
"""Most frames that wait there for the other process; of small ones more, as far as they fit these bytes."""
KINDS: dict[str, type[UserError]] = {kind.__name__: kind for kind in (ConfigurationError, DataError, EngineError)}
"""The errors that a video may cause, by name."""


def open_memory() -> int:
    """The descriptor of memory for frames. It has no name, so that a killed process leaves nothing behind."""
    try:
        descriptor = os.memfd_create("video-opd-frames")
    except (OSError, AttributeError):  # not Linux, or forbidden
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, MEMORY_BYTES)
    return descriptor


class SentFrames:
    """Gives frames to the other process, a few at a time.

    Args:
        connection: to the other process.
        memory: that both processes map.
    """

    def __init__(self, connection: Connection, memory: mmap.mmap) -> None:
        self.connection, self.memory = connection, memory
        self.num_bytes = self.room = self.group = 0
        """Of a frame; frames that may wait; frames after which the other process answers: each answer takes time."""
        self.sent = self.taken = 0

    def begin(self, count: int, height: int, width: int) -> None:
        """Say what comes."""
        self._say({"begin": [count, height, width]})

    def add(self, image: NDArray[np.uint8], places: list[int]) -> None:
        """Write a frame where no frame waits."""
        if image.nbytes != self.num_bytes:
            self._make_places(image.nbytes)
        while self.sent - self.taken >= self.room:
            self._wait()
        at = self.sent % self.room * image.nbytes
        np.copyto(np.frombuffer(self.memory, np.uint8, image.size, at).reshape(image.shape), image)
        self.sent += 1
        self._say({"frame": [at, *image.shape[:2]], "places": places, "answer": self.sent % self.group == 0})

    def finish(self) -> None:
        """Take all answers that come: what comes next is a question."""
        while self.sent - self.taken >= self.group > 0:
            self._wait()

    def _make_places(self, num_bytes: int) -> None:
        """Divide the memory into places of that size, once no frame waits in it."""
        self.finish()
        if self.sent > self.taken:
            self._say({"answer": True})
            self.connection.recv_bytes()
        self.sent = self.taken = 0
        self.num_bytes = num_bytes
        wanted = min(MOST_SLOTS, max(SLOTS, SMALL_BYTES // num_bytes))
        self.room = max(1, min(wanted, MEMORY_BYTES // num_bytes))
        self.group = (self.room + 1) // 2

    def _say(self, content: dict[str, Any]) -> None:
        self.connection.send_bytes(json.dumps(content).encode())

    def _wait(self) -> None:
        self.connection.recv_bytes()
        self.taken += self.group


def serve(connection: Connection, memory: mmap.mmap) -> None:
    """Decode one video after the other until the other process closes the connection.

    Args:
        connection: to the other process.
        memory: that both processes map.
    """
    connection.send_bytes(b"{}")
    while True:
        try:
            asked = json.loads(connection.recv_bytes())
        except EOFError:
            return
        frames, began = SentFrames(connection, memory), time.process_time()
        answer = _answer(frames, asked)
        frames.finish()
        connection.send_bytes(json.dumps(answer | {"cpu_s": time.process_time() - began}).encode())


def _answer(frames: SentFrames, asked: dict[str, Any]) -> dict[str, Any]:
    path, clip = Path(asked["path"]), Span(*asked["clip"]) if asked["clip"] else None
    try:
        if asked["folder"]:
            with contextlib.suppress(OSError):  # then the video is not found, which is said with its path
                os.chdir(asked["folder"])
        if asked["budget"] is None:  # only what the video holds is asked
            return {"info": asdict(probe_video(path, asked["rate"]))}
        times = decode_video(frames, path, VideoBudget(**asked["budget"]), clip, asked["rate"])
    except UserError as error:
        if getattr(error.__cause__, "errno", None) in (errno.ENOMEM, errno.EAGAIN):
            return {"no_memory": True}
        return {"error": [type(error).__name__, error.cause, error.reason, error.remedy]}
    except (MemoryError, BlockingIOError):  # the second where FFmpeg has no memory left for a thread
        return {"no_memory": True}
    except (ConnectionError, EOFError):  # the other process has gone
        raise SystemExit(0) from None
    except Exception:
        return {"bug": traceback.format_exc()}
    return {
        "times_s": times.times_s,
        "duration_s": times.duration_s,
        "indices": times.indices,
        "video_duration_s": times.video_duration_s,
        "num_concealed": times.num_concealed,
    }


def limit_memory(num_bytes: int) -> None:
    """Let this process have no more memory of its own than that; what it maps of files and shares is not counted."""
    import resource  # here: not on Windows, where nothing but the names of this module is used

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_DATA, (num_bytes, num_bytes))
    with contextlib.suppress(OSError):  # not Linux. Where memory ends, this process is the one to go
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def end_with_parent(lifeline: int) -> None:
    """End at once when the other process ends, in the middle of a decoder that hangs as well.

    Args:
        lifeline: what to read from a pipe that the other process holds open and writes nothing to. The system sends
            SIGIO when it is closed, which ends a process.
    """
    import fcntl  # here: not on Windows

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # the other process decides what they mean
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def main() -> None:
    """Serve the process that started this one; the arguments are descriptors, and the most bytes of memory."""
    connection, memory, lifeline, num_bytes = (int(argument) for argument in sys.argv[1:5])
    end_with_parent(lifeline)
    limit_memory(num_bytes)
    follow_log()
    serve(Connection(connection), mmap.mmap(memory, MEMORY_BYTES))


if __name__ == "__main__":
    main()
