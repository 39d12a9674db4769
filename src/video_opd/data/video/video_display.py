"""How a decoded frame is shown: turned, mirrored and stretched as its file says, as ffmpeg and players do it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from numpy.typing import NDArray

from video_opd.data.video.video_refusals import REENCODE
from video_opd.errors import DataError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways to lay a rectangle on itself: first transposed or not, then mirrored."""

    transposed: bool = False
    """Rows become columns."""
    columns_reversed: bool = False
    """Afterwards, left and right change places."""
    rows_reversed: bool = False
    """Afterwards, top and bottom change places."""

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn an image (H, W, 3) as it is shown; returns a view."""
        image = image.transpose(1, 0, 2) if self.transposed else image
        return image[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]


def read_orientation(path: Path, frame: VideoFrame) -> Orientation | None:
    """Read a frame's display matrix by ffmpeg's own rule (`configure_input_video_filter`).

    The matrix comes from the container (mp4, mov, Matroska's projection) or from the stream (H.264 and HEVC display
    orientation). Its scale is not looked at, and one that has no angle, such as all zeros, asks for nothing.

    Returns:
        None where the frame brings no matrix: what was asked for before holds on. A stream says it at keyframes only.

    Raises:
        DataError: another angle than a quarter turn.
    """
    # Not `frame.side_data`: it and the frame would hold each other, and frames of a whole film might wait for the
    # garbage collector, which counts objects and not their bytes.
    container: Any = SideDataContainer  # PyAV's own types allow too little
    matrix = container(frame).get(Type.DISPLAYMATRIX)
    if matrix is None:
        return None
    m = np.frombuffer(bytes(matrix), np.int32).tolist()
    across, down = math.hypot(m[0], m[3]), math.hypot(m[1], m[4])
    if not (across and down):
        return Orientation()
    degrees = round(math.degrees(math.atan2(m[1] / down, m[0] / across))) % 360
    if degrees % 90:
        raise DataError(
            f"{path}: its display matrix turns it by {degrees} degrees",
            reason="only quarter turns and mirrors keep a picture's pixels",
            remedy=f"Turn the pictures themselves, as ffmpeg does with: {REENCODE}",
        )
    match degrees // 90:
        case 0:
            return Orientation(rows_reversed=m[4] < 0)
        case 1:  # clockwise
            return Orientation(transposed=True, columns_reversed=m[3] <= 0)
        case 2:
            return Orientation(columns_reversed=m[0] < 0, rows_reversed=m[4] < 0)
        case _:
            return Orientation(transposed=True, columns_reversed=m[3] < 0, rows_reversed=True)


def shown_size(height: int, width: int, aspect: Fraction | None, turned: Orientation) -> tuple[int, int]:
    """(height, width) in square pixels at which a decoded frame is shown: the width is stretched or squeezed.

    Args:
        height: of the frame as it is stored.
        width: of the frame as it is stored.
        aspect: width of a stored pixel over its height; None: the file does not say.
        turned: how the frame is laid.
    """
    if aspect is not None and aspect > 0:
        width = max(1, round(width * aspect))
    return (width, height) if turned.transposed else (height, width)
