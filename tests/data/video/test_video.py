import json
import os
import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from barcodes import BAR, BITS, EVERY_FRAME, HEIGHT, barcode, encode, numbers

from video_opd.data.video import video_file, video_packets
from video_opd.data.video import video_io as video
from video_opd.data.video.video_io import VideoBudget, probe, read_frames, write_video
from video_opd.errors import DataError
from video_opd.terminal import escape_controls
from video_opd.types import Span

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def patched(path, at, content):
    data = bytearray(path.read_bytes())
    data[at : at + len(content)] = content
    path.write_bytes(data)


def assert_right(frames):
    assert numbers(frames) == frames.indices


# The right frames at the right times


@pytest.mark.parametrize("fps", [2, 9.532888, Fraction(30_000, 1001), 24])
def test_what_is_written_is_read(tmp_path, fps):
    write_video(tmp_path / "a.mp4", np.stack([barcode(i) for i in range(60)]), fps)
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.num_frames, info.codec) == (80, 64, 60, "h264")
    assert info.fps == pytest.approx(float(fps), rel=1e-4)
    assert info.duration_s == pytest.approx(60 / float(fps), abs=0.01)
    frames = read_frames(tmp_path / "a.mp4", VideoBudget())
    assert_right(frames)
    assert frames.times_s == pytest.approx([i / float(fps) for i in frames.indices], abs=1e-3)
    assert frames.images.shape[1:] == (64, 64, 3)  # 80 pixels are two and a half tokens; halves go to the even side


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b-frames.mp4", {"bf": 3}),
        ("fragmented.mp4", {"mux": {"movflags": "frag_keyframe+empty_moov"}, "g": 10}),
        ("h264.mkv", {"rate": 24}),
        ("ten-bit.mkv", {"codec": "ffv1", "pix_fmt": "yuv422p10le"}),
        ("gray.mkv", {"codec": "ffv1", "pix_fmt": "gray"}),
        ("vp9.webm", {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": 8}),
        ("interlaced.mp4", {"flags": "+ilme+ildct", "x264-params": "interlaced=1"}),
        ("b-frames-without-times.avi", {"codec": "mpeg4", "bf": 2}),
        ("starts-late.ts", {"bf": 2}),
        ("starts-late.mpg", {"codec": "mpeg2video", "bf": 2}),
        ("old.flv", {"codec": "flv1"}),
        ("windows.wmv", {"codec": "wmv2"}),
    ],
)
def test_every_kind_of_file_gives_the_right_frames(tmp_path, name, options):
    path = encode(tmp_path / name, **options)
    info, frames = probe(path), read_frames(path, VideoBudget(fps=5))
    assert info.num_frames == 50
    assert_right(frames)
    rate = options.get("rate", 25)
    assert frames.times_s == pytest.approx([i / rate for i in frames.indices], abs=1e-3)


def test_a_header_that_says_zero_frames_is_not_believed(tmp_path):
    path = encode(tmp_path / "a.mp4", mux={"movflags": "frag_keyframe+empty_moov"})
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    assert probe(path).num_frames == 50


def test_a_header_that_says_too_many_frames_is_not_believed(tmp_path):
    path = encode(tmp_path / "a.avi", codec="mpeg4")
    data = path.read_bytes()
    patched(path, data.find(b"avih") + 8 + 16, struct.pack("<I", 9999))  # total frames of the file
    patched(path, data.find(b"strh") + 8 + 32, struct.pack("<I", 9999))  # length of the stream
    info = probe(path)
    assert (info.num_frames, info.duration_s) == (50, 2.0)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_frame_rate_and_a_late_start_keep_their_true_times(tmp_path, name):
    gaps = np.random.default_rng(0).integers(5, 200, 60)
    pts = [7000 + int(time) for time in np.cumsum(gaps)]
    path = encode(tmp_path / name, 60, pts=pts, tick=Fraction(1, 1000), bf=2)
    assert probe(path).first_pts_s == pytest.approx(pts[0] / 1000, abs=1e-3)
    frames = read_frames(path, VideoBudget())
    assert_right(frames)
    assert frames.times_s[0] == 0
    assert frames.times_s == pytest.approx([(pts[i] - pts[0]) / 1000 for i in frames.indices], abs=1.1e-3)


def test_an_edit_list_hides_frames(tmp_path):
    path = encode(tmp_path / "a.mp4", bf=0, g=25)
    entry = path.read_bytes().find(b"elst") + 12
    # Show 0.8 s from frame 10 on; frames 0 to 9 are decoded only because 10 needs them.
    patched(path, entry, struct.pack(">Ii", 800, 10 * 512))
    info, frames = probe(path), read_frames(path, EVERY_FRAME)
    assert info.num_frames == 20
    assert numbers(frames) == tuple(range(10, 30))
    assert frames.indices == tuple(range(20))
    assert frames.times_s[1] == pytest.approx(0.04)


def test_of_several_streams_the_best_is_read(tmp_path):
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as container:
        first, best = (container.add_stream("libx264", rate=rate) for rate in (25, 10))
        best.disposition = Disposition.default
        first.width, first.height, best.width, best.height = 32, 32, BITS * BAR, HEIGHT
        for stream, count, picture in ((first, 50, lambda _: np.zeros((32, 32, 3), np.uint8)), (best, 20, barcode)):
            for number in range(count):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
            container.mux(stream.encode(None))
    assert probe(path).num_frames == 20
    assert_right(read_frames(path, VideoBudget(fps=5)))


def test_a_broadcast_joined_midway_starts_at_its_first_keyframe(tmp_path):
    path = encode(tmp_path / "a.ts", codec="mpeg2video", g=12, bf=2)
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 3 // 188 * 188 :])
    found = numbers(read_frames(path, EVERY_FRAME))
    assert found == tuple(range(found[0], 50))
    assert found[0] == 24


def test_a_clip_deep_inside_is_reached_by_a_seek(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", 400, rate=10, bf=2, g=50)
    frames = read_frames(path, VideoBudget(), Span(20.5, 25.0))
    assert_right(frames)
    assert (frames.indices[0], frames.indices[-1]) == (205, 250)
    assert frames.times_s[0] == 0
    assert frames.times_s[-1] == pytest.approx(4.5)
    assert frames.duration_s == pytest.approx(4.6)
    monkeypatch.setattr(video, "SEEK_WORTHWHILE_S", 1e9)
    assert np.array_equal(read_frames(path, VideoBudget(), Span(20.5, 25.0)).images, frames.images)


def test_a_frame_of_one_pixel_becomes_one_token(tmp_path):
    path = tmp_path / "pixel.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=2)
        stream.width, stream.height, stream.pix_fmt = 1, 1, "gray"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((1, 1), 200, np.uint8), format="gray")))
        container.mux(stream.encode(None))
    images = read_frames(path, VideoBudget()).images
    assert images.shape == (4, 32, 32, 3)
    assert (abs(images.astype(int) - 200) <= 1).all()


def test_memory_grows_with_the_budget_not_with_the_video(tmp_path):
    path = tmp_path / "long.mp4"
    write_video(path, np.zeros((200, 240, 320, 3), np.uint8), fps=10)
    read_frames(path, VideoBudget(max_frames=2))  # imports
    tracemalloc.start()
    images = read_frames(path, VideoBudget(max_frames=8, max_tokens=32)).images
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert images.shape == (8, 64, 96, 3)
    assert peak < 3_000_000, "200 decoded frames are 46 MB"


# Files that are refused


def refused(path, match, clip=None):
    with pytest.raises(DataError, match=match) as caught:
        read_frames(path, VideoBudget(), clip)
    assert escape_controls(path.name) in caught.value.cause
    return caught.value


def test_missing_empty_and_irregular_files(tmp_path):
    refused(tmp_path / "none.mp4", "No such file")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", "the file is empty")
    os.mkfifo(tmp_path / "pipe.mp4")
    refused(tmp_path / "pipe.mp4", "not a regular file")
    refused(tmp_path, "not a regular file")
    refused(tmp_path / "a\0b.mp4", "null byte")


def test_a_stream_without_frames_is_refused(tmp_path):
    path = tmp_path / "none.mp4"
    with av.open(str(path), "w", options={"movflags": "empty_moov+frag_keyframe"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
    refused(path, "no frames")


def test_one_frame_is_too_short(tmp_path):
    path = encode(tmp_path / "one.mp4", 1)
    assert probe(path).num_frames == 1
    refused(path, "the video has 1 frame")


def test_a_clip_outside_the_video_names_the_file(tmp_path):
    refused(encode(tmp_path / "a.mp4"), r"clip 5 - 9 s of a video of 2\.00 s", Span(5.0, 9.0))


@pytest.mark.parametrize("name", ["faststart.mp4", "index-last.mp4", "fragmented.mp4", "a.mkv", "a.flv"])
def test_a_truncated_file_is_refused(tmp_path, name):
    flags = {"faststart.mp4": "faststart", "fragmented.mp4": "frag_keyframe+empty_moov"}.get(name)
    path = encode(tmp_path / name, mux={"movflags": flags} if flags else None, g=10)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    with pytest.raises(DataError, match=r"truncated or corrupt|cut off"):
        probe(path)


def test_a_damaged_file_is_refused_but_for_what_lies_before_the_damage(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8)
    path = tmp_path / "a.mp4"
    write_video(path, noise, fps=10)
    whole = read_frames(path, VideoBudget(), Span(0.0, 1.0)).images
    data = path.read_bytes()
    for offset in range(0, 400, 50):
        patched(path, len(data) * 6 // 10 + offset, bytes([data[len(data) * 6 // 10 + offset] ^ 0xFF]))
    assert probe(path).num_frames == 40, "the packets are all there; only decoding shows the damage"
    refused(path, "cannot read it|does not decode|do not come out")
    assert np.array_equal(read_frames(path, VideoBudget(), Span(0.0, 1.0)).images, whole)


def test_limits_hold(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4")
    monkeypatch.setattr(video_packets, "MAX_PACKETS", 49)
    refused(path, "more than 49 video packets")
    monkeypatch.undo()
    monkeypatch.setattr(video_file, "MAX_FRAME_PIXELS", 1000)
    refused(path, "cannot read it")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_no_damage_causes_anything_but_a_data_error(tmp_path, name):
    data = encode(tmp_path / name, bf=2).read_bytes()
    rng = np.random.default_rng(1)
    broken = tmp_path / "broken"
    refusals = 0
    for _ in range(25):
        copy = bytearray(data)
        for place in rng.integers(0, len(data), 10):
            copy[place] = int(rng.integers(256))
        broken.write_bytes(copy)
        try:
            read_frames(broken, VideoBudget(fps=5))
        except DataError:
            refusals += 1
    assert refusals > 5


# Writing


def test_writing_is_deterministic_and_whole_or_not_at_all(tmp_path, monkeypatch):
    images = np.stack([barcode(i) for i in range(20)])
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, images, fps=10)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()

    def fail(*args, **kwargs):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(av.VideoFrame, "from_ndarray", fail)
    with pytest.raises(RuntimeError, match="full"):
        write_video(tmp_path / "c.mp4", images, fps=10)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("shape", [(0, 64, 64, 3), (4, 64, 64), (4, 64, 64, 4), (4, 63, 64, 3)])
def test_writing_wants_frames_that_h264_can_hold(tmp_path, shape):
    with pytest.raises(ValueError, match="write_video wants"):
        write_video(tmp_path / "a.mp4", np.zeros(shape, np.uint8), fps=10)


# Real clips, against qwen_vl_utils 0.0.14 with decord 0.6.0


def golden(config):
    file = SHARED / "golden" / "qwen3vl_processor.json"
    if not file.exists():
        return []
    cases = [case for case in json.loads(file.read_text())["cases"] if case["config"] == config]
    return [pytest.param(case, id=case["video"]) for case in cases]


needs_clips = pytest.mark.skipif(not (SHARED / "video").exists(), reason="the real clips are not in the repository")


@needs_clips
@pytest.mark.parametrize("case", golden("timelens_eval"))
def test_real_clips_give_the_golden_frames_grid_and_time_stamps(case):
    # 14,336 tokens and 64 a frame at least: neither binds, so Qwen's code and ours must agree in everything.
    frames = read_frames(SHARED / "video" / case["video"], VideoBudget(max_tokens=14_336))
    assert list(frames.indices) == case["metadata"]["frames_indices"]
    _, height, width, _ = frames.images.shape
    assert [[len(frames.indices) // 2, height // 16, width // 16]] == case["grid_thw"]
    pairs = zip(frames.times_s[::2], frames.times_s[1::2], strict=True)
    assert [f"{(first + second) / 2:.1f}" for first, second in pairs] == case["timestamps"]
    # All three keep a constant frame rate, odd as it is (9.53 fps), so index / fps, which decord's users take for the
    # time, is right as well. That it need not be is shown in test_video_sampling.py.
    fps = case["metadata"]["fps"]
    assert frames.times_s == pytest.approx([index / fps for index in frames.indices], abs=1e-3)


@needs_clips
def test_the_real_damaged_clip_is_refused():
    path = SHARED / "video" / "corrupted.mp4"
    assert probe(path).num_frames == 50
    refused(path, "FFmpeg cannot read it")
