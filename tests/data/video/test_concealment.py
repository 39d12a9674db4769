"""Damaged pictures that FFmpeg paints over are counted; frames are freed as they are decoded."""

import gc
from contextlib import closing

import numpy as np
from av.video.frame import VideoFrame
from barcodes import encode
from test_cut_videos import GROUPS, cut

from video_opd.data.video.decoding_workers import DecodingWorkers
from video_opd.data.video.picture_folder import read_video
from video_opd.data.video.video_io import VideoBudget
from video_opd.errors import DataError

BUDGET = VideoBudget(fps=5, max_tokens=256)


def test_pictures_that_are_painted_over_are_counted(tmp_path):
    """A file that was cut begins with a picture at which H.264 may only be joined, and is decoded less strictly."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    images = [np.roll(noise, number, axis=1) for number in range(40)]
    options = {"bf": 2, "x264-params": GROUPS}
    path = cut(encode(tmp_path / "whole.mp4", images=images, **options), tmp_path / "cut.mp4", 1)
    whole, spoiled = path.read_bytes(), tmp_path / "spoiled.mp4"
    start = whole.find(b"mdat") + 100
    counted = []
    with closing(DecodingWorkers()) as workers:
        assert workers.read_video(path, BUDGET).num_concealed == 0
        for at in range(start, start + 3600, 100):
            data = bytearray(whole)
            data[at] ^= 0x10
            spoiled.write_bytes(data)
            try:
                frames = workers.read_video(spoiled, BUDGET)
            except DataError:
                continue
            if frames.num_concealed:
                counted.append(frames.num_concealed)
                assert np.array_equal(frames.images, read_video(spoiled, BUDGET).images)
                assert workers.read_video(path, BUDGET).num_concealed == 0, "it is counted for each video"
                break
    assert counted
    assert max(counted) < 10


def test_frames_do_not_wait_for_the_garbage_collector(tmp_path):
    """Those of a film may be gigabytes, and the collector counts only objects."""
    path = encode(tmp_path / "a.mp4", bf=2)
    gc.collect()
    gc.disable()
    try:
        read_video(path, BUDGET)
        waiting = sum(isinstance(found, VideoFrame) for found in gc.get_objects())
    finally:
        gc.enable()
    assert waiting == 0
