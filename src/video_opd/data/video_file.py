"""Opening a video file that nobody vouches for, and finding out when each of its frames is shown.

Nothing in a header is believed: frames are counted and timed by walking the packets. A fragmented mp4 says that it has
no frames, others name an average frame rate that no stretch of them keeps.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.stream import Discard

from video_opd.data.video_sampling import Timeline
from video_opd.errors import DataError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

CONTAINER_FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf")
"""Demuxers a file may ask for. Playlists and concatenation scripts, which can name other files, are not among them."""

MAX_FRAME_PIXELS = 8192 * 8192
"""Largest picture to be decoded: above any camera's, while one such frame is still only 200 MB as RGB."""

MAX_PACKETS = 1_000_000
"""Most packets of a video stream: nine hours at 30 frames a second. Bounds the time and memory (about 100 MB) that a
crafted file can cost."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A local file and its best video stream, ready to decode; FFmpeg's complaints in the block become `DataError`s.

    "Best" is FFmpeg's word, and decord's, and so that of Qwen's processor: a stream marked as default, and among
    several such, as a rule, the one with the highest bit rate.

    Raises:
        DataError: the file is missing, empty, no video, or what is done with it in the block fails.
    """
    _require_file(path)
    try:
        # "file:" makes the rest a plain name; without it FFmpeg would take apart "http:" or "concat:" and follow them.
        with av.open(
            f"file:{path.absolute()}",
            metadata_errors="replace",
            container_options={"format_whitelist": ",".join(CONTAINER_FORMATS), "protocol_whitelist": "file"},
        ) as container:
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise DataError(
                    f"{path}: no video stream that can be decoded",
                    reason="the file holds only sound or subtitles, is cut off, or is in a format unknown to FFmpeg",
                    remedy="Check that the row names the right file, and that it was downloaded to the end",
                )
            stream.thread_type = "AUTO"
            # Without "explode" FFmpeg paints over damage with neighbouring pixels and says nothing.
            stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(MAX_FRAME_PIXELS)}
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        raise damaged(path, f"FFmpeg cannot read it ({error.strerror or error})") from error
    except IndexError as error:  # how PyAV's demuxer takes a packet of a stream that was not announced
        raise damaged(path, "a stream appears midway that the file did not announce") from error


def read_timeline(path: Path) -> Timeline:
    """Find out when every frame of a video is shown, by walking its packets without decoding them.

    Raises:
        DataError: the file is missing, empty, unreadable, truncated, too long, or has no video frames.
    """
    shown: dict[int, int] = {}
    keyframes: list[int] = []
    timed = True
    with opened(path) as (container, stream):
        assert stream.time_base is not None  # FFmpeg gives every stream one
        tick = stream.time_base
        _refuse_truncated(path, container, stream)
        for packet in _packets(path, container, stream):
            if packet.pts is None:
                timed = False
                break
            if packet.is_keyframe:
                keyframes.append(packet.pts)
            if not packet.is_discard:  # what an edit list cuts away is decoded for others' sake and never shown
                shown[packet.pts] = packet.duration or 0
    if timed:
        # Frames before the first keyframe (a broadcast joined midway) need pictures the file does not have.
        start = min(keyframes, default=min(shown, default=0))
        pts = sorted(time for time in shown if time >= start)
    else:
        pts, shown = _decoded_times(path), {}
    if not pts:
        raise no_frames(path)
    # To the nearest tick: what is lost here and in the last time is then together at most the tick that is forgiven.
    mean_duration = round(Fraction(pts[-1] - pts[0], max(1, len(pts) - 1)))
    return Timeline(
        file=str(path), pts=tuple(pts), tick=tick, last_duration=shown.get(pts[-1], 0) or mean_duration or 1
    )


def _packets(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Every packet of one stream that holds something, whole."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all  # spares reading the sound from disk
    for number, packet in enumerate(container.demux(stream)):
        if number >= MAX_PACKETS:
            raise DataError(
                f"{path}: more than {MAX_PACKETS} video packets",
                reason="no video for temporal grounding is that long, and a crafted one would never end",
                remedy="Cut the video into shorter files",
            )
        if packet.is_corrupt:
            raise damaged(path, "a packet is cut short or broken")
        if packet.size:  # the end of the stream is an empty packet, and so is "same frame again" in AVI
            yield packet


def _decoded_times(path: Path) -> list[int]:
    """Presentation times from the decoder, for files that do not store them (B-frames in AVI)."""
    with opened(path) as (container, stream):
        return sorted({frame.pts for frame in container.decode(stream) if frame.pts is not None})


def _require_file(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(
            f"{path}: {getattr(error, 'strerror', None) or error}",
            reason="the video cannot be opened",
            remedy="Check the videos folder and the row's `video`",
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(
            f"{path}: not a regular file",
            reason="folders, pipes and devices are not videos",
            remedy="Check the row's `video`",
        )
    if not os.access(path, os.R_OK):
        raise DataError(
            f"{path}: permission denied", reason="the video cannot be opened", remedy="Let this user read the file"
        )
    if status.st_size == 0:
        raise DataError(f"{path}: the file is empty", reason="there is nothing to decode", remedy="Download it again")


def _refuse_truncated(path: Path, container: InputContainer, stream: VideoStream) -> None:
    """Refuse a download that stopped, where the format tells: a transport stream, for one, may end anywhere.

    An mp4 lists where each frame lies. Matroska says at its beginning where it ends, and FFmpeg reads what there is.
    """
    size = path.stat().st_size
    lost = sum(entry.pos + entry.size > size for entry in stream.index_entries)
    if lost:
        raise damaged(path, f"it ends before {lost} of its {len(stream.index_entries)} frames")
    if container.format.name.startswith("matroska"):
        end = _matroska_end(path)
        if end is not None and end > size:
            raise damaged(path, f"it ends after {size} of {end} bytes")


def _matroska_end(path: Path) -> int | None:
    """Where a Matroska file's segment ends, in bytes; None where it does not say, as in a live recording.

    An element is its id, then its size as a number whose leading zero bits tell how many bytes follow (RFC 8794).
    """
    with path.open("rb") as file:
        head = file.read(4096)
    start = head.find(b"\x18\x53\x80\x67") + 4  # the segment's id
    if start < 4 or start >= len(head) or head[start] == 0:
        return None
    length = 9 - head[start].bit_length()
    unknown = (1 << 7 * length) - 1
    value = int.from_bytes(head[start : start + length], "big") & unknown
    return None if value == unknown else start + length + value


def damaged(path: Path, what: str) -> DataError:
    """The refusal of a file that is broken, wherever that shows."""
    return DataError(
        f"{path}: {what}",
        reason="the file is truncated or corrupt, and a part of a video is never taken for the whole",
        remedy="Download it again, or re-encode it with: ffmpeg -i FILE -c:v libx264 -pix_fmt yuv420p NEW.mp4",
    )


def no_frames(path: Path) -> DataError:
    """The refusal of a file that is well formed and empty."""
    return DataError(
        f"{path}: its video stream has no frames",
        reason="there is nothing to see",
        remedy="Download it again, or leave the row out",
    )
