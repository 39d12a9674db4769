"""A folder of pictures is the video it was taken from."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from video_opd.data.picture_folder import picture_timeline, read_pictures
from video_opd.data.video import VideoBudget, read_frames, write_video
from video_opd.errors import DataError
from video_opd.vocabulary import Span

NUM_PICTURES = 24


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> tuple[Path, Path]:
    """A video of 8 s at 3 frames a second, and its frames as pictures."""
    folder = tmp_path_factory.mktemp("film")
    noise = np.random.default_rng(0).integers(0, 256, (NUM_PICTURES, 6, 8, 3), dtype=np.uint8)
    write_video(folder / "film.mp4", noise.repeat(16, axis=1).repeat(16, axis=2), fps=3)
    frames = read_frames(folder / "film.mp4", VideoBudget(fps=3, max_tokens=100_000))
    assert frames.indices == tuple(range(NUM_PICTURES))
    (folder / "film").mkdir()
    for number, image in enumerate(frames.images, start=1):
        Image.fromarray(image).save(folder / "film" / f"{number:05d}.png")
    return folder / "film.mp4", folder / "film"


@pytest.mark.parametrize("clip", [None, Span(1.0, 5.0), Span(2.1, 3.1), Span(6.0, 8.5)])
@pytest.mark.parametrize("budget", [VideoBudget(), VideoBudget(fps=0.5), VideoBudget(fps=3, max_tokens=24)])
def test_the_same_frames_as_of_the_file(film, budget, clip):
    file, folder = film
    expected, found = read_frames(file, budget, clip), read_pictures(folder, 3, budget, clip)
    assert found.indices == expected.indices
    assert found.times_s == pytest.approx(expected.times_s)
    assert found.duration_s == pytest.approx(expected.duration_s)
    assert np.array_equal(found.images, expected.images)


def test_time_is_counted_from_the_first_picture_at_the_given_rate(film, tmp_path):
    timeline = picture_timeline(film[1], 3)
    assert (timeline.num_frames, timeline.duration_s, timeline.time_s(3)) == (NUM_PICTURES, 8.0, 1.0)
    for number in range(9, 12):  # 10 comes before 9 by name
        Image.new("L", (64, 32)).save(tmp_path / f"frame{number}.JPG")
    (tmp_path / "notes.txt").write_text("not a picture")
    timeline = picture_timeline(tmp_path, Fraction(30_000, 1001))
    assert (timeline.pts, timeline.time_s(2)) == ((9, 10, 11), pytest.approx(2 * 1001 / 30_000))
    assert read_pictures(tmp_path, 1, VideoBudget()).images.shape == (2, 32, 64, 3), "grey ones too"


def broken(folder: Path, name: str, how: str) -> None:
    for number in range(4):
        Image.new("RGB", (32, 32)).save(folder / f"{number:03d}.png")
    if how == "missing":
        (folder / name).unlink()
    elif how == "small":
        Image.new("RGB", (32, 16)).save(folder / name)
    elif how == "cut short":
        Image.effect_noise((256, 256), 50).convert("RGB").resize((32, 32)).save(folder / name)
        (folder / name).write_bytes((folder / name).read_bytes()[:200])
    else:
        (folder / name).write_bytes(how.encode())


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("001.png", "missing", "picture 1 of 0 to 3 is missing"),
        ("001.png", "small", "001.png: 32 x 16 pixels, and the first is 32 x 32"),
        ("001.png", "cut short", "001.png: it does not decode"),
        ("000.png", "no picture", "000.png: it does not decode"),
        ("003.png", "", "003.png: it does not decode"),
        ("first.png", "any", "the name of first.png does not end with a number"),
        ("3.jpg", "any", "003.png and 3.jpg are both picture 3"),
    ],
)
def test_all_of_it_or_nothing(tmp_path, name, how, message):
    broken(tmp_path, name, how)
    with pytest.raises(DataError) as refusal:
        read_pictures(tmp_path, 1, VideoBudget(fps=1))
    assert message in str(refusal.value)


def test_a_folder_without_pictures_or_without_time(tmp_path):
    with pytest.raises(DataError, match="it holds no pictures"):
        read_pictures(tmp_path, 3, VideoBudget())
    Image.new("RGB", (32, 32)).save(tmp_path / "0.png")
    with pytest.raises(DataError, match="the video has 1 frame"):
        read_pictures(tmp_path, 3, VideoBudget())


def test_a_picture_beyond_any_cameras(tmp_path, monkeypatch):
    monkeypatch.setattr("video_opd.data.picture_folder.MAX_FRAME_PIXELS", 1000)
    broken(tmp_path, "9.txt", "any")
    with pytest.raises(DataError, match="32 x 32 pixels are beyond 1000"):
        read_pictures(tmp_path, 3, VideoBudget())
