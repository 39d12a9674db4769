import json

import pytest

from video_opd.data.same_video import source_video, spans_in_source
from video_opd.types import Example, Span


@pytest.mark.parametrize(
    ("path", "key", "offset_s"),
    [
        ("3MSZA.mp4", "3MSZA", 0),
        ("3MSZA", "3MSZA", 0),
        ("videos/charades/3MSZA.mkv", "3MSZA", 0),
        ("anet/v_uqiMw7tQ1Cc.mp4", "uqiMw7tQ1Cc", 0),
        ("uqiMw7tQ1Cc.webm", "uqiMw7tQ1Cc", 0),
        ("NUsG9BgSes0_210.0_360.0.mp4", "NUsG9BgSes0", 210),
        ("NUsG9BgSes0_210.0_360.0", "NUsG9BgSes0", 210),
        ("v_-sG9B_Ses0a_60_210.5.mp4", "-sG9B_Ses0a", 60),
        ("v_-sG9B_Ses0ab_60_210.5.mp4", "v_-sG9B_Ses0ab_60_210.5", 0),
        ("QtWT8rxUuNk_01:00:39:250_01:01:24:700.mp4", "QtWT8rxUuNk", 3639.25),
        ("NUsG9BgSes0_360.0_210.0.mp4", "NUsG9BgSes0_360.0_210.0", 0),
        ("s30-d52.avi", "s30-d52", 0),
        ("tacos/s30-d52-cam-002.mp4", "s30-d52", 0),
        ("v_tutorial.mp4", "v_tutorial", 0),
        ("clip.2024.mp4", "clip.2024", 0),
    ],
)
def test_the_video_behind_a_path(path, key, offset_s):
    assert (source_video(path).key, source_video(path).offset_s) == (key, offset_s)


@pytest.mark.parametrize(
    ("name", "says_which"),
    [
        ("uqiMw7tQ1Cc", True),
        ("v_uqiMw7tQ1Cc", True),
        ("v_hokqvyeqhmg", True),  # ActivityNet has three such
        ("OHOFG", True),
        ("s30-d52", True),
        ("39727414@N00_3622114091_452b898", True),
        ("video-uqiMw7tQ1Cc", True),
        ("0123abcd-0000-1111-2222-0123456789ab", True),
        ("5399209813", True),
        ("IMG_0001", True),
        ("3MSZ", False),
        ("1", False),
        ("00000012", False),
        ("video", False),
        ("a long name of words", False),
        ("clip_012", False),
        ("scene12", False),
        ("front.view-2", False),
        ("left_camera", False),
        ("video_00001", False),
    ],
)
def test_a_counter_or_a_word_names_a_video_only_in_its_folder(name, says_which):
    keys = {source_video(f"{folder}{name}.mp4").key for folder in ("", "kitchen/", "garden/")}
    assert len(keys) == (1 if says_which else 3)


def test_all_names_of_the_field_but_one_say_which_video_it_is(shared_data):
    folder = shared_data / "annotations"
    charades = {line.split()[0] for line in (folder / "charades_sta_test.txt").read_text().splitlines()}
    activitynet = set(json.loads((folder / "activitynet_captions_val_1.json").read_text()))
    didemo = {row["video"] for row in json.loads((folder / "didemo_val_data.json").read_text())}
    unclear = {name for name in charades | activitynet | didemo if source_video(f"x/{name}").key.startswith("x/")}
    assert unclear == {"00607"}


def test_spans_are_moved_by_crop_and_clip():
    example = Example(
        id="a", video="NUsG9BgSes0_210.0_360.0.mp4", query="q", spans=(Span(2, 4.5), Span(8, 9)), duration=50.0,
        clip=Span(10, 60),
    )  # fmt: skip
    assert spans_in_source(example) == [Span(222, 224.5), Span(228, 229)]
