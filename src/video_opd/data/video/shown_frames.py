"""Which of the frames that a decoder gives are shown to a viewer of the file."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from video_opd.data.video.video_packets import Step
from video_opd.data.video.video_refusals import damaged_error

if TYPE_CHECKING:
    from av import VideoFrame


class ShownFrames:
    """Which of the frames that come out of the decoder are given, part by part.

    Args:
        path: of the file, for messages.
        tick: seconds, of the file's clock.
        only_first: give only the first frame of each part.
    """

    def __init__(self, path: Path, tick: Fraction, *, only_first: bool) -> None:
        self.path, self.tick, self.only_first = path, tick, only_first
        self.shift = 0
        self.enter(0)

    def enter(self, part: int) -> None:
        """Go on with a part of the file."""
        self.part, self.waiting = part, True
        self.border: int | None = None
        """What is shown earlier in this part cannot be decoded, and need not be."""

    @property
    def has_enough(self) -> bool:
        """Whether nothing more of this part is wanted."""
        return self.only_first and not self.waiting

    def is_spared(self, step: Step) -> bool:
        """Whether a complaint about a packet does not matter."""
        hidden = step.leading and self.border is not None and (step.time is None or step.time < self.border)
        return hidden or (self.only_first and not step.opens)

    def select_shown(self, frames: list[VideoFrame]) -> Iterator[tuple[int, int, VideoFrame]]:
        """Part, time and frame of those that are shown.

        Raises:
            DataError: one of them is damaged.
        """
        for frame in frames:
            if frame.pts is None or self.has_enough:
                continue
            time = frame.pts + self.shift
            if not frame.is_corrupt:
                self.waiting = False
                yield self.part, time, frame
            elif not self.only_first and (self.border is None or time >= self.border):
                raise damaged_error(
                    self.path, f"the frame at {float(frame.pts * self.tick):g} s does not decode cleanly"
                )
