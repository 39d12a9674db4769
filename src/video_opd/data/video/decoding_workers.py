"""Decodes videos in processes of their own, with limits: a decoder that hangs, aborts or eats memory costs one clip.

The frames are the same, bit for bit, as those that `read_video` gives.
"""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import asdict
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np

from video_opd.child_environment import make_child_environment
from video_opd.data.video.decoding_process import KINDS, MEMORY_BYTES, open_memory
from video_opd.data.video.idle_decoders import leave_idle, take_idle
from video_opd.data.video.picture_folder import probe_video, read_video
from video_opd.data.video.video_io import Frames, FrameTimes, KeptFrames, VideoBudget, VideoInfo
from video_opd.errors import DataError
from video_opd.types import Span

_log = logging.getLogger(__name__)

SILENCE_S = 600.0
"""Most seconds in which no frame comes out of a decoder."""
CLIP_S = 3600.0
"""Most seconds for one clip. It was not measured how long a film of several hours takes on a busy machine."""
CLIP_BYTES = 4 << 30
"""Most memory of a decoder; clips of 640 x 360 need 23 MB."""
START_S = 120.0
"""Most seconds in which a process starts."""
PROGRAM = ("-m", "video_opd.data.video.decoding_process")
"""What a process runs."""
_ALONE = "Re-encode the video or leave the row out; --decode-here decodes without these limits"
_VARIABLE = "VIDEO_OPD_DECODE_HERE"


def decode_here() -> None:
    """Decode in this process from now on, without limits on time and memory, and in those that it starts."""
    os.environ[_VARIABLE] = "1"


def is_decoding_here() -> bool:
    """Whether `decode_here` was called, or the environment asks for the same."""
    return os.environ.get(_VARIABLE) == "1"


class WorkerDied(Exception):
    """A decoding process ended by itself."""


class NotStarted(Exception):
    """A decoding process cannot be started here."""


class DecodingWorker:
    """One process that decodes.

    Args:
        num_bytes: most memory of the process.

    Raises:
        NotStarted: it does not start.
    """

    def __init__(self, num_bytes: int = CLIP_BYTES) -> None:
        self.kind, self.num_asked = self.describe(num_bytes), 0
        self.connection, theirs = Pipe()
        their_end, self.lifeline = os.pipe()
        descriptor = open_memory()
        given = (theirs.fileno(), descriptor, their_end)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", *PROGRAM, *map(str, given), str(num_bytes)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=given,
                env=make_child_environment(OPENBLAS_NUM_THREADS="1"),
            )
            self.memory = mmap.mmap(descriptor, MEMORY_BYTES)
        except (OSError, ValueError) as error:  # ValueError: Windows gives no descriptors away
            self.connection.close()
            os.close(self.lifeline)
            raise NotStarted(str(error)) from error
        finally:
            theirs.close()
            os.close(their_end)
            os.close(descriptor)
        try:
            self._receive(time.monotonic() + START_S)
        except (TimeoutError, WorkerDied) as error:
            self.kill()
            raise NotStarted(f"the process ended with status {self.process.returncode}") from error

    @staticmethod
    def describe(num_bytes: int) -> tuple[object, ...]:
        """What a process is that could take the place of another: its parent, its program and its limit."""
        return os.getpid(), PROGRAM, num_bytes

    def read(self, asked: dict[str, Any], silence_s: float, clip_s: float, kept: KeptFrames) -> dict[str, Any]:
        """What the process says in the end.

        Args:
            asked: which frames of which video.
            silence_s: most seconds without a frame.
            clip_s: most seconds for the clip.
            kept: takes the frames that it gives.

        Raises:
            TimeoutError: it takes longer than a limit allows.
            WorkerDied: it ended.
        """
        self.num_asked += 1
        until = time.monotonic() + clip_s
        self._send(json.dumps(asked).encode())
        while True:
            said = self._receive(min(until, time.monotonic() + silence_s))
            if "begin" in said:
                kept.begin(*said["begin"])
                continue
            if "frame" in said:
                at, height, width = said["frame"]
                image = np.frombuffer(self.memory, np.uint8, height * width * 3, at).reshape(height, width, 3)
                kept.add(image, said["places"])
            if "answer" not in said:
                return said
            if said["answer"]:
                self._send(b"taken")

    def _send(self, content: bytes) -> None:
        try:
            self.connection.send_bytes(content)
        except OSError as error:
            raise WorkerDied from error

    def _receive(self, until: float) -> Any:
        try:
            if not self.connection.poll(max(0.0, until - time.monotonic())):
                raise TimeoutError
            return json.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionError) as error:
            raise WorkerDied from error

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
        with contextlib.suppress(BufferError):  # a frame that is being read is part of it
            self.memory.close()
        with contextlib.suppress(OSError):
            os.close(self.lifeline)


class DecodingWorkers:
    """As many decoding processes as there are callers at the same time; the next caller gets one that is free.

    Args:
        silence_s: most seconds without a frame.
        clip_s: most seconds for a clip.
        num_bytes: most memory of a process.
        keep: makes what takes the frames of a video and resizes them.
        may_decode_here: whether videos are decoded in this process where that is asked for, or no other can be
            started. Without it, to read a video raises `NotStarted` then.
    """

    def __init__(
        self,
        silence_s: float = SILENCE_S,
        clip_s: float = CLIP_S,
        num_bytes: int = CLIP_BYTES,
        *,
        keep: Callable[[], KeptFrames] = KeptFrames,
        may_decode_here: bool = True,
    ) -> None:
        self.silence_s, self.clip_s, self.num_bytes, self.keep = silence_s, clip_s, num_bytes, keep
        self._free: list[DecodingWorker] = []
        self._busy: set[DecodingWorker] = set()
        self._is_closed = False
        self._lock = threading.Lock()
        self._spent = threading.local()
        self._may_decode_here = may_decode_here
        self._here = may_decode_here and is_decoding_here()
        """Whether videos are decoded in this process: it is asked for, or no other can be started."""

    def read_video(
        self, path: Path, budget: VideoBudget, clip: Span | None = None, frame_rate: float | None = None
    ) -> Frames:
        """Read the frames of a video, as `picture_folder.read_video`.

        Args:
            path: of the file or folder.
            budget: how many frames and tokens the model may see.
            clip: the part that counts, in seconds from the first frame; None: all of it.
            frame_rate: pictures per second of a folder; None: it is a file.

        Raises:
            DataError: the video cannot be used, or its decoder hangs, aborts or wants too much memory.
            EngineError: the budget cannot hold the frames.
        """
        part = [clip.start_s, clip.end_s] if clip else None
        said, kept = self._ask_or_not(path, {"budget": asdict(budget), "clip": part, "rate": frame_rate})
        if said is None:
            return read_video(path, budget, clip, frame_rate)
        times = FrameTimes(
            times_s=tuple(said["times_s"]),
            duration_s=said["duration_s"],
            indices=tuple(said["indices"]),
            video_duration_s=said["video_duration_s"],
            num_concealed=said["num_concealed"],
        )
        return kept.join(times)

    def probe_video(self, path: Path) -> VideoInfo:
        """Find out what a video file holds, as `picture_folder.probe_video`.

        Raises:
            DataError: as `read_video`.
        """
        said, _ = self._ask_or_not(path, {"budget": None, "clip": None, "rate": None})
        return probe_video(path) if said is None else VideoInfo(**said["info"])

    def take_cpu_seconds(self) -> float:
        """CPU seconds that the process took for the video that this thread read last, once."""
        seconds: float = getattr(self._spent, "cpu_s", 0.0)
        self._spent.cpu_s = 0.0
        return seconds

    def _ask_or_not(self, path: Path, what: dict[str, Any]) -> tuple[dict[str, Any] | None, KeptFrames]:
        """The answer of a process to a question that it could answer; None: videos are decoded in this process."""
        # The process may be older than a change of the current folder.
        asked = {"path": os.fspath(path), "folder": _find_current_folder(), **what}
        try:
            said, kept = self._ask(path, asked)
        except NotStarted as error:
            if not self._may_decode_here:
                raise
            self._here = True
            _log.warning("videos are decoded in this process, without limits on time and memory: %s", error)
            return None, KeptFrames()
        if said is None:
            return None, kept
        self._spent.cpu_s = said["cpu_s"]
        if "bug" in said:
            raise RuntimeError(f"a decoding process failed\n{said['bug']}")
        if "no_memory" in said:
            raise _limit_error(path, f"more than {self.num_bytes / 2**30:.3g} GiB of memory")
        if "error" in said:
            kind, cause, reason, remedy = said["error"]
            raise KINDS[kind](cause, reason=reason, remedy=remedy)
        return said, kept

    def _ask(self, path: Path, asked: dict[str, Any]) -> tuple[dict[str, Any] | None, KeptFrames]:
        """Ask a process, and another one if it ended: it may have been killed for no fault of the video. Where one that
        has decoded other videos runs out of memory, what it kept of them may be the cause, so another one is asked."""
        num_ended = status = 0
        while num_ended < 2:
            if self._here:
                return None, KeptFrames()
            worker, kept, is_well = self._take_worker(), self.keep(), False
            try:
                said = worker.read(asked, self.silence_s, self.clip_s, kept)
                is_well = "no_memory" not in said
                if is_well or worker.num_asked == 1:
                    return said, kept
            except TimeoutError:
                what = f"more than {self.clip_s:g} s, or more than {self.silence_s:g} s for a frame"
                raise _limit_error(path, what) from None
            except WorkerDied:
                status, num_ended = worker.process.wait(), num_ended + 1
            finally:
                self._give_back(worker, is_well=is_well)
        raise DataError(
            f"{path}: its decoder ended twice, with {_describe_status(status)}",
            reason="a file that ends the decoder is damaged, or made to do harm",
            remedy="Download the video again, or leave the row out",
        )

    def _take_worker(self) -> DecodingWorker:
        with self._lock:
            if self._is_closed:
                raise CancelledError
            ended = [each for each in self._free if each.process.poll() is not None]
            self._free = [each for each in self._free if each not in ended]
            worker = self._free.pop() if self._free else None
        for each in ended:  # not by the video that is asked for now
            each.kill()
        worker = worker or take_idle(DecodingWorker.describe(self.num_bytes)) or DecodingWorker(self.num_bytes)
        with self._lock:
            self._busy.add(worker)
            if self._is_closed:
                worker.process.kill()
        return worker

    def _give_back(self, worker: DecodingWorker, *, is_well: bool) -> None:
        with self._lock:
            self._busy.discard(worker)
            if is_well and not self._is_closed:
                self._free.append(worker)
                return
        worker.kill()

    def close(self) -> None:
        """End busy processes, whose readers get a `CancelledError`. The others wait for the next reader."""
        with self._lock:
            self._is_closed = True
            for worker in self._busy:
                worker.process.kill()  # the thread that waits for it does the rest
            free, self._free = self._free, []
        for worker in free:
            leave_idle(worker)


def _find_current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return None


def _limit_error(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: decoding takes {what}",
        reason="a decoder that hangs or takes all memory must not end the run",
        remedy=_ALONE,
    )


def _describe_status(status: int) -> str:
    try:
        return signal.Signals(-status).name if status < 0 else f"status {status}"
    except ValueError:
        return f"signal {-status}"
