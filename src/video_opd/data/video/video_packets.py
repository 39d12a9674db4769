"""The packets of a video stream in the order in which they are stored, part by part.

A file is one part, but for streams that were joined by writing one file behind the other, as is done with transport
streams (`cat a.ts b.ts`). Then the clock jumps, and every part begins as a file of its own does: with a decoder that
knows nothing of what came before. Times go on over a jump as they do in ffmpeg and in players.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from av.format import Flags
from av.stream import Discard

from video_opd.data.video.video_refusals import damaged_error, encrypted_error
from video_opd.errors import DataError

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.stream import VideoStream

MAX_PACKETS = 1_000_000
"""Most packets of a video stream: nine hours at 30 frames a second. Bounds the time and memory (about 100 MB) that a
crafted file can cost."""

_BACKWARDS_S = Fraction(1, 10)
"""A clock that goes back by more was started anew (ffmpeg's border)."""
_FORWARDS_S = 10
"""A clock that leaps by more was set: the gap is closed (ffmpeg's `dts_delta_threshold`)."""
_GAP_S = 1
"""A smaller gap is time in which nothing new is shown. Above this a keyframe after it begins a part."""
_IDR = 5
"""Type of a unit of an IDR picture."""
_FLAG_DELAY = 2
"""Packets between the one that FFmpeg flags, when a transport stream's count of its packets jumps, and the one after
the jump: its parser gives a packet out when it sees the next one."""


@dataclass(frozen=True, slots=True)
class Step:
    """One packet that holds something."""

    packet: Packet
    part: int
    """Number of its part, from 0."""
    shift: int
    """Ticks to add to its times and to those of its frame."""
    leading: bool
    """It needs, or may need, pictures from before the part's first keyframe: it is stored before that, or between it
    and the second keyframe and shown before the first."""
    before: bool
    """It is stored before the part's first keyframe. No decoder is asked to make something of it."""
    opens: bool
    """It is the part's first keyframe."""

    @property
    def time(self) -> int | None:
        """When its frame is shown, in ticks of the joined clock."""
        return None if self.packet.pts is None else self.packet.pts + self.shift


def read_steps(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[Step]:
    """Every packet of one stream that holds something, whole.

    Raises:
        DataError: a packet is cut short, or there are too many.
    """
    assert stream.time_base is not None  # FFmpeg gives every stream one
    tick = stream.time_base
    flag: Any = Flags.ts_discont
    may_be_joined = bool(container.format.flags & flag.value)
    has_no_negative_times = container.format.name.startswith("matroska")  # they come without any
    part, shift = 0, 0
    last_time, last_step = None, 1
    first_keyframe: int | None = None
    num_keyframes = 0
    flagged = False
    for packet, keyframe_near in _read_whole_packets(path, container, stream):
        begins = False
        if may_be_joined and packet.dts is not None:
            if last_time is not None:
                step_s = (packet.dts - last_time) * tick
                if step_s < -_BACKWARDS_S or step_s > _FORWARDS_S:
                    begins = True
                    shift += last_time + last_step - packet.dts
                else:
                    goes_on = last_time < packet.dts <= last_time + last_step + 1  # as where a cut was mended
                    begins = packet.is_keyframe and not goes_on and (flagged or step_s > _GAP_S)
                    if not begins and packet.dts > last_time:
                        last_step = packet.duration or packet.dts - last_time
            last_time = packet.dts
        if packet.is_corrupt:
            if not (may_be_joined and keyframe_near):
                raise damaged_error(path, "a packet is cut short or broken")
            flagged = True
        if begins:
            part, num_keyframes, first_keyframe = part + 1, 0, None
        if packet.is_keyframe:
            flagged = False
            num_keyframes += 1
            if num_keyframes == 1:
                first_keyframe = packet.pts
        before = num_keyframes == 0
        if packet.pts is None:
            early = has_no_negative_times
        else:
            early = first_keyframe is not None and packet.pts < first_keyframe
        leading = before or (num_keyframes == 1 and early)
        yield Step(packet, part, shift, leading, before, packet.is_keyframe and num_keyframes == 1)


def _read_whole_packets(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[tuple[Packet, bool]]:
    """The packets of one stream, each with whether a keyframe comes soon after it."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all  # spares reading the sound from disk
    held: deque[Packet] = deque()
    for number, packet in enumerate(container.demux(stream)):
        if number >= MAX_PACKETS:
            raise DataError(
                f"{path}: more than {MAX_PACKETS} video packets",
                reason="no video for temporal grounding is that long, and a crafted one would never end",
                remedy="Cut the video into shorter files",
            )
        if packet.has_sidedata("encryption_info"):
            raise encrypted_error(path, "copy protection")
        if packet.size:  # the end of the stream is an empty packet, and so is "same frame again" in AVI
            held.append(packet)
            if len(held) > _FLAG_DELAY:
                yield _mark_keyframe_near(held)
    while held:
        yield _mark_keyframe_near(held)


def _mark_keyframe_near(held: deque[Packet]) -> tuple[Packet, bool]:
    packet = held.popleft()
    return packet, any(later.is_keyframe for later in held)


def is_cut(step: Step, stream: VideoStream) -> bool:
    """Whether a part begins with an H.264 picture that begins nothing: one at which a decoder may only join in.

    What is stored after it still gives orders about pictures from before, which no decoder can carry out; none of them
    is needed for what is shown. A coded video sequence begins with an IDR picture (ITU-T H.264, 7.4.1.2.4).
    """
    if not step.opens or stream.codec_context.name != "h264":
        return False
    data, extradata = bytes(step.packet), stream.codec_context.extradata or b""
    if extradata[:1] == b"\x01":  # every unit is preceded by its length
        width, at, headers = (extradata[4] & 3) + 1, 0, []
        while at + width < len(data):
            headers.append(data[at + width])
            at += width + int.from_bytes(data[at : at + width], "big")
    else:  # by a start code
        headers = [unit[0] for unit in data.split(b"\0\0\1")[1:] if unit]
    return not any(header & 31 == _IDR for header in headers)
