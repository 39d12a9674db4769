"""Turned, mirrored and stretched pictures: what is seen is what ffmpeg and players show."""

import shutil
import struct
import subprocess

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from barcodes import encode

from video_opd.data.video.video_io import VideoBudget, probe, read_frames, write_video
from video_opd.errors import DataError

# a, b, c, d of a display matrix, and what it makes of a picture (H, W, 3). The eight ways to lay a rectangle on itself.
WAYS = {
    "as it is": ((1, 0, 0, 1), lambda image: image),
    "left and right": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "top and bottom": ((1, 0, 0, -1), lambda image: image[::-1]),
    "half a turn": ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
    "clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "counter-clockwise": ((0, -1, 1, 0), lambda image: np.rot90(image)),
    "transposed": ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    "transposed the other way": ((0, -1, -1, 0), lambda image: image[::-1, ::-1].transpose(1, 0, 2)),
}
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg to compare with")


def picture():
    """(64, 96, 3), alike to none of its turned and mirrored selves."""
    image = np.full((64, 96, 3), 40, np.uint8)
    image[:16, :64] = 220
    image[16:48, :16] = 130
    return image


def with_matrix(path, matrix, scale=1.0):
    write_video(path, np.stack([picture()] * 4), fps=2)
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 44
    a, b, c, d = (round(value * scale * 65536) for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def assert_shows(path, right):
    info, images = probe(path), read_frames(path, VideoBudget()).images
    assert (info.height, info.width) == right.shape[:2]
    assert images.shape[1:] == right.shape
    assert np.abs(images.astype(int) - right).mean() < 4


def shown_by_ffmpeg(path, *arguments):
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(path),
        "-frames:v",
        "1",
        *arguments,
        "-f",
        "image2pipe",
        "-c:v",
        "ppm",
    ]
    ppm = subprocess.run([*command, "-"], capture_output=True, check=True).stdout
    _, size, _, pixels = ppm.split(b"\n", 3)
    width, height = map(int, size.split())
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize("ending", ["mp4", "mov"])
@pytest.mark.parametrize("way", WAYS)
def test_all_eight_orientations(tmp_path, way, ending):
    matrix, right = WAYS[way]
    assert_shows(with_matrix(tmp_path / f"a.{ending}", matrix), right(picture()))


@needs_ffmpeg
@pytest.mark.parametrize("way", WAYS)
def test_ffmpeg_shows_the_same(tmp_path, way):
    matrix, right = WAYS[way]
    path = with_matrix(tmp_path / "a.mp4", matrix)
    assert np.abs(shown_by_ffmpeg(path).astype(int) - right(picture())).mean() < 4


@pytest.mark.parametrize("way", WAYS)
def test_an_orientation_in_matroska(tmp_path, way):
    # Matroska keeps an angle and whether left and right are mirrored: a projection of a rectangle. FFmpeg writes it.
    matrix, right = WAYS[way]
    source = with_matrix(tmp_path / "a.mp4", matrix)
    with av.open(str(source)) as container, av.open(str(tmp_path / "a.mkv"), "w") as target:
        stream = container.streams.video[0]
        frame = next(av.open(str(source)).decode(video=0))
        copy = target.add_stream_from_template(stream)
        if side_data := frame.side_data.get("DISPLAYMATRIX"):
            copy.set_display_matrix(np.frombuffer(bytes(side_data), np.int32).tolist())
        for packet in container.demux(stream):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    assert_shows(tmp_path / "a.mkv", right(picture()))


@pytest.mark.parametrize(
    ("orders", "way"),
    [
        ("rotate=0:flip=horizontal", "left and right"),
        ("rotate=0:flip=vertical", "top and bottom"),
        ("rotate=90", "counter-clockwise"),
        ("rotate=180", "half a turn"),
        ("rotate=270", "clockwise"),
        ("rotate=90:flip=vertical", "transposed the other way"),
    ],
)
def test_an_orientation_in_the_stream_itself(tmp_path, orders, way):
    # H.264's display orientation, in a transport stream, which has no matrix of its own.
    source, path = with_matrix(tmp_path / "a.mp4", (1, 0, 0, 1)), tmp_path / "a.ts"
    with av.open(str(source)) as container, av.open(str(path), "w") as target:
        stream = container.streams.video[0]
        copy = target.add_stream_from_template(stream)
        mark = BitStreamFilterContext(
            f"h264_mp4toannexb,h264_metadata=display_orientation=insert:{orders}", stream, copy
        )
        for packet in container.demux(stream):
            for marked in mark.filter(packet if packet.size else None):
                marked.stream = copy
                target.mux(marked)
    assert_shows(path, WAYS[way][1](picture()))


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1)])
def test_a_matrix_that_says_nothing_changes_nothing(tmp_path, matrix):
    assert_shows(with_matrix(tmp_path / "a.mp4", matrix), picture())


def test_the_scale_of_a_matrix_does_not_count_as_ffmpeg_does_not_heed_it(tmp_path):
    assert_shows(with_matrix(tmp_path / "a.mp4", (0, 1, -1, 0), scale=2.0), np.rot90(picture(), -1))


@pytest.mark.parametrize("degrees", [1, 30, 45, 135, 200])
def test_another_angle_is_refused_in_one_sentence(tmp_path, degrees):
    turn = np.radians(degrees)
    path = with_matrix(tmp_path / "a.mp4", (np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn)))
    for read in (probe, lambda path: read_frames(path, VideoBudget())):
        with pytest.raises(DataError, match=f"turns it by {degrees} degrees: only quarter turns.*ffmpeg -i"):
            read(path)


@pytest.mark.parametrize(
    ("aspect", "width", "columns"), [("2/1", 160, 160), ("1/2", 40, 32), ("4/3", 107, 96), ("1/1", 80, 64)]
)
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_pixels_that_are_not_square_are_stretched_to_what_a_player_shows(tmp_path, aspect, width, columns, ending):
    path = encode(tmp_path / f"a.{ending}", 8, **{"x264-params": f"sar={aspect}"})
    info, frames = probe(path), read_frames(path, VideoBudget())
    assert (info.height, info.width) == (64, width)
    assert frames.images.shape[1:] == (64, columns, 3)  # whole tokens of 32 pixels, rounded once


def test_pixels_are_stretched_before_the_picture_is_turned(tmp_path):
    path = encode(tmp_path / "a.mp4", 8, **{"x264-params": "sar=2/1"})
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    assert (probe(path).height, probe(path).width) == (160, 64)
    assert read_frames(path, VideoBudget()).images.shape[1:] == (160, 64, 3)
