"""Reading and writing video files: the right frames, at their true times, or a clear refusal.

The frames a model sees are chosen by `video_sampling` and found by their presentation time, never by counting. They are
resized as they are decoded, so that a two-hour film costs no more memory than a short one.

When a file is refused: every packet must be whole; up to the last frame that is needed everything must decode without
complaint and in order of time; and every chosen moment must yield its frame. A damaged video is never used in part:
frames after a flipped bit look plausible and are wrong until the next keyframe, and a model would be taught from them.
(For a clip deep inside a file decoding starts at the keyframe before it; damaged pictures outside do no harm.)
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

from video_opd.data.video.concealment import count_concealed, forget_concealed
from video_opd.data.video.video_display import read_orientation, shown_size
from video_opd.data.video.video_file import MAX_FRAME_PIXELS, DecodingMode, VideoFile, decode_frames, examine_file
from video_opd.data.video.video_refusals import damaged_error
from video_opd.data.video.video_sampling import Timeline, VideoBudget, fit_size, sample_frames
from video_opd.errors import DataError
from video_opd.files.outputs import replace_file
from video_opd.types import Span

__all__ = ["FrameSink", "FrameTimes", "Frames", "KeptFrames", "VideoBudget", "VideoInfo", "decode_into", "probe",
    "read_frames", "resize_image", "write_video"]  # fmt: skip

SEEK_WORTHWHILE_S = 10.0
"""A clip that starts later is reached by a seek; before, decoding from the beginning costs less than a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a video file really holds, counted from its packets."""

    width: int
    """Pixels, as a player shows it: turned as the file says, and with square pixels."""
    height: int
    """Pixels, as a player shows it: turned as the file says, and with square pixels."""
    duration_s: float
    """Seconds from the first frame to the end of the last."""
    num_frames: int
    first_pts_s: float
    """The file's clock at the first frame, seconds. Every other time in this package is counted from here."""
    fps: float
    """Frames per second on average: `num_frames / duration_s`."""
    codec: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames:
    """The frames of one video that a model sees."""

    images: NDArray[np.uint8]
    """(T, H, W, 3) RGB, upright, already at the size `fit_size` gave; T is even."""
    times_s: tuple[float, ...]
    """True presentation time of each frame, seconds from the first frame of the clip, or of the video without one."""
    duration_s: float
    """Seconds for which the clip's frames (the video's, without a clip) are shown."""
    indices: tuple[int, ...]
    """Number of each frame in the file, in order of presentation."""
    video_duration_s: float | None = None
    """Duration of the whole video, without regard to the clip; None: not known."""
    num_concealed: int = 0
    """Damaged pictures that the decoder painted over and said so; it is heard in a decoding process alone."""


def probe(path: Path) -> VideoInfo:
    """Find out what a video file holds, by walking its packets and decoding one frame.

    Raises:
        DataError: the file is missing, empty, unreadable, truncated, or holds no video frames.
    """
    file = examine_file(path)
    timeline = file.timeline
    return VideoInfo(
        width=file.width,
        height=file.height,
        duration_s=timeline.duration_s,
        num_frames=timeline.num_frames,
        first_pts_s=float(timeline.pts[0] * timeline.tick),
        fps=timeline.num_frames / timeline.duration_s,
        codec=file.codec,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTimes:
    """What `Frames` says besides the images."""

    times_s: tuple[float, ...]
    duration_s: float
    indices: tuple[int, ...]
    video_duration_s: float
    num_concealed: int = 0


class FrameSink(Protocol):
    """Takes the chosen frames of a video as they are decoded."""

    def begin(self, count: int, height: int, width: int) -> None:
        """All frames come now. They come again if a way of decoding fails and another is tried.

        Args:
            count: frames that are chosen.
            height: to which they are resized, in pixels.
            width: to which they are resized, in pixels.
        """

    def add(self, image: NDArray[np.uint8], places: list[int]) -> None:
        """Take a frame in the size in which it is shown, and its places among those that are chosen."""


class KeptFrames:
    """Keeps the frames in the size that a model sees."""

    def __init__(self) -> None:
        self.images = np.empty((0, 0, 0, 3), np.uint8)

    def begin(self, count: int, height: int, width: int) -> None:
        """Make room for all frames in the size that a model sees."""
        self.images = np.empty((count, height, width, 3), dtype=np.uint8)

    def add(self, image: NDArray[np.uint8], places: list[int]) -> None:
        """Resize a frame, and keep it."""
        self.images[places] = resize_image(image, self.images.shape[1], self.images.shape[2])

    def join(self, times: FrameTimes) -> Frames:
        """The frames with their times."""
        return Frames(
            images=self.images,
            times_s=times.times_s,
            duration_s=times.duration_s,
            indices=times.indices,
            video_duration_s=times.video_duration_s,
            num_concealed=times.num_concealed,
        )


def read_frames(path: Path, budget: VideoBudget, clip: Span | None = None) -> Frames:
    """Decode the frames of a video that fit a budget, at the size that fits.

    Frames are chosen by `sample_frames`, sized by `fit_size`, and resized with torchvision's antialiased bicubic
    filter, the one in Qwen's own processor.

    Args:
        path: a local file.
        budget: how many frames and tokens the model may see.
        clip: the part of the video that counts, in seconds from its first frame; None: all of it.

    Raises:
        DataError: the file cannot be used (see the top of this module), or the clip does not fit it.
        EngineError: the budget cannot hold the frames.
    """
    kept = KeptFrames()
    return kept.join(decode_into(kept, path, budget, clip))


def decode_into(sink: FrameSink, path: Path, budget: VideoBudget, clip: Span | None = None) -> FrameTimes:
    """Decode the frames of a video that fit a budget, and give them away one by one; torch is not needed.

    Args:
        sink: takes the frames.
        path: as of `read_frames`.
        budget: as of `read_frames`.
        clip: as of `read_frames`.

    Raises:
        DataError: as `read_frames`.
        EngineError: as `read_frames`.
    """
    file = examine_file(path)
    timeline = file.timeline
    indices = sample_frames(timeline, budget, clip)
    window = timeline.window(clip)
    wanted = [timeline.pts[index] for index in indices]
    taker = _Chosen(path, file, wanted, budget, sink)
    _collect_somehow(taker, far=timeline.time_s(indices[0]) > SEEK_WORTHWHILE_S)
    return FrameTimes(
        times_s=tuple(timeline.time_s(index, origin=window.start) for index in indices),
        duration_s=float(timeline.covered_s(window)),
        indices=indices,
        video_duration_s=timeline.duration_s,
        num_concealed=count_concealed(),
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The frames that are chosen of a file."""

    path: Path
    file: VideoFile
    wanted: list[int]
    """When they are shown: ticks, ascending."""
    budget: VideoBudget
    sink: FrameSink


def _collect_somehow(chosen: _Chosen, *, far: bool) -> None:
    """Decode the chosen frames, by the quickest way that leads to all of them.

    Every way is strict. A seek may land too late, where an index is wrong or frames need what lies before the keyframe;
    and where pictures lack what was cut away, a decoder that complains of everything does not come past them.
    """
    file = chosen.file
    modes = [DecodingMode(explode=False)] if file.cut else [DecodingMode(), DecodingMode(threads=False)]
    if far and len(file.starts) == 1:
        seek, is_h264 = DecodingMode(seek_to=chosen.wanted[0]), file.codec == "h264"
        again = replace(seek, explode=False) if is_h264 else replace(seek, threads=False)
        modes = [seek, again, *modes]
    for mode in modes[:-1]:
        with contextlib.suppress(DataError):
            return _collect(chosen, mode)
    return _collect(chosen, modes[-1])


def _collect(chosen: _Chosen, mode: DecodingMode) -> None:
    """Decode forward and give away the frames shown at the wanted times."""
    path, file, wanted = chosen.path, chosen.file, chosen.wanted
    places: dict[int, list[int]] = {}
    for place, pts in enumerate(wanted):
        places.setdefault(pts, []).append(place)
    forget_concealed()
    has_begun = False
    latest: int | None = None
    timeline, turned = file.timeline, file.turned
    with contextlib.closing(decode_frames(path, mode, starts=file.starts, keyless=file.keyless)) as frames:
        for _, time, frame in frames:
            if latest is not None and time < latest:
                raise damaged_error(path, f"its times run backwards at {float(time * timeline.tick):g} s")
            if not mode.explode:
                _refuse_gap(path, timeline, latest, time, seeking=mode.seek_to is not None)
            latest = time
            turned = read_orientation(path, frame) or turned
            if time in places:
                if frame.width * frame.height > MAX_FRAME_PIXELS:
                    what = f"a frame of {frame.width} x {frame.height} pixels is beyond {MAX_FRAME_PIXELS} pixels"
                    raise damaged_error(path, what)
                if not has_begun:
                    shown = shown_size(frame.height, frame.width, file.aspect, turned)
                    chosen.sink.begin(len(wanted), *fit_size(len(wanted), *shown, chosen.budget))
                    has_begun = True
                image = turned.apply(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
                chosen.sink.add(image, places.pop(time))
            if not places:
                break
    if places:
        raise damaged_error(path, f"{len(places)} of {len(wanted)} chosen frames do not come out of the decoder")


def _refuse_gap(path: Path, timeline: Timeline, latest: int | None, time: int, *, seeking: bool) -> None:
    """Refuse a picture that is missing: a decoder that does not complain drops what it cannot decode."""
    at = bisect_left(timeline.pts, time)
    expected = 0 if latest is None else bisect_right(timeline.pts, latest)
    if at > expected and not (seeking and latest is None):
        raise damaged_error(path, f"the frame at {timeline.time_s(expected):g} s does not come out of the decoder")


def resize_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize an image (H, W, 3), by the filter of Qwen's own processor."""
    if image.shape[:2] == (height, width):
        return image
    import torch  # here, so that checking a manifest does not load it
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    pixels = resize(pixels, [height, width], interpolation=InterpolationMode.BICUBIC, antialias=True)
    return pixels.permute(1, 2, 0).numpy()


def write_video(path: Path, images: NDArray[np.uint8], fps: float | Fraction, crf: int = 23) -> None:
    """Write frames as an H.264 mp4. The same frames give the same bytes; the file appears whole or not at all.

    Args:
        path: file to write; its folder must exist.
        images: (T, H, W, 3) RGB; H and W even, as yuv420p stores colour at half size.
        fps: frames per second.
        crf: x264's constant rate factor: 0 loses nothing, 23 is its default, 51 is worst.

    Raises:
        ValueError: images of the wrong shape or type, or no frame rate.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape:
        raise ValueError(f"write_video wants (T, H, W, 3) uint8 frames, got {images.shape} {images.dtype}")
    if not fps > 0:
        raise ValueError(f"write_video wants a positive frame rate, got {fps}")
    _, height, width, _ = images.shape
    if height % 2 or width % 2:
        raise ValueError(f"write_video wants even sides for yuv420p, got {width} x {height}")
    with replace_file(path) as unfinished, av.open(str(unfinished.absolute()), "w", format="mp4") as container:
        # One thread: x264's slicing, and so its bytes, depend on how many there are. And cpu-independent: its
        # fast approximations gave one clip in a hundred other bytes in about every third process.
        options = {"crf": str(crf), "threads": "1", "x264-params": "cpu-independent=1"}
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode(None))
