"""The clips of benchmarks/data_wait.py are what it says, and its figures follow from what it measures."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from video_opd.data.video.picture_folder import read_video
from video_opd.data.video.video_io import VideoBudget

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "data_wait.py"


@pytest.fixture(scope="module")
def data_wait():
    sys.path.insert(0, str(SCRIPT.parent))  # the benchmarks import each other, as scripts do
    spec = importlib.util.spec_from_file_location("data_wait", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(SCRIPT.parent))
    return module


@pytest.fixture(scope="module")
def clips(data_wait, tmp_path_factory):
    return data_wait.make_clips(tmp_path_factory.mktemp("clips"), 1)


@pytest.mark.long
@pytest.mark.slow
def test_the_long_clip_repeats_the_short_one(data_wait, clips):
    short, long = map(data_wait.describe, clips)
    assert (short["codec"], short["width"], short["height"], short["seconds"]) == ("h264", 640, 360, 1.0)
    assert long["seconds"] == pytest.approx(6.0, abs=0.1)
    once, often = (read_video(clip, VideoBudget(fps=5.0, max_tokens=2000)) for clip in clips)
    assert (len(once.times_s), len(often.times_s)) == (4, 30)  # an even number of frames
    assert often.times_s == tuple(sorted(set(often.times_s)))
    assert often.images.std() > 20  # not one colour


@pytest.mark.long
@pytest.mark.slow
def test_a_prompt_costs_what_its_clip_costs(data_wait, clips):
    short, long = (data_wait.measure_prompt(clip, 1) for clip in clips)
    assert 0 < short["cpu_seconds"] < long["cpu_seconds"]
    needed = data_wait.count_needed(6.3)
    assert needed["8 H100"] == pytest.approx(16.0)
    assert needed["one H200"] == pytest.approx(2.016)
