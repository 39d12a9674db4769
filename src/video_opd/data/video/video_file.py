"""Opens a video file that may be broken in any way, finds out when each of its frames is shown, and decodes them.

Headers are not trusted: frames are counted and timed by walking the packets. A fragmented mp4 says that it has
no frames, others name an average frame rate that no stretch of them keeps.

A file that was cut without re-encoding begins with pictures that need others which were cut away. No player shows
them, and none is counted here: the video begins with the first frame that comes out of the decoder.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.stream import Disposition
from av.video.frame import PictureType

from video_opd.data.video.mp4_clock import has_clock
from video_opd.data.video.shown_frames import ShownFrames
from video_opd.data.video.video_display import Orientation, read_orientation, shown_size
from video_opd.data.video.video_packets import is_cut, read_steps
from video_opd.data.video.video_refusals import (
    cover_only_error,
    damaged_error,
    no_frames_error,
    no_times_error,
    no_video_stream_error,
    require_file,
    unopened_error,
)
from video_opd.data.video.video_sampling import Timeline
from video_opd.data.video.whole_video import read_header_duration, refuse_part
from video_opd.errors import DataError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CONTAINER_FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf")
"""Demuxers a file may ask for. Playlists and concatenation scripts, which can name other files, are not among them."""

MAX_FRAME_PIXELS = 8192 * 8192
"""Largest picture to be decoded: above any camera's, while one such frame is still only 200 MB as RGB."""

MAX_STREAMS = 256
"""Most streams of a file: above a broadcast's. Each costs a decoder's memory as soon as the file is opened."""

_REORDERING = ("h264", "hevc")
"""Codecs whose B-frames have no times in AVI; those of MPEG-4 do, as its decoder keeps to one frame of delay."""
_NEVER = sys.maxsize


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFile:
    """What is known of a file from its packets and its first frame."""

    timeline: Timeline
    starts: tuple[int, ...]
    """When the first frame of each part is shown, in ticks; `video_packets` says what a part is."""
    keyless: bool
    """No packet is marked as a keyframe, so that all are decoded."""
    cut: bool
    """A part begins in the middle of an H.264 stream."""
    aspect: Fraction | None
    """Width of a stored pixel over its height; None: not said."""
    turned: Orientation
    """How its first frame is laid."""
    height: int
    """Pixels, as it is shown."""
    width: int
    """Pixels, as it is shown."""
    codec: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingMode:
    """How a file is decoded: which complaints end it, and what is left out."""

    threads: bool = True
    """Decode several frames at once. Then a complaint comes some packets after the one that it is about, and nothing
    comes out any more; without, it comes with its packet, and the next one is decoded."""
    explode: bool = True
    """Complain about everything. Otherwise FFmpeg paints over damage, with a mark on the frame for H.264."""
    seek_to: int | None = None
    """Begin at the keyframe before this time, in ticks; for files of one part."""
    only_first: bool = False
    """Of each part, only the frame that comes out first; all complaints but about its keyframe are left to a later
    reading."""


@contextlib.contextmanager
def open_video(
    path: Path, *, threads: bool = True, explode: bool = True
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a local file and its best video stream for decoding; FFmpeg's complaints in the block become `DataError`s.

    "Best" is FFmpeg's word, and decord's, and so that of Qwen's processor: a stream marked as default, and among
    several such, as a rule, the one with the highest bit rate.

    Args:
        path: of the file.
        threads: as of `DecodingMode`.
        explode: as of `DecodingMode`.

    Raises:
        DataError: the file is missing, empty, no video, or what is done with it in the block fails.
    """
    require_file(path)
    try:
        # "file:" makes the rest a plain name; without it FFmpeg would take apart "http:" or "concat:" and follow them.
        container = av.open(
            f"file:{path.absolute()}",
            metadata_errors="replace",
            container_options={"format_whitelist": ",".join(CONTAINER_FORMATS), "protocol_whitelist": "file"},
        )
    except (av.FFmpegError, OSError) as error:
        raise unopened_error(path, error) from error
    try:
        with container:
            if len(container.streams) > MAX_STREAMS:
                raise damaged_error(path, f"it has {len(container.streams)} streams, more than {MAX_STREAMS}")
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise no_video_stream_error(path, container)
            if stream.disposition & Disposition.attached_pic:
                raise cover_only_error(path)
            stream.thread_type = "AUTO" if threads else "NONE"
            options = {"err_detect": "explode"} if explode else {}
            stream.codec_context.options = options | {"max_pixels": str(MAX_FRAME_PIXELS)}
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        raise damaged_error(path, f"FFmpeg cannot read it ({error.strerror or error})") from error
    except IndexError as error:  # how PyAV's demuxer takes a packet of a stream that was not announced
        raise damaged_error(path, "a stream appears midway that the file did not announce") from error


def read_timeline(path: Path) -> Timeline:
    """Find out when every frame of a video is shown.

    Raises:
        DataError: as `examine_file`.
    """
    return examine_file(path).timeline


def examine_file(path: Path) -> VideoFile:
    """Walk a file's packets, and decode only as much as it takes to see which frame is shown first.

    Raises:
        DataError: the file is missing, empty, unreadable, truncated, too long, or has no video frames.
    """
    shown: list[dict[int, int]] = []  # of each part: time -> ticks for which the frame is shown
    openings: dict[int, int | None] = {}  # of each part: time of its first keyframe
    timed, keyless, cut = True, True, False
    begins, ends = 0, 0  # of all packets, also those that are not shown; Matroska's header counts from 0
    with open_video(path) as (container, stream):
        assert stream.time_base is not None  # FFmpeg gives every stream one
        tick, codec, aspect = stream.time_base, stream.codec_context.name, stream.sample_aspect_ratio
        in_avi = container.format.name == "avi" and codec in _REORDERING
        _refuse_unfinished(path, container, stream)
        promised_s = read_header_duration(container, stream)
        for step in read_steps(path, container, stream):
            if step.part == len(shown):
                shown.append({})
            keyless, cut = keyless and step.before, cut or is_cut(step, stream)
            if step.opens:
                openings[step.part] = step.time
            if step.time is None:
                timed = timed and step.leading
                continue
            begins, ends = min(begins, step.time), max(ends, step.time + (step.packet.duration or 0))
            if not step.packet.is_discard:  # what an edit list cuts away is decoded for others' sake and never shown
                shown[-1][step.time] = step.packet.duration or 0
    if in_avi or keyless or not timed:
        first, pts = _decode_times(path, keyless=keyless, in_avi=in_avi)
        lengths: dict[int, int] = {}
        starts = pts[:1]
    else:
        firsts = _find_first_frames(path, openings if cut else None)
        first = firsts[min(firsts)][1] if firsts else None
        starts = [firsts[part][0] if part in firsts else _NEVER for part in range(len(shown))]
        lengths = {}
        for start, part in zip(starts, shown, strict=True):
            lengths |= {time: length for time, length in part.items() if time >= start}
        pts = sorted(lengths)
    if first is None or not pts:
        raise no_frames_error(path)
    refuse_part(path, promised_s, float(max(ends - begins, pts[-1] - pts[0]) * tick))
    # To the nearest tick: what is lost here and in the last time is then together at most the tick that is forgiven.
    mean_duration = round(Fraction(pts[-1] - pts[0], max(1, len(pts) - 1)))
    last_duration = lengths.get(pts[-1], 0) or mean_duration or 1
    turned = read_orientation(path, first) or Orientation()
    height, width = shown_size(first.height, first.width, aspect, turned)
    return VideoFile(
        timeline=Timeline(file=str(path), pts=tuple(pts), tick=tick, last_duration=last_duration),
        starts=tuple(starts),
        keyless=keyless,
        cut=cut,
        aspect=aspect,
        turned=turned,
        height=height,
        width=width,
        codec=codec,
    )


def _find_first_frames(path: Path, openings: dict[int, int | None] | None) -> dict[int, tuple[int, VideoFrame]]:
    """Find the frame of each part that is shown first, and its time.

    Args:
        openings: of each part, the time of its first keyframe, where one begins in the middle of an H.264 stream.

    Raises:
        DataError: the decoder complains about a part's first keyframe. Where a stream began earlier it may: the
            picture may hold orders about those before. It is right if it is whole and needs no other.
    """
    try:
        return {
            part: (time, frame)
            for part, time, frame in decode_frames(path, DecodingMode(threads=False, only_first=True))
        }
    except DataError:
        if openings is None:
            raise
        firsts = {
            part: (time, frame)
            for part, time, frame in decode_frames(path, DecodingMode(explode=False, only_first=True))
        }
        if any(time != openings[part] or frame.pict_type != PictureType.I for part, (time, frame) in firsts.items()):
            raise
        return firsts


def decode_frames(
    path: Path,
    mode: DecodingMode = DecodingMode(),
    *,
    starts: tuple[int, ...] | None = None,
    keyless: bool = False,
) -> Generator[tuple[int, int, VideoFrame]]:
    """Decode a file: yields part, time in ticks of the joined clock, and frame as they come out of the decoder.

    A decoder's complaint ends it, except about pictures at the beginning of a part that are never shown, since what
    they need is not in the file. With `threads` that exception is not made, as a complaint does not say which picture
    it is about.

    Args:
        path: of the file.
        mode: how it is decoded.
        starts: when the first frame of each part is shown; None: not known yet.
        keyless: no packet is marked as a keyframe.

    Raises:
        DataError: the file is damaged.
    """
    with open_video(path, threads=mode.threads, explode=mode.explode) as (container, stream):
        if mode.seek_to is not None:
            container.seek(mode.seek_to, stream=stream)
        decoder = stream.codec_context
        assert stream.time_base is not None  # FFmpeg gives every stream one
        shown = ShownFrames(path, stream.time_base, only_first=mode.only_first)
        for step in read_steps(path, container, stream):
            if step.part != shown.part:
                yield from shown.select_shown(decoder.decode(None))
                decoder.flush_buffers()
                shown.enter(step.part)
            shown.shift = step.shift
            if (step.before and not keyless) or shown.has_enough:
                continue
            if shown.border is None:
                shown.border = step.time if starts is None or mode.seek_to is not None else starts[shown.part]
            try:
                frames = decoder.decode(step.packet)
            except av.FFmpegError:
                if mode.threads or not shown.is_spared(step):
                    raise
                continue
            yield from shown.select_shown(frames)
        yield from shown.select_shown(decoder.decode(None))


def _decode_times(path: Path, *, keyless: bool, in_avi: bool) -> tuple[VideoFrame | None, list[int]]:
    """The first frame, and all presentation times, from the decoder: where the file does not store them (as AVI).

    Raises:
        DataError: the decoder does not know them either.
    """
    first: VideoFrame | None = None
    times: set[int] = set()
    for _, time, frame in decode_frames(path, keyless=keyless):
        if in_avi and frame.pict_type == PictureType.B:
            raise no_times_error(path)
        first = first or frame
        times.add(time)
    return first, sorted(times)


def _refuse_unfinished(path: Path, container: InputContainer, stream: VideoStream) -> None:
    """Refuse a file without a clock, and a download that stopped.

    The second is refused where the format tells: a transport stream, for one, may end anywhere.

    An mp4 lists where each frame lies. Matroska says at its beginning where it ends, and FFmpeg reads what there is.
    """
    size = path.stat().st_size
    lost = sum(entry.pos + entry.size > size for entry in stream.index_entries)
    if lost:
        raise damaged_error(path, f"it ends before {lost} of its {len(stream.index_entries)} frames")
    if container.format.name.startswith("mov") and not has_clock(path):
        raise damaged_error(path, "a track does not say how long its ticks are, so its times are not known")
    if container.format.name.startswith("matroska"):
        end = _find_matroska_end(path)
        if end is not None and end > size:
            raise damaged_error(path, f"it ends after {size} of {end} bytes")


def _find_matroska_end(path: Path) -> int | None:
    """Find where a Matroska file's segment ends, in bytes; None where it does not say, as in a live recording.

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
