"""What is no video, or not one that is read here, is called what it is; only broken videos are called broken."""

import io
import os
import re
import zipfile

import av
import numpy as np
import pytest
from barcodes import BAR, BITS, HEIGHT, barcode, encode
from PIL import Image

from video_opd.data.video.video_io import VideoBudget, probe, read_frames
from video_opd.errors import DataError


def reason(path):
    """The sentence of a refusal, the same for both ways to look at a file."""
    with pytest.raises(DataError) as caught:
        probe(path)
    with pytest.raises(DataError) as again:
        read_frames(path, VideoBudget())
    assert str(again.value) == str(caught.value)
    return str(caught.value)


def saved(path, content):
    path.write_bytes(content)
    return path


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.mp4", b"0" * 100)
    return buffer.getvalue()


def picture(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (9, 99, 199)).save(buffer, kind)
    return buffer.getvalue()


NO_VIDEO = {
    "text": (b"hello, I am a text file", r"a text that begins with 'hello, I am a text file', not a video"),
    "no ascii": ("ein Text über Käse\n".encode() * 900, r"a text that begins with 'ein Text über Käse'"),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), "a text that begins with 'a,b'"),
    "json": (b'{"error": "not found"}', "JSON, not a video"),
    "rows": (b'[\n {"id": 1}\n]', "JSON, not a video"),
    "web page": (b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title>", r"a web page \(HTML\).*download the video"),
    "web page, bare": (b"<HTML><BODY>403 Forbidden</BODY></HTML>", r"a web page \(HTML\)"),
    "web page, with a mark": (b"\xef\xbb\xbf<html>", r"a web page \(HTML\)"),
    "error of a store": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML, as servers send"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS.*git lfs pull"),
    "concat": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "a playlist, which names other files"),
    "playlist": (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://localhost:1/a.ts\n", "a playlist"),
    "dash": (b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>', "a playlist"),
    "subtitles": (b"1\n00:00:01,000 --> 00:00:02,000\nHello\n", "a text that begins with '1'"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF, not a video"),
    "zip": (zipped(), r"packed \(a zip archive\), not a video.*unzip"),
    "gzip": (b"\x1f\x8b\x08" + bytes(200), r"packed \(gzip\)"),
    "tar": (b"a.mp4".ljust(257, b"\0") + b"ustar\x0000" + bytes(500), "a tar archive"),
    "array": (b"\x93NUMPY\x01\0" + bytes(90), "a NumPy array"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file"),
    "table": (b"PAR1" + bytes(90), "a Parquet table"),
    "openssl": (b"Salted__" + np.random.default_rng(0).bytes(900), r"encrypted \(OpenSSL\)"),
    "pgp": (b"-----BEGIN PGP MESSAGE-----\n\nhQEM", r"encrypted \(PGP\)"),
    "jpeg": (picture("JPEG"), r"one picture \(JPEG\), not a video"),
    "png": (picture("PNG"), r"one picture \(PNG\)"),
    "bmp": (picture("BMP"), r"one picture \(BMP\)"),
    "webp": (picture("WEBP"), r"one picture \(WEBP\)"),
    "bitmap": (picture("PPM"), r"one picture \(PPM\)"),
    "zeros": (bytes(5000), "begins with 5000 bytes of zero.*Download it again"),
}


@pytest.mark.parametrize("kind", NO_VIDEO)
def test_what_is_no_video_is_called_what_it_is(tmp_path, kind):
    content, right = NO_VIDEO[kind]
    sentence = reason(saved(tmp_path / "a.mp4", content))
    assert re.search(right, sentence), sentence
    assert "corrupt" not in sentence


def test_a_table_is_called_that_and_noise_is_called_broken(tmp_path):
    assert "a table that begins with 'id,start,end'" in reason(saved(tmp_path / "a.csv", b"id,start,end\n1,2,3\n"))
    assert "truncated or corrupt" in reason(saved(tmp_path / "a.mp4", np.random.default_rng(0).bytes(5000)))


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.JPG", "a.mp4", "a"])
def test_a_picture_is_called_that_whatever_its_name_ends_with(tmp_path, name):
    sentence = reason(saved(tmp_path / name, picture("JPEG")))
    assert "one picture (JPEG), not a video" in sentence
    assert "corrupt" not in sentence


@pytest.mark.parametrize("name", ["a.jpg", "a.mjpeg", "a.mp4"])
def test_pictures_one_behind_the_other_are_a_bare_stream(tmp_path, name):
    sentence = reason(saved(tmp_path / name, picture("JPEG") * 3))
    assert "a format that is not read here (mjpeg): a bare stream" in sentence


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.mp4"])
def test_noise_is_no_picture_by_its_name(tmp_path, name):
    assert "truncated or corrupt" in reason(saved(tmp_path / name, np.random.default_rng(0).bytes(5000)))


def gif(path):
    frames = [Image.fromarray(barcode(number)) for number in range(8)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=100)


@pytest.mark.parametrize(
    ("name", "codec", "muxer"),
    [
        ("gif", None, None),
        ("yuv4mpegpipe", "wrapped_avframe", "yuv4mpegpipe"),
        ("mxf", "mpeg2video", "mxf"),
        ("rm", "rv10", "rm"),
        ("nut", "mpeg4", "nut"),
        ("ivf", "libvpx-vp9", "ivf"),
        ("apng", "apng", "apng"),
    ],
)
def test_a_container_that_is_not_read_is_named_with_what_converts_it(tmp_path, name, codec, muxer):
    path = tmp_path / "a.mp4"
    if name == "gif":
        gif(path)
    elif codec not in av.codecs_available or muxer not in av.formats_available:
        pytest.skip(f"this PyAV writes no {name}")
    else:
        written(path, codec, muxer)
    sentence = reason(path)
    assert f"a format that is not read here ({name})" in sentence
    assert "Convert it with: ffmpeg -i FILE -c:v libx264" in sentence
    assert "corrupt" not in sentence
    assert "ownload" not in sentence


def written(path, codec, muxer, **options):
    formats = {"apng": "rgb24", "mjpeg": "yuvj420p"}
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        width, height = (96, 80) if codec == "rv10" else (BITS * BAR, HEIGHT)
        stream.width, stream.height, stream.pix_fmt = width, height, formats.get(codec, "yuv420p")
        for number in range(12):
            image = np.full((height, width, 3), 60 + 10 * number, np.uint8)  # no byte that no text has
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "muxer"),
    [
        ("h264", "libx264", "h264"),
        ("hevc", "libx265", "hevc"),
        ("m4v", "mpeg4", "m4v"),
        ("mpegvideo", "mpeg2video", "mpeg2video"),
        ("mjpeg", "mjpeg", "mjpeg"),
    ],
)
def test_a_bare_stream_has_no_times_and_is_told_how_to_get_some(tmp_path, name, codec, muxer):
    path = tmp_path / "a.mp4"
    written(path, codec, muxer)
    sentence = reason(path)
    assert f"a format that is not read here ({name})" in sentence
    assert "no times" in sentence
    assert "ffmpeg -framerate RATE -i FILE" in sentence
    assert "corrupt" not in sentence


def sound(path, muxer, codec="aac", cover=False):
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=16_000, layout="mono")
        if cover:
            picture_stream = container.add_stream("png", rate=1)
            picture_stream.width = picture_stream.height = 32
            picture_stream.pix_fmt = "rgb24"
            picture_stream.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), format="s16", layout="mono")
        frame.rate = 16_000
        resampler = av.AudioResampler(stream.format, "mono", 16_000, frame_size=stream.frame_size or 1024)
        if cover:
            image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(picture_stream.encode(image))
        for piece in resampler.resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("muxer", "codec"),
    [
        ("mp4", "aac"),
        ("matroska", "aac"),
        ("wav", "pcm_s16le"),
        ("adts", "aac"),
        ("flac", "flac"),
        ("mp3", "libmp3lame"),
    ],
)
def test_sound_alone_is_called_that(tmp_path, muxer, codec):
    sound(tmp_path / "a.mp4", muxer, codec)
    sentence = reason(tmp_path / "a.mp4")
    assert "sound" in sentence
    assert "corrupt" not in sentence


def test_sound_with_a_cover_is_called_that(tmp_path):
    sound(tmp_path / "a.m4a", "mp4", cover=True)
    assert "it holds sound and a cover picture" in reason(tmp_path / "a.m4a")


def test_copy_protection_is_called_that(tmp_path):
    secret = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb"}
    path = encode(tmp_path / "a.mp4", mux=secret | {"encryption_kid": "a7e61c373e219033c21091fa607bf3b8"})
    sentence = reason(path)
    assert "encrypted (copy protection)" in sentence
    assert "corrupt" not in sentence


def test_b_frames_in_avi_have_no_times(tmp_path):
    sentence = reason(encode(tmp_path / "a.avi", bf=2))
    assert "B-frames in AVI: AVI keeps no times" in sentence
    assert "ffmpeg -i FILE -c:v libx264" in sentence
    assert "corrupt" not in sentence
    assert "ownload" not in sentence


def test_h264_without_b_frames_in_avi_is_read(tmp_path):
    assert probe(encode(tmp_path / "a.avi", bf=0)).num_frames == 50
    assert len(read_frames(tmp_path / "a.avi", VideoBudget(fps=5)).indices) == 10


def test_what_is_no_file(tmp_path):
    assert "it is a folder; only with a frame rate" in reason(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "pipes and devices" in reason(tmp_path / "pipe")
    (tmp_path / "empty.mp4").touch()
    assert "the file is empty" in reason(tmp_path / "empty.mp4")
    for address in ("https://a.org/b/c.mp4", "http://a.org/c.mp4", "s3://bucket/a.mp4", "rtsp://cam/1"):
        sentence = reason(type(tmp_path)(address))
        assert sentence.startswith(f"{address}: an address, not a file")
        assert "Download it first" in sentence
