"""Rendered clips of the tiny world that the page offers, so that there is something to ask about at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from video_opd.data.tiny_world import TinyWorld, draw_clip, render
from video_opd.data.video.video_io import write_video
from video_opd.seeds import generator
from video_opd.serve.api_records import ShownClipInfo

NUM_CLIPS = 4


@dataclass(frozen=True, kw_only=True)
class ShownClip:
    """One clip."""

    info: ShownClipInfo
    content: bytes
    """The mp4 file."""


def render_clips(folder: Path) -> Mapping[str, ShownClip]:
    """Render some clips, always the same ones, and return them by id.

    Args:
        folder: an existing one, where a file is made and removed again.
    """
    world, clips = TinyWorld(), {}
    for number in range(NUM_CLIPS):
        clip = draw_clip(world, generator(number, "serve"), f"clip-{number + 1}")
        file = folder / "rendered.mp4"
        write_video(file, render(clip, world), world.fps)
        info = ShownClipInfo(
            id=clip.id,
            duration=clip.duration_s,
            queries=[event.name for event in clip.events],
            shown_at=sum(clip.events[0].span) / 2,
        )
        clips[clip.id] = ShownClip(info=info, content=file.read_bytes())
        file.unlink()
    return clips
