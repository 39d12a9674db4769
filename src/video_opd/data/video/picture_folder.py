"""Videos that are files, and those that come as a folder of pictures, one a frame, as TVQA's do in MVBench.

The pictures are named by number (`00001.jpg`, `frame_000.png`) and come at a steady rate that nothing in the folder
tells: the user gives it. The first picture is at 0 s whatever its number. As of a video file, all of
it is used or none: a number that is missing, a picture that does not decode, one of another size than the first.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from video_opd.data.video.video_file import MAX_FRAME_PIXELS, read_timeline
from video_opd.data.video.video_io import Frames, FrameSink, FrameTimes, KeptFrames, VideoInfo, decode_into, probe
from video_opd.data.video.video_names import is_picture
from video_opd.data.video.video_sampling import (
    MAX_FRAME_RATE,
    MIN_FRAME_RATE,
    Timeline,
    VideoBudget,
    fit_size,
    sample_frames,
)
from video_opd.errors import ConfigurationError, DataError
from video_opd.types import Span


def read_video(path: Path, budget: VideoBudget, clip: Span | None = None, frame_rate: float | None = None) -> Frames:
    """Read the frames of a video that fit a budget, from a file or a folder of pictures.

    Args:
        path: of the file or folder.
        budget: how many frames and tokens the model may see.
        clip: the part that counts, in seconds from the first frame; None: all of it.
        frame_rate: pictures per second of a folder; None: it is a file.

    Raises:
        DataError: as `read_frames` and `read_pictures`; or a rate is given for a file, or none for a folder.
        EngineError: the budget cannot hold the frames.
    """
    kept = KeptFrames()
    return kept.join(decode_video(kept, path, budget, clip, frame_rate))


def decode_video(
    sink: FrameSink, path: Path, budget: VideoBudget, clip: Span | None = None, frame_rate: float | None = None
) -> FrameTimes:
    """Decode the frames of a video that fit a budget, and give them away one by one; torch is not needed.

    Args:
        sink: takes the frames.
        path: as of `read_video`.
        budget: as of `read_video`.
        clip: as of `read_video`.
        frame_rate: as of `read_video`.

    Raises:
        DataError: as `read_video`.
        EngineError: as `read_video`.
    """
    if is_folder(path, frame_rate):
        return _decode_pictures(sink, path, _make_exact(frame_rate), budget, clip)
    return decode_into(sink, path, budget, clip)


def find_timeline(path: Path, frame_rate: float | None = None) -> Timeline:
    """Find out when each frame of a video is shown, in a file or a folder of pictures.

    Raises:
        DataError: as `read_video`.
    """
    if is_folder(path, frame_rate):
        return find_picture_timeline(path, _make_exact(frame_rate))
    return read_timeline(path)


def probe_video(path: Path, frame_rate: float | None = None) -> VideoInfo:
    """Find out what a video holds, a file or a folder of pictures. Of a folder only the first picture is decoded.

    Raises:
        DataError: as `read_video`.
    """
    if not is_folder(path, frame_rate):
        return probe(path)
    timeline, paths = find_picture_timeline(path, _make_exact(frame_rate)), _number_pictures(path)
    first = paths[timeline.pts[0]]
    with _open_picture(first) as image:
        shape = (image.height, image.width)
        kind = (image.format or "").lower()
    _decode_picture(first, shape)
    return VideoInfo(
        width=shape[1],
        height=shape[0],
        duration_s=timeline.duration_s,
        num_frames=timeline.num_frames,
        first_pts_s=0.0,
        fps=timeline.num_frames / timeline.duration_s,
        codec=kind,
    )


def is_folder(path: Path, frame_rate: float | None) -> bool:
    """Whether a video is to be read as a folder of pictures, which it is where its rate is given.

    Raises:
        ConfigurationError: the rate is not one that a folder may have.
        DataError: the rate is given for a file, which has times of its own.
    """
    if frame_rate is None:
        return False
    require_rate(frame_rate)
    if os.path.isfile(path):
        raise DataError(
            f"{path}: a frame rate of {frame_rate:g} is given for it, and it is a file",
            reason="a video file says itself when each frame is shown; a rate is for a folder of pictures",
            remedy="Leave the frame rate out, or name the folder",
        )
    return True


def require_rate(frame_rate: float) -> None:
    """Refuse a rate that no folder of pictures has.

    Raises:
        ConfigurationError: it is not a number in the range.
    """
    if not MIN_FRAME_RATE <= frame_rate <= MAX_FRAME_RATE:
        raise ConfigurationError(
            f"frame rate {frame_rate:g}",
            reason=f"a folder of pictures has from {MIN_FRAME_RATE:g} to {MAX_FRAME_RATE:g} of them a second",
            remedy="Give the rate that the pictures were taken from their video at, such as 3",
        )


def _make_exact(frame_rate: float | None) -> Fraction:
    """The rate that is meant: 29.97 is 2997/100, and not the nearest binary number."""
    return Fraction(str(frame_rate))


def find_picture_timeline(folder: Path, fps: float | Fraction) -> Timeline:
    """When each picture is shown: the first at 0 s, the others by their number.

    Args:
        fps: pictures per second.

    Raises:
        DataError: the folder does not exist or holds no pictures, a picture has no number, two have the same one, or
            one is missing in between.
    """
    paths = _number_pictures(folder)
    numbers = sorted(paths)
    missing = next((number for number in range(numbers[0], numbers[-1]) if number not in paths), None)
    if missing is not None:
        raise _unusable_error(folder, f"picture {missing} of {numbers[0]} to {numbers[-1]} is missing")
    return Timeline(file=str(folder), pts=tuple(numbers), tick=1 / Fraction(fps), last_duration=1)


def read_pictures(folder: Path, fps: float | Fraction, budget: VideoBudget, clip: Span | None = None) -> Frames:
    """Read the pictures that fit a budget, chosen and sized as the frames of a video file are (`read_frames`).

    Args:
        folder: holds the pictures.
        fps: pictures per second.
        budget: how many pictures and tokens the model may see.
        clip: the part that counts, in seconds from the first picture; None: all.

    Raises:
        DataError: the folder cannot be used, or the clip does not fit it.
        EngineError: the budget cannot hold the frames.
    """
    kept = KeptFrames()
    return kept.join(_decode_pictures(kept, folder, fps, budget, clip))


def _decode_pictures(
    sink: FrameSink, folder: Path, fps: float | Fraction, budget: VideoBudget, clip: Span | None
) -> FrameTimes:
    timeline, paths = find_picture_timeline(folder, fps), _number_pictures(folder)
    indices = sample_frames(timeline, budget, clip)
    window = timeline.window(clip)
    pictures = [paths[timeline.pts[index]] for index in indices]
    with _open_picture(pictures[0]) as first:
        shape = (first.height, first.width)
    sink.begin(len(indices), *fit_size(len(indices), *shape, budget))
    for place, picture in enumerate(pictures):
        sink.add(_decode_picture(picture, shape), [place])
    return FrameTimes(
        times_s=tuple(timeline.time_s(index, origin=window.start) for index in indices),
        duration_s=float(timeline.covered_s(window)),
        indices=indices,
        video_duration_s=timeline.duration_s,
    )


def _number_pictures(folder: Path) -> dict[int, Path]:
    """Find the pictures of a folder: number -> picture; the number is what the name ends with."""
    paths: dict[int, Path] = {}
    try:
        found = sorted(path for path in folder.iterdir() if is_picture(path.name))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(
            f"{folder}: {getattr(error, 'strerror', None) or error}",
            reason="the folder of pictures cannot be opened",
            remedy="Check the videos folder and the row's `video`",
        ) from error
    for path in found:
        digits = re.search(r"[0-9]{1,9}\Z", path.stem)
        if digits is None:
            raise _unusable_error(folder, f"the name of {path.name} does not end with a number")
        number = int(digits.group())
        if number in paths:
            raise _unusable_error(folder, f"{paths[number].name} and {path.name} are both picture {number}")
        paths[number] = path
    if not paths:
        raise _unusable_error(folder, "it holds no pictures")
    return paths


def _decode_picture(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode a picture: (H, W, 3)."""
    with _open_picture(path) as image:
        if (image.height, image.width) != shape:
            raise _unusable_error(
                path, f"{image.width} x {image.height} pixels, and the first is {shape[1]} x {shape[0]}"
            )
        return np.array(image.convert("RGB"))


@contextlib.contextmanager
def _open_picture(path: Path) -> Iterator[Image.Image]:
    """A picture whose header has been read; what is wrong with the rest shows when it is decoded, in the block."""
    try:
        with Image.open(path, formats=("JPEG", "PNG", "WEBP")) as image:
            if image.width * image.height > MAX_FRAME_PIXELS:
                raise _unusable_error(path, f"{image.width} x {image.height} pixels are beyond {MAX_FRAME_PIXELS}")
            yield image
    # A broken chunk of a PNG is a SyntaxError to Pillow.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unusable_error(path, f"it does not decode ({error})") from error


def _unusable_error(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: {what}",
        reason="a folder of pictures is a video only if all its pictures are there, whole and of one size",
        remedy="Extract or download them again, or put a video file in the folder's place",
    )
