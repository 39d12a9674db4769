"""Whether a file holds as much video as its row and its container say: a part of a video is never taken for the whole.

A file that was cut short between two frames decodes without a complaint. Only its row, or the duration in its header,
tells that the rest is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from video_opd.data.video.video_refusals import damaged_error
from video_opd.data.video.video_sampling import DURATION_TOLERANCE_S
from video_opd.errors import DataError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from video_opd.types import Example

MISSING_SHARE = 0.05
"""Share of a duration that may be missing: rows and headers are rounded."""
DEFAULT_STEP_S = 0.5
"""Seconds between two frames that a model sees, where no budget is known: those of 2 frames a second."""


def read_header_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """The seconds of video that the header of a file promises.

    Returns:
        None where the header does not say it of the video alone, or cannot be trusted: AVI keeps a count that is wrong
        after a crash; FFmpeg itself finds the duration of a transport stream by looking for its end.
    """
    name = container.format.name
    if name.startswith("mov") and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if name.startswith(("matroska", "flv")) and container.duration and len(container.streams) == 1:
        return container.duration / 1e6
    return None


def refuse_part(path: Path, promised_s: float | None, found_s: float) -> None:
    """Refuse a file that holds less video than its header promises.

    Args:
        path: of the file, for the message.
        promised_s: by the header; None: it promises nothing.
        found_s: from the beginning of the file's clock, or the first packet, to the end of the last one.

    Raises:
        DataError: more than a second and more than 5 % is missing.
    """
    if promised_s is not None and promised_s - found_s > max(DURATION_TOLERANCE_S, MISSING_SHARE * promised_s):
        raise damaged_error(path, f"it holds {found_s:.2f} s of video, and its header says {promised_s:.2f} s")


def require_whole(
    path: Path,
    example: Example,
    found_s: float | None,
    step_s: float = DEFAULT_STEP_S,
    shown_s: float | None = None,
) -> None:
    """Refuse a video that ends before its row says, or has nothing to show at the beginning of the row's clip.

    Args:
        path: of the video, for the message.
        example: the row.
        found_s: duration of the video, without regard to the row's clip; None: not known.
        step_s: seconds between two frames that the model sees.
        shown_s: seconds for which the frames of the row's clip are shown; None: not known.

    Raises:
        DataError: more than a step and more than 5 % is missing.
    """
    clip = example.clip
    end_s = clip.end_s if clip else example.duration
    if end_s is None or found_s is None:
        return
    length_s = end_s - clip.start_s if clip else end_s
    most_s = max(step_s, MISSING_SHARE * length_s)
    if end_s - found_s > most_s:
        what = f"`clip` ends at {end_s:g} s" if clip else f"`duration` is {end_s:g} s"
        raise _part_error(f"{path}: the video is {found_s:.2f} s long, and the row's {what}")
    if clip and shown_s is not None and length_s - shown_s > most_s:
        what = f"{clip.start_s:g} - {end_s:g} s, lasts {length_s:g} s"
        raise _part_error(f"{path}: its frames are shown for {shown_s:.2f} s, and the row's `clip`, {what}")


def _part_error(cause: str) -> DataError:
    return DataError(
        cause,
        reason="a part of a video is never taken for the whole; what the query describes may be missing",
        remedy="Download the video again, or correct the row",
    )
