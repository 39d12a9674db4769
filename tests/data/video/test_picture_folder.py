"""A folder of pictures is the video it was taken from."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from barcodes import encode
from PIL import Image

from video_opd.cli import main
from video_opd.data.manifest import check_manifest, read_manifest, write_manifest
from video_opd.data.prompt_source import refuse_tight_budget, render
from video_opd.data.video.picture_folder import (
    find_picture_timeline,
    find_timeline,
    probe_video,
    read_pictures,
    read_video,
)
from video_opd.data.video.video_io import VideoBudget, read_frames, write_video
from video_opd.errors import ConfigurationError, DataError
from video_opd.types import Span

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
    timeline = find_picture_timeline(film[1], 3)
    assert (timeline.num_frames, timeline.duration_s, timeline.time_s(3)) == (NUM_PICTURES, 8.0, 1.0)
    for number in range(9, 12):  # 10 comes before 9 by name
        Image.new("L", (64, 32)).save(tmp_path / f"frame{number}.JPG")
    (tmp_path / "notes.txt").write_text("not a picture")
    timeline = find_picture_timeline(tmp_path, Fraction(30_000, 1001))
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
    monkeypatch.setattr("video_opd.data.video.picture_folder.MAX_FRAME_PIXELS", 1000)
    broken(tmp_path, "9.txt", "any")
    with pytest.raises(DataError, match="32 x 32 pixels are beyond 1000"):
        read_pictures(tmp_path, 3, VideoBudget())


# As a video of a manifest, or of `ground`


def numbered(folder, numbers=range(1, 25), name="{:05d}.jpg", size=(64, 48)):
    folder.mkdir(parents=True)
    for number in numbers:
        Image.new("RGB", size, (10 * (number % 25), 0, 0)).save(folder / name.format(number))
    return folder


@pytest.mark.parametrize("ending", ["jpg", "JPG", "jpeg", "png", "webp"])
def test_all_usual_pictures_are_read_and_nothing_else_is_looked_at(tmp_path, ending):
    folder = numbered(tmp_path / "a", name="img_{:d}." + ending)
    (folder / f"._img_1.{ending}").write_bytes(b"\0\5\26\7")  # what macOS puts beside a file
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / "Thumbs.db").write_bytes(b"\0")
    info = probe_video(folder, 3.0)
    assert (info.num_frames, info.duration_s, info.fps, info.width, info.height) == (24, 8.0, 3.0, 64, 48)
    assert read_video(folder, VideoBudget(), None, 3.0).times_s[-1] == pytest.approx(23 / 3)


def test_a_rate_is_meant_as_it_is_written(tmp_path):
    folder = numbered(tmp_path / "a", range(30))
    assert find_timeline(folder, 29.97).tick == Fraction(100, 2997)


@pytest.mark.parametrize("rate", [0, -3, float("nan"), float("inf"), 1e9])
def test_what_is_no_rate_is_refused(tmp_path, rate):
    with pytest.raises(ConfigurationError, match=r"frame rate.*from 0\.001 to 1000"):
        probe_video(numbered(tmp_path / "a"), rate)


def test_a_rate_for_a_file_and_a_folder_without_one_are_told_what_to_do(film):
    file, folder = film
    for read in (probe_video, find_timeline, lambda path, rate: read_video(path, VideoBudget(), None, rate)):
        with pytest.raises(DataError, match="it is a file: a video file says itself when"):
            read(file, 3.0)
        with pytest.raises(DataError, match=r"it is a folder.*Give the rate, as `--frame-rate 3`"):
            read(folder, None)
        with pytest.raises(DataError, match=r"No such file.*the folder of pictures cannot be opened"):
            read(folder / "none", 3.0)


def row(video, **more):
    spans = {"id": video, "video": video, "query": "a red wall", "spans": [[1.0, 2.0]], "duration": 8.0}
    return json.dumps(spans | more) + "\n"


def test_a_manifest_says_the_rate_and_every_reader_heeds_it(tmp_path):
    numbered(tmp_path / "videos" / "a")
    manifest = tmp_path / "a.jsonl"
    manifest.write_text(row("a", frame_rate=3) + row("a/", id="clip", clip=[2, 4], duration=2.0, frame_rate=3.0))
    examples = read_manifest(manifest)
    assert [example.frame_rate for example in examples] == [3.0, 3.0]
    assert check_manifest(manifest, tmp_path / "videos", decode=True) == []
    write_manifest(tmp_path / "b.jsonl", examples)
    assert read_manifest(tmp_path / "b.jsonl") == examples
    refuse_tight_budget(tmp_path / "videos", examples, VideoBudget())

    def renderer(example, frames):
        return example, frames

    renderer.budget, renderer.pixels_per_token_side = VideoBudget(), 32
    _, frames = render(renderer, tmp_path / "videos" / "a", examples[1])
    assert frames.times_s[-1] == pytest.approx(2.0)
    assert frames.duration_s == pytest.approx(7 / 3)


def test_a_manifest_with_another_rate_is_another_video(tmp_path):
    numbered(tmp_path / "videos" / "a")
    manifest = tmp_path / "a.jsonl"
    manifest.write_text(row("a", frame_rate=3) + row("a", id="b", frame_rate=1) + row("a", id="c"))
    slow, without = check_manifest(manifest, tmp_path / "videos")
    assert (slow.line, slow.severity) == (2, "warning")
    assert "24.00 s long" in slow.message
    assert (without.line, without.severity) == (3, "error")
    assert "`frame_rate`" in without.remedy


@pytest.mark.parametrize("rate", ["3", 0, -1, True, [3], 1e9])
def test_a_rate_that_is_none_is_a_fault_of_its_row(tmp_path, rate):
    manifest = tmp_path / "a.jsonl"
    manifest.write_text(row("a", frame_rate=rate))
    with pytest.raises(DataError, match="`frame_rate` is"):
        read_manifest(manifest)


def test_manifests_about_files_are_written_as_before(tmp_path):
    (tmp_path / "a.jsonl").write_text(row("a.mp4"))
    write_manifest(tmp_path / "b.jsonl", read_manifest(tmp_path / "a.jsonl"))
    assert "frame_rate" not in (tmp_path / "b.jsonl").read_text()


def test_one_rate_for_all_folders_is_given_to_the_import(tmp_path, capsys):
    numbered(tmp_path / "videos" / "set" / "a")
    encode(tmp_path / "videos" / "b.mp4")
    (tmp_path / "rows.csv").write_text("video,query,start,end\na,a wall,1,2\nb,a door,0.5,1\n")
    arguments = ["data", "import", "csv", tmp_path / "rows.csv", "--out", tmp_path / "out.jsonl", "--source", "mine"]
    arguments += ["--videos", tmp_path / "videos", "--frame-rate", 3]
    assert main([str(word) for word in arguments]) == 0
    first, second = read_manifest(tmp_path / "out.jsonl")
    assert (first.video, first.frame_rate, first.duration) == ("set/a", 3.0, 8.0)
    assert (second.video, second.frame_rate, second.duration) == ("b.mp4", None, 2.0)
    # And a manifest read again keeps it.
    again = ["data", "import", "jsonl", tmp_path / "out.jsonl", "--out", tmp_path / "again.jsonl"]
    assert main([str(word) for word in again]) == 0
    assert [example.frame_rate for example in read_manifest(tmp_path / "again.jsonl")] == [3.0, None]
    for command in (["split", "--parts", "train=1"], ["sample", "--count", "2"], ["merge", tmp_path / "again.jsonl"]):
        words = ["data", command[0], tmp_path / "out.jsonl", *command[1:], "--out", tmp_path / command[0]]
        assert main([str(word) for word in words]) == 0
        made = tmp_path / command[0]
        made = made / "train.jsonl" if made.is_dir() else made
        assert {example.frame_rate for example in read_manifest(made)} == {None, 3.0}
    capsys.readouterr()


def test_ground_reads_a_folder_at_its_rate(tmp_path, capsys, refused):
    folder = numbered(tmp_path / "a")
    assert main(["ground", "tiny-student", str(folder), "a wall", "--frame-rate", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["duration"] == 8.0
    assert "--frame-rate 3" in refused("ground", "tiny-student", folder, "a wall")
    assert "frame rate 0" in refused("ground", "tiny-student", folder, "a wall", "--frame-rate", 0)
    assert "1 frame" in refused("ground", "tiny-student", numbered(tmp_path / "b", [1]), "x", "--frame-rate", 3)
    (tmp_path / "c").mkdir()
    assert "holds no pictures" in refused("ground", "tiny-student", tmp_path / "c", "x", "--frame-rate", 3)
