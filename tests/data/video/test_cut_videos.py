"""Clips cut or joined without encoding them anew: what is shown is what a player shows, at the times of a player.

Every frame has its number painted on it, so that right pictures are known without a second decoder. Where there is an
`ffmpeg`, its own cuts and its own frames are compared too.
"""

import re
import shutil
import subprocess

import av
import numpy as np
import pytest
from barcodes import BAR, BITS, EVERY_FRAME, HEIGHT, encode, number, numbers

from video_opd.data.video.video_io import VideoBudget, probe, read_frames
from video_opd.errors import DataError
from video_opd.types import Span

RATE, GROUP, COUNT = 25, 12, 96
GROUPS = "open-gop=1:keyint=12:min-keyint=12:scenecut=0:b-adapt=0"
OPEN = {
    "h264": ("libx264", "mkv", {"bf": 3, "x264-params": GROUPS}),
    "hevc": ("libx265", "mkv", {"x265-params": f"{GROUPS}:bframes=3:log-level=none:pools=1"}),
    "mpeg2": ("mpeg2video", "ts", {"g": 12, "bf": 2, "qscale": 3, "sc_threshold": 1_000_000_000}),
}
"""Codec -> encoder, a container to keep it in, options that make groups of pictures which need the group before."""
PLACES = (1, 2, 4, 7)
"""Keyframes to cut at."""


@pytest.fixture(scope="session")
def wholes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wholes")
    made = {}
    for codec, (encoder, ending, options) in OPEN.items():
        made[codec] = encode(folder / f"{codec}.{ending}", COUNT, codec=encoder, rate=RATE, **options)
        # H.264 for transport streams comes from one: there every keyframe brings its parameters.
        made[codec, "ts"] = encode(folder / f"{codec}.ts", COUNT, codec=encoder, rate=RATE, **options)
    return made


def cut(whole, path, keyframe, last=None):
    """Packets from one keyframe on, as `ffmpeg -ss … -c copy` takes them: with pictures that need the group before."""
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        seen, first = 0, None
        for packet in source.demux(stream):
            if packet.size:
                seen += packet.is_keyframe
                if last is not None and seen > last:
                    break
                if seen > keyframe:
                    first = packet.dts if first is None else first
                    packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, copy
                    target.mux(packet)
    return path


def shown(path):
    """Numbers painted on all frames, and their times."""
    info = probe(path)
    frames = read_frames(path, EVERY_FRAME)
    assert info.num_frames - len(frames.indices) in (0, 1), "an even number of frames is read"
    return numbers(frames), frames.times_s


@pytest.mark.parametrize("keyframe", PLACES)
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "ts"])
@pytest.mark.parametrize("codec", OPEN)
def test_a_cut_shows_every_frame_from_its_keyframe_on(tmp_path, wholes, codec, ending, keyframe):
    whole = wholes[codec, "ts"] if ending == "ts" else wholes[codec]
    path = cut(whole, tmp_path / f"cut.{ending}", keyframe)
    found, times = shown(path)
    # MPEG-2 keeps the I picture of a group two pictures after the group's beginning in order of showing.
    assert found[0] in range(keyframe * GROUP - 3, keyframe * GROUP + 3)
    assert found == tuple(range(found[0], found[0] + len(found)))
    assert found[-1] >= COUNT - 2
    assert times == pytest.approx([(number - found[0]) / RATE for number in found], abs=1.1e-3)
    assert probe(path).num_frames == COUNT - found[0]


@pytest.mark.parametrize("codec", OPEN)
def test_the_cuts_of_these_tests_hold_pictures_that_cannot_be_shown(wholes, tmp_path, codec):
    path = cut(wholes[codec], tmp_path / "cut.mkv", 2)
    with av.open(str(path)) as container:
        assert sum(bool(packet.size) for packet in container.demux(video=0)) > probe(path).num_frames


@pytest.mark.parametrize("codec", OPEN)
def test_a_clip_deep_inside_such_a_file_is_reached(tmp_path, codec, monkeypatch, wholes):
    from video_opd.data.video import video_io as video

    monkeypatch.setattr(video, "SEEK_WORTHWHILE_S", 0.5)
    whole = wholes[codec]
    for start in (1.0, 1.4, 1.44, 1.88, 1.92, 2.6):
        frames = read_frames(whole, EVERY_FRAME, Span(start, start + 0.6))
        assert numbers(frames) == frames.indices


@pytest.mark.parametrize("codec", [pytest.param(codec, marks=[pytest.mark.long] * (codec != "h264")) for codec in OPEN])
def test_damage_after_the_first_frame_is_refused_in_a_cut_as_in_a_whole_file(tmp_path, codec):
    encoder, _, options = OPEN[codec]
    squares = np.random.default_rng(0).integers(0, 255, (16, 20, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    images = np.stack([np.roll(squares, number, 1) for number in range(COUNT)])
    whole = encode(tmp_path / "whole.ts", images=images, codec=encoder, **options)
    refusals = {}
    for keyframe in (0, 2):
        path = cut(whole, tmp_path / "a.mkv", keyframe)
        with av.open(str(path)) as container:
            packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        data, rng = path.read_bytes(), np.random.default_rng(1)
        refusals[keyframe] = 0
        for _ in range(15):
            at, size = packets[rng.integers(len(packets) // 2, len(packets) - 4)]
            broken = bytearray(data)
            for place in range(at + size // 3, at + size * 2 // 3):
                broken[place] ^= 0x5A
            path.write_bytes(broken)
            try:
                read_frames(path, EVERY_FRAME)
            except DataError:
                refusals[keyframe] += 1
    # FFmpeg overlooks some damage, in MPEG-2 most; no more of it than anywhere.
    assert refusals[2] >= max(8, refusals[0] - 2)


def test_a_damaged_first_keyframe_is_refused_and_not_taken_for_a_cut(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (24, 64, 64, 3), dtype=np.uint8)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"g": "12", "crf": "20", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for image in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        first = next(container.demux(video=0))
        at, size = first.pos, first.size
    data = bytearray(path.read_bytes())
    for place in range(at + size // 3, at + size * 2 // 3, 7):
        data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match="truncated or corrupt"):
        read_frames(path, EVERY_FRAME)


# Joined transport streams


@pytest.mark.parametrize("codec", OPEN)
@pytest.mark.parametrize(
    "pieces",
    [
        ((0, None), (0, None)),  # `cat a.ts a.ts`: the clock goes back
        ((3, None), (2, 5)),  # both cut, the second with pictures that need what is not there
        ((0, 2), (2, 4), (4, None)),
    ],
    ids=["twice", "cuts", "three"],
)
def test_joined_transport_streams_are_shown_one_after_the_other(tmp_path, wholes, codec, pieces):
    parts = [cut(wholes[codec, "ts"], tmp_path / f"{n}.ts", *piece) for n, piece in enumerate(pieces)]
    firsts = [shown(part)[0][0] for part in parts]
    lengths = [probe(part).num_frames for part in parts]
    expected = [first + n for first, length in zip(firsts, lengths, strict=True) for n in range(length)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert probe(joined).num_frames == len(expected)
    frames = read_frames(joined, VideoBudget(fps=RATE * 9, max_tokens=100_000))
    assert numbers(frames) == tuple(expected[index] for index in frames.indices)
    # At a joint no more is lost than the time of the pictures that cannot be shown.
    assert frames.times_s[-1] == pytest.approx((len(expected) - 1) / RATE, abs=(len(parts) - 1) * 4.1 / RATE)
    assert sorted(frames.times_s) == list(frames.times_s)


def test_segments_of_one_stream_that_are_put_together_again_are_that_stream(tmp_path, wholes):
    whole = wholes["h264", "ts"]
    with av.open(str(whole)) as source:
        stream = source.streams.video[0]
        targets = []
        for packet in source.demux(stream):
            if packet.size:
                if packet.is_keyframe and len(targets) < 3:
                    targets.append(av.open(str(tmp_path / f"{len(targets)}.ts"), "w"))
                    copy = targets[-1].add_stream_from_template(stream)
                packet.stream = copy
                targets[-1].mux(packet)
        for target in targets:
            target.close()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join((tmp_path / f"{number}.ts").read_bytes() for number in range(3)))
    assert shown(joined) == shown(whole)


# Against ffmpeg itself

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg to compare with")


def ffmpeg(*arguments):
    command = ["ffmpeg", "-hide_banner", "-threads", "1", "-y", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True)


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize("start_s", [0.5, 1.3, 1.9, 2.95])
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "ts"])
@pytest.mark.parametrize("codec", OPEN)
def test_ffmpeg_shows_the_same_frames_at_the_same_times(tmp_path, wholes, codec, ending, start_s):
    path = tmp_path / f"cut.{ending}"
    ffmpeg("-ss", start_s, "-i", wholes[codec, "ts"] if ending == "ts" else wholes[codec], "-c", "copy", path)
    result = ffmpeg("-i", path, "-vf", "showinfo", "-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    pictures = np.frombuffer(result.stdout, np.uint8).reshape(-1, HEIGHT, BITS * BAR, 3)
    times = [float(time) for time in re.findall(rb"pts_time:\s*(-?[0-9.]+)", result.stderr)]
    assert probe(path).num_frames == len(pictures) == len(times)
    frames = read_frames(path, EVERY_FRAME)
    at = list(frames.indices)
    assert frames.times_s == pytest.approx([times[index] - times[0] for index in at], abs=1e-3)
    # The pictures here are 64 x 64 of 80 x 64 pixels, whole tokens; what is painted on them is compared.
    assert numbers(frames) == tuple(number(picture) for picture in pictures[at])
