"""Small clips to spoil: those that PyAV writes here, with a number painted on every frame, and pieces of real ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "data" / "video"))  # barcodes

from barcodes import encode  # noqa: E402

from video_opd.data.tiny_world import TinyWorld, draw_clip, render  # noqa: E402
from video_opd.data.video.video_io import write_video  # noqa: E402


@dataclass(frozen=True)
class Base:
    """A clip that is spoiled."""

    name: str
    path: Path
    weight: int
    """How often it is spoiled."""


_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
RENDERED: dict[str, dict[str, Any]] = {
    "h264.mp4": {"bf": 2, "g": 12},
    "fragmented.mp4": {"bf": 0, "g": 10, "mux": _FRAGMENTED},
    "faststart.mov": {"codec": "mpeg4", "g": 12, "mux": {"movflags": "faststart"}},
    "variable.mp4": {"pts": [frame + frame // 7 for frame in range(40)], "bf": 0, "g": 12},
    "hevc.mp4": {"codec": "libx265", "g": 12, "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "h264.mkv": {"bf": 2, "g": 12},
    "mjpeg.mkv": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "rate": 10},
    "vp9.webm": {"codec": "libvpx-vp9", "g": 12},
    "vp8.webm": {"codec": "libvpx", "g": 12},
    "mpeg4.avi": {"codec": "mpeg4", "g": 12},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "rate": 10},
    "h264.ts": {"bf": 2, "g": 12},
    "mpeg2.ts": {"codec": "mpeg2video", "g": 12},
    "h263.flv": {"codec": "flv", "g": 12},
    "h264.flv": {"bf": 0, "g": 12},
    "wmv2.asf": {"codec": "wmv2", "g": 12},
}
"""Options of the clips that are written here: one of each container and codec."""
REAL = {
    ("OHOFG", 2.0): ("mp4", "mkv", "ts", "flv"),
    ("nasa_13013", 4.0): ("mp4", "mkv", "ts", "mov"),
    ("v_TpB_zMG3XBA", 6.0): ("mp4", "mkv", "avi"),
}
"""Pieces of real clips: name and seconds, and the containers that they are copied into."""


def write_rendered(folder: Path, names: Iterator[str] | None = None) -> Iterator[Base]:
    """Write the clips that are rendered here, those with names or all."""
    for name in names or RENDERED:
        options = {"num_frames": 40, "threads": 1} | RENDERED[name]
        options["mux"] = {"fflags": "+bitexact"} | options.get("mux", {})
        yield Base(name, encode(folder / name, **options), 3)


def write_world(folder: Path) -> Base:
    """Write a clip of the tiny world."""
    world = TinyWorld(durations_s=(8.0,))
    path = folder / "world.mp4"
    write_video(path, render(draw_clip(world, np.random.default_rng(7), "a"), world), world.fps)
    return Base("world.mp4", path, 6)


def cut_real(videos: Path, folder: Path) -> Iterator[Base]:
    """Copy the beginnings of the real clips that are there, without decoding, and two whole ones."""
    for (name, seconds), suffixes in REAL.items():
        source = videos / f"{name}.mp4"
        if source.is_file():
            for suffix in suffixes:
                yield Base(f"{name}.{suffix}", _copy_beginning(source, folder / f"{name}.{suffix}", seconds), 2)
    for name, weight in (("corrupted", 1), ("nasa_13013", 1)):
        if (videos / f"{name}.mp4").is_file():
            yield Base(f"whole-{name}.mp4", videos / f"{name}.mp4", weight)


def _copy_beginning(source: Path, path: Path, seconds: float) -> Path:
    with av.open(str(source)) as container, av.open(str(path), "w") as made:
        stream = container.streams.video[0]
        assert stream.time_base is not None  # FFmpeg gives every stream one
        copied = made.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.dts is None or packet.dts * stream.time_base > seconds:
                break
            packet.stream = copied
            made.mux(packet)
    return path
