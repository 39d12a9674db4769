"""A part of a video is not the whole: the header and the row say how much there should be."""

import struct
from pathlib import Path

import pytest
from barcodes import encode

from video_opd.data.video import video_file, video_refusals
from video_opd.data.video.video_io import VideoBudget, probe, read_frames
from video_opd.data.video.whole_video import refuse_part, require_whole
from video_opd.errors import DataError
from video_opd.types import Example, Span


def row(duration=None, clip=None) -> Example:
    return Example(id="one", video="a.ts", query="a circle", spans=(), duration=duration, clip=clip)


def test_an_mp4_whose_table_of_frames_is_shorter_than_its_header_says_is_refused(tmp_path):
    path = encode(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    sizes = data.find(b"stsz") + 12
    assert struct.unpack_from(">I", data, sizes) == (50,)
    struct.pack_into(">I", data, sizes, 12)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"it holds 0\.\d+ s of video, and its header says 2\.00 s"):
        probe(path)


@pytest.mark.parametrize("name", ["a.flv", "a.mkv"])
def test_a_file_that_ends_between_two_frames_is_refused_by_its_header(tmp_path, name):
    """Nothing else tells: every packet that is there is whole."""
    path = encode(tmp_path / name, 200, g=25)
    data = path.read_bytes()
    if name == "a.mkv":  # clusters without an end, as in a recording: the segment's size is not known
        start = data.find(b"\x18\x53\x80\x67") + 4
        data = data[:start] + b"\x01" + b"\xff" * 7 + data[start + 8 :]
        data = data[: data.rfind(b"\x1f\x43\xb6\x75")]  # the last cluster and the index
    else:
        at, tags = 13, []
        while at < len(data):
            at += 15 + int.from_bytes(data[at + 1 : at + 4], "big")
            tags.append(at)
        data = data[: tags[len(tags) // 2]]
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"s of video, and its header says 8\."):
        read_frames(path, VideoBudget())


@pytest.mark.parametrize(
    ("promised_s", "found_s", "is_part"),
    [(None, 0.5, False), (4.0, 3.1, False), (4.0, 2.9, True), (100.0, 95.1, False), (100.0, 94.9, True), (1, 5, False)],
)
def test_a_header_may_be_off_by_a_second_or_a_twentieth(promised_s, found_s, is_part):
    if is_part:
        with pytest.raises(DataError, match="its header says"):
            refuse_part(Path("a.mp4"), promised_s, found_s)
    else:
        refuse_part(Path("a.mp4"), promised_s, found_s)


@pytest.mark.parametrize(
    ("example", "found_s", "step_s", "is_part"),
    [
        (row(4.0), 0.5, 0.5, True),
        (row(4.0), 3.4, 0.5, True),
        (row(4.0), 3.6, 0.5, False),
        (row(4.0), 3.1, 1.0, False),
        (row(4.0), 9.0, 0.5, False),
        (row(4.0), None, 0.5, False),
        (row(None), 0.5, 0.5, False),
        (row(35.04), 35.1415, 0.5, False),  # Charades' OHOFG
        (row(100.0), 95.5, 0.5, False),
        (row(100.0), 94.5, 0.5, True),
        (row(2.0, Span(60.0, 62.0)), 61.2, 0.5, True),
        (row(2.0, Span(60.0, 62.0)), 61.6, 0.5, False),
        (row(62.0, Span(0.0, 2.0)), 2.0, 0.5, False),  # with a clip, the clip counts
    ],
)
def test_a_row_may_be_off_by_a_step_or_a_twentieth(example, found_s, step_s, is_part):
    if is_part:
        with pytest.raises(DataError, match="a part of a video is never taken for the whole"):
            require_whole(Path("a.ts"), example, found_s, step_s)
    else:
        require_whole(Path("a.ts"), example, found_s, step_s)


def test_files_beyond_the_limits_are_refused(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4")
    monkeypatch.setattr(video_file, "MAX_STREAMS", 0)
    with pytest.raises(DataError, match="it has 1 streams, more than 0"):
        probe(path)
    monkeypatch.setattr(video_refusals, "MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(DataError, match="GiB are more than"):
        probe(path)
