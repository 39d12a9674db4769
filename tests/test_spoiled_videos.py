"""Spoiled clips are read as their rows say, or set aside with one sentence: what once broke, and a few of every kind.

`scripts/fuzz_videos.py` makes as many more as are asked for.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from fuzz_videos import Bench, compare_holdings, read_holdings
from spoil_videos import list_units
from video_opd.data.video.decoding_workers import DecodingWorkers
from videos_to_spoil import write_rendered, write_world

NAMES = ("h264.mp4", "fragmented.mp4", "variable.mp4", "h264.mkv", "vp8.webm", "mpeg4.avi", "h264.ts", "h263.flv")
MUTANTS = 3
"""Of each clip."""


@pytest.fixture(scope="module")
def workers():
    held = DecodingWorkers(20.0, 60.0)
    yield held
    held.close()


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    bases = [*write_rendered(folder, iter(NAMES)), write_world(folder)]
    return {base.name: Bench(base, folder) for base in bases}


def find(data: bytes, name: bytes):
    return next(unit for unit in list_units(data) if unit.name == name)


def leave_out_clock(data: bytes) -> bytes:
    """Nothing says how long a tick is: FFmpeg showed 4 of 40 frames, at the times of others."""
    clock, found = find(data, b"mdhd"), data
    for outer in (b"mdia", b"trak", b"moov"):
        at = find(data, outer).size_at
        size = int.from_bytes(data[at : at + 4], "big") - (clock.end - clock.start)
        found = found[:at] + size.to_bytes(4, "big") + found[at + 4 :]
    return found[: clock.start] + found[clock.end :]


def stop_clock(data: bytes) -> bytes:
    at = find(data, b"mdhd").content + 12
    return data[:at] + bytes(4) + data[at + 4 :]


def leave_out_beginning_of_clip(data: bytes) -> bytes:
    """Tags from 0.24 to 0.68 s: the row's clip, from 0.4 s, began with the picture at 0.72 s as its first second."""
    tags = [unit for unit in list_units(data) if data[unit.start] == 9 and unit.depth == 0]
    times = [int.from_bytes(data[tag.start + 4 : tag.start + 7], "big") for tag in tags]
    kept = [tag for tag, time in zip(tags, times, strict=True) if not 240 <= time <= 680]
    return data[: tags[0].start] + b"".join(data[tag.start : tag.end] for tag in kept)


def cut_frames_and_promise(data: bytes) -> bytes:
    """The table of sizes has 12 of 40 frames, and the header the whole duration."""
    at = find(data, b"stsz").content + 8
    return data[:at] + struct.pack(">I", 12) + data[at + 4 :]


@pytest.mark.parametrize(
    ("name", "change", "seed", "said"),
    [
        ("h264.mp4", leave_out_clock, 0, "a track does not say how long its ticks are"),
        ("h264.mp4", stop_clock, 0, "a track does not say how long its ticks are"),
        ("fragmented.mp4", stop_clock, 0, "a track does not say how long its ticks are"),
        ("h263.flv", leave_out_beginning_of_clip, 3, "its frames are shown for N s, and the row's `clip`"),
        ("h264.mp4", cut_frames_and_promise, 0, "it holds N s of video, and its header says N s"),
        ("h264.mp4", lambda data: data, 0, "read: as it was"),
        ("h264.mp4", lambda data: data, 3, "read: as it was"),  # with a clip
    ],
)
def test_what_once_broke(benches, workers, name, change, seed, said):
    kind, wrong = benches[name].try_mutant(change(benches[name].data), seed, workers)
    assert said in kind
    assert wrong == ""


def test_a_few_mutants_of_every_clip(benches, workers):
    others = [bench.data for bench in benches.values()]
    first = read_holdings(workers)
    for name, bench in benches.items():
        for seed in range(MUTANTS):
            _, kind, wrong = bench.try_seed(seed, others, workers)
            assert wrong == "", (name, seed, kind)
    last = read_holdings(workers)
    assert compare_holdings({key: first[key] for key in ("descriptors", "processes")}, last) == []


def test_this_would_be_noticed(benches, workers, monkeypatch):
    """A part that is taken for the whole, and a traceback."""
    bench = benches["h264.mp4"]
    monkeypatch.setattr("fuzz_videos.require_whole", lambda *_: None)
    monkeypatch.setattr("video_opd.data.video.whole_video.MISSING_SHARE", 9.0)
    part = benches["h264.ts"]
    kind, wrong = part.try_mutant(part.data[: len(part.data) // 188 // 3 * 188], 0, workers)
    assert kind == "part"
    assert "the last frame is at" in wrong
    monkeypatch.setattr(DecodingWorkers, "read_video", lambda *_: {}["a"])
    assert "KeyError" in bench.try_mutant(bench.data, 0, workers)[1]
