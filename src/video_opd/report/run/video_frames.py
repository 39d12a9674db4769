"""Small pictures of the videos that a page shows: decoded when the page is written, where the videos are at hand.

Decoding happens in a process with limits on time and memory, and no video is looked at for long: a page without a
picture is better than no page.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from video_opd.errors import UserError
from video_opd.files.timeline_records import QueryTimeline
from video_opd.types import Example

if TYPE_CHECKING:
    from video_opd.data.video.decoding_workers import DecodingWorkers
    from video_opd.data.video.video_io import Frames, KeptFrames

_log = logging.getLogger(__name__)

NUM_FRAMES = 10
"""Of each video; even, as frames come in pairs."""
MOST_BYTES = 1_500_000
"""Of all pictures of a page together, as they stand in it."""
_PIXELS = 160 * 90
"""About so many has a picture; a smaller frame is not enlarged."""
_QUALITIES = (75, 60, 45, 30, 15)
_CLIP_S, _ALL_S = 20.0, 60.0
"""Most seconds for one video, and for all videos of a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFrame:
    """A small picture, and when it is shown."""

    time_s: float
    image: str
    """A JPEG as a data URI."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownVideo:
    """What a page shows of the video of a query."""

    frames: tuple[VideoFrame, ...] = ()
    duration_s: float = 0.0
    """Of what is shown; 0: not known."""
    link: str = ""
    """From the page to the file, quoted; empty where there is no file to play."""
    why_not: str = ""
    """Why there are no frames."""


def show_videos(queries: Sequence[QueryTimeline], videos: Path | None, page: Path) -> dict[str, ShownVideo]:
    """Look at the video of each query, by id.

    Args:
        queries: the queries that the page shows.
        videos: the folder that their videos are relative to; None: it is not known.
        page: where the page is written; links start from its folder.
    """
    if not queries:
        return {}
    if videos is None or (fault := _find_fault(videos)):
        where = "the folder of the videos is not known" if videos is None else f"{videos} {fault}"
        why = f"No frames: {where}. Write the report again with --videos FOLDER."
        return {each.id: ShownVideo(why_not=why) for each in queries}
    from video_opd.data.video.decoding_workers import DecodingWorkers

    workers = DecodingWorkers(_CLIP_S, _CLIP_S, keep=_make_small_frames)
    until, shown = time.monotonic() + _ALL_S, {}
    try:
        for each in queries:
            is_late = time.monotonic() > until
            shown[each.id] = _show_video(each, videos, page, None if is_late else workers)
    finally:
        workers.close()
    return _encode(shown)


def _find_fault(folder: Path) -> str:
    """Why a folder cannot be used; empty where it can."""
    try:
        return "" if folder.is_dir() else "is not a folder"
    except OSError as error:
        return f"cannot be used ({error.strerror or error})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decoded(ShownVideo):
    """With frames that are not encoded yet."""

    raw: Frames | None = None


def _show_video(query: QueryTimeline, videos: Path, page: Path, workers: DecodingWorkers | None) -> _Decoded:
    from video_opd.data.manifest import resolve_video
    from video_opd.data.video.video_sampling import VideoBudget

    link = ""
    try:
        path = resolve_video(videos, _make_example(query))
        link = link_to(path, page) if query.frame_rate is None else ""
        if workers is None:
            return _Decoded(link=link, why_not="No frames: the other videos took all the time there is for decoding.")
        budget = VideoBudget(
            max_frames=NUM_FRAMES,
            min_frames=NUM_FRAMES,
            max_frame_tokens=_PIXELS // 8**2,
            pixels_per_token_side=8,
        )
        frames = workers.read_video(path, budget, query.clip, query.frame_rate)
    except UserError as error:
        return _Decoded(link=link, why_not=f"No frames: {error.cause}: {error.reason}.")
    except Exception as error:  # a fault of the decoder is no reason to write no page
        _log.warning("the report shows no frames of %s", query.video, exc_info=error)
        return _Decoded(link=link, why_not="No frames: the decoder failed; the log says more.")
    return _Decoded(link=link, duration_s=frames.duration_s, raw=frames)


def _make_example(query: QueryTimeline) -> Example:
    return Example(
        id=query.id,
        video=query.video,
        query=query.query,
        spans=tuple(query.annotated),
        duration=query.duration or None,
        clip=query.clip,
        frame_rate=query.frame_rate,
    )


def link_to(path: Path, page: Path) -> str:
    """The address of a file relative to a page; empty where it is missing, or on another drive.

    Args:
        path: of the file.
        page: of the page.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        way = Path(os.path.relpath(path, os.path.realpath(page.parent))).as_posix()
        return f"./{quote(way)}"  # with the dot no name can pass for an address
    except (OSError, ValueError):  # ValueError: on another drive, or half of a surrogate pair
        return ""


def _make_small_frames() -> KeptFrames:
    """Frames that are resized without torch."""
    import numpy as np
    from PIL import Image

    from video_opd.data.video.video_io import KeptFrames

    class SmallFrames(KeptFrames):
        def add(self, image: Any, places: list[int]) -> None:
            height, width = self.images.shape[1:3]
            self.images[places] = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))

    return SmallFrames()


def _encode(decoded: dict[str, _Decoded]) -> dict[str, ShownVideo]:
    """All frames as JPEGs, none larger than its share of what a page may hold."""
    count = sum(len(each.raw.times_s) for each in decoded.values() if each.raw)
    limit = MOST_BYTES // max(count, 1)
    return {
        id: ShownVideo(
            frames=tuple(
                VideoFrame(time_s=time_s, image=image)
                for time_s, picture in (zip(each.raw.times_s, each.raw.images, strict=True) if each.raw else ())
                if (image := encode_picture(picture, limit))
            ),
            duration_s=each.duration_s,
            link=each.link,
            why_not=each.why_not,
        )
        for id, each in decoded.items()
    }


def encode_picture(picture: Any, limit: int) -> str:
    """A picture as the data URI of a JPEG, in the best quality that is small enough; empty where none is.

    Args:
        picture: (H, W, 3) uint8.
        limit: most characters.
    """
    from PIL import Image

    for quality in _QUALITIES:
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "JPEG", quality=quality, optimize=True)
        uri = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
        if len(uri) <= limit:
            return uri
    return ""
