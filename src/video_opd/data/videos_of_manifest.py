"""The videos that a manifest names: can they be read, and are they as the rows say?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from video_opd.data.manifest import resolve_video
from video_opd.data.manifest_problems import Problem, make_problem
from video_opd.data.manifest_rows import Fault
from video_opd.data.video.decoding_workers import DecodingWorkers
from video_opd.data.video.picture_folder import probe_video
from video_opd.data.video.video_io import VideoInfo
from video_opd.data.video.video_sampling import DURATION_TOLERANCE_S, MIN_VIDEO_FRAMES, VideoBudget
from video_opd.errors import DataError
from video_opd.types import Example, Span


class VideosOfManifest:
    """Looks at every video once, at the first row that names it.

    Args:
        videos: the folder that paths start from.
        decode: decode every video, or the part of it that a row is about, to its end too.
    """

    def __init__(self, videos: Path, *, decode: bool) -> None:
        self.videos, self.decode = videos, decode
        self._workers = DecodingWorkers()
        self._probed: dict[tuple[str, float | None], VideoInfo | None] = {}
        self._decoded: set[tuple[str, Span | None, float | None]] = set()

    def close(self) -> None:
        """End the processes that decode."""
        self._workers.close()

    def find_problems(self, line: int, example: Example) -> Iterator[Problem]:
        """What is wrong with the video of a row.

        Args:
            line: of the row.
            example: the row.
        """
        problems = list(self._probe(line, example))
        yield from problems
        has_error = any(problem.severity == "error" for problem in problems)
        if self.decode and not has_error and self._is_usable(example):
            yield from self._decode(line, example)

    def _is_usable(self, example: Example) -> bool:
        """Whether a video that was looked at can be read and shows when things happen; its first row says why not."""
        found = self._probed[example.video, example.frame_rate]
        return found is not None and found.num_frames >= MIN_VIDEO_FRAMES

    def _probe(self, line: int, example: Example) -> Iterator[Problem]:
        """A video that cannot be read is reported at the first row that names it."""
        named = example.video, example.frame_rate
        if named not in self._probed:
            self._probed[named] = None
            try:
                self._probed[named] = info = probe_video(resolve_video(self.videos, example), example.frame_rate)
            except DataError as error:
                yield make_problem(line, example.id, Fault(f"{error.cause}: {error.reason}", error.remedy))
            else:
                if info.num_frames < MIN_VIDEO_FRAMES:
                    message = f"`video` {example.video!r} has {info.num_frames} frame, which cannot show when"
                    yield make_problem(line, example.id, Fault(message, "Leave out the rows about it"))
        found = self._probed[named]
        if found is None or not self._is_usable(example):
            return
        if example.clip is not None and example.clip.end_s > found.duration_s + DURATION_TOLERANCE_S:
            message = f"`clip` ends at {example.clip.end_s:g} s, but the file is {found.duration_s:.2f} s long"
            yield make_problem(line, example.id, Fault(message))
        length_s = found.duration_s if example.duration is None else example.duration
        if example.clip is None and abs(found.duration_s - length_s) > DURATION_TOLERANCE_S:
            message = f"`duration` is {length_s:g} s, but the file is {found.duration_s:.2f} s long"
            yield make_problem(line, example.id, Fault(message, "Check that it is the right video", "warning"))

    def _decode(self, line: int, example: Example) -> Iterator[Problem]:
        part = example.video, example.clip, example.frame_rate
        if part in self._decoded:
            return
        self._decoded.add(part)
        little = VideoBudget(fps=0.1, max_frame_tokens=1)  # the last frame is always among those wanted
        try:
            self._workers.read_video(resolve_video(self.videos, example), little, example.clip, example.frame_rate)
        except DataError as error:
            yield make_problem(line, example.id, Fault(f"{error.cause}: {error.reason}", error.remedy))
