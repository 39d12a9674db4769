"""A video that comes as a folder of pictures, one a frame, as TVQA's do in MVBench.

The pictures are named by number (`00001.jpg`, `frame_000.png`) and come at a steady rate that nothing in the folder
tells: whoever knows the data set gives it. As of a video file, all of it is used or none: a number that is missing, a
picture that does not decode, one of another size than the first.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from video_opd.data.video import Frames, resized
from video_opd.data.video_file import MAX_FRAME_PIXELS
from video_opd.data.video_sampling import Timeline, VideoBudget, fit_size, sample_frames
from video_opd.errors import DataError
from video_opd.vocabulary import Span

ENDINGS = (".jpg", ".jpeg", ".png")
"""Of files that are pictures; whatever else lies in the folder is not looked at."""


def picture_timeline(folder: Path, fps: float | Fraction) -> Timeline:
    """When each picture is shown: the first at 0 s, the others by their number.

    Args:
        fps: pictures per second.

    Raises:
        DataError: the folder holds no pictures, or some without a number, with the same one, or missing in between.
    """
    paths = _numbered(folder)
    numbers = sorted(paths)
    missing = next((number for number in range(numbers[0], numbers[-1]) if number not in paths), None)
    if missing is not None:
        raise _unusable(folder, f"picture {missing} of {numbers[0]} to {numbers[-1]} is missing")
    return Timeline(file=str(folder), pts=tuple(numbers), tick=1 / Fraction(fps), last_duration=1)


def read_pictures(folder: Path, fps: float | Fraction, budget: VideoBudget, clip: Span | None = None) -> Frames:
    """The pictures that fit a budget, chosen and sized as the frames of a video file are (`data.video.read_frames`).

    Args:
        fps: pictures per second.
        clip: the part that counts, in seconds from the first picture; None: all.

    Raises:
        DataError: the folder cannot be used, or the clip does not fit it.
        EngineError: the budget cannot hold the frames.
    """
    timeline, paths = picture_timeline(folder, fps), _numbered(folder)
    indices = sample_frames(timeline, budget, clip)
    window = timeline.window(clip)
    pictures = [paths[timeline.pts[index]] for index in indices]
    with _opened(pictures[0]) as first:
        shape = (first.height, first.width)
    height, width = fit_size(len(indices), *shape, budget)
    return Frames(
        images=np.stack([resized(_rgb(picture, shape), height, width) for picture in pictures]),
        times_s=tuple(timeline.time_s(index, origin=window.start) for index in indices),
        duration_s=float(timeline.covered_s(window)),
        indices=indices,
    )


def _numbered(folder: Path) -> dict[int, Path]:
    """Number -> picture; the number is what the name ends with."""
    paths: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in ENDINGS:
            continue
        digits = re.search(r"[0-9]{1,9}\Z", path.stem)
        if digits is None:
            raise _unusable(folder, f"the name of {path.name} does not end with a number")
        number = int(digits.group())
        if number in paths:
            raise _unusable(folder, f"{paths[number].name} and {path.name} are both picture {number}")
        paths[number] = path
    if not paths:
        raise _unusable(folder, "it holds no pictures")
    return paths


def _rgb(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3)."""
    with _opened(path) as image:
        if (image.height, image.width) != shape:
            raise _unusable(path, f"{image.width} x {image.height} pixels, and the first is {shape[1]} x {shape[0]}")
        return np.array(image.convert("RGB"))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture whose header has been read; what is wrong with the rest shows when it is decoded, in the block."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MAX_FRAME_PIXELS:
                raise _unusable(path, f"{image.width} x {image.height} pixels are beyond {MAX_FRAME_PIXELS}")
            yield image
    # A broken chunk of a PNG is a SyntaxError to Pillow.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unusable(path, f"it does not decode ({error})") from error


def _unusable(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: {what}",
        reason="a folder of pictures is a video only if all its pictures are there, whole and of one size",
        remedy="Extract or download them again, or put a video file in the folder's place",
    )
