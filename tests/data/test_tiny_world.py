"""The tiny world: what is annotated is what is seen, and the noise is what it says it is."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from video_opd.data.manifest import read_manifest
from video_opd.data.side_questions import read_side_questions
from video_opd.data.tiny_world import (
    COLOURS,
    GRID_S,
    SPLITS,
    BuildSettings,
    LabelNoise,
    TinyWorld,
    annotate,
    build,
    draw_clip,
    render,
)
from video_opd.data.video.video_io import VideoBudget, read_frames
from video_opd.errors import ConfigurationError
from video_opd.grounding import best_constant_answer, temporal_iou
from video_opd.seeds import generator
from video_opd.types import Example

WORLD = TinyWorld()


def clips(count: int):
    return [draw_clip(WORLD, generator(1, "clip", n), f"c{n}") for n in range(count)]


def test_events_keep_the_worlds_rules():
    for clip in clips(200):
        assert clip.duration_s in WORLD.durations_s
        assert WORLD.num_events[0] <= len(clip.events) <= WORLD.num_events[1]
        assert len({event.name for event in clip.events}) == len(clip.events)
        for event in clip.events:
            length = event.span.end_s - event.span.start_s
            assert event.span.start_s >= 0
            assert event.span.end_s <= clip.duration_s
            assert WORLD.event_s[0] <= length <= WORLD.event_s[1]
            assert event.span.start_s % GRID_S == 0


def test_a_thing_is_visible_exactly_in_its_span():
    for clip in clips(30):
        frames = render(clip, WORLD).astype(int)
        times = np.arange(len(frames)) / WORLD.fps
        for event in clip.events:
            x, y = (int(c * WORLD.side) for c in event.centre)
            seen = (abs(frames[:, y, x] - COLOURS[event.colour]).sum(axis=-1)) == 0
            assert (seen == ((times >= event.span.start_s) & (times < event.span.end_s))).all()


def test_the_mp4_shows_what_was_rendered(world):
    """Through H.264, the decoder and the resize: each thing's colour at its place, nothing there before or after."""
    example = read_manifest(world / "test.jsonl")[0]
    frames = read_frames(world / "videos" / example.video, VideoBudget(max_frames=64, max_frame_tokens=1))
    assert frames.images.shape[1:] == (32, 32, 3)
    clip = draw_clip(WORLD, generator(3, "tiny-world", "test", 0), "x")
    times = np.array(frames.times_s)
    for event in clip.events:
        x, y = (int(c * 32) for c in event.centre)
        distance = abs(frames.images[:, y, x].astype(int) - COLOURS[event.colour]).max(axis=-1)
        visible = (times >= event.span.start_s) & (times < event.span.end_s)
        assert distance[visible].max() < 60 < distance[~visible].min()


def test_frames_of_a_clip_are_two_a_second_at_their_true_times(world):
    example = read_manifest(world / "test.jsonl")[0]
    frames = read_frames(world / "videos" / example.video, VideoBudget())
    assert frames.times_s == tuple(i / 2 for i in range(round(example.duration * 2)))


def test_no_noise_is_the_truth_and_all_noise_is_not():
    rng = generator(0, "noise")
    for clip in clips(50):
        event = clip.events[0]
        assert annotate(event, clip, LabelNoise(wrong_share=0, imprecise_share=0), rng) == event.span
        assert annotate(event, clip, LabelNoise(wrong_share=1), rng) in [other.span for other in clip.events[1:]]


def test_shares_of_noise_are_what_they_say():
    """Half wrong, a quarter imprecise, a quarter right, within sampling error; every span lies in its clip."""
    noise, rng = LabelNoise(wrong_share=0.5, imprecise_share=0.25, jitter_s=1.0), generator(0, "shares")
    right = wrong = moved = 0
    for clip in clips(1500):
        event = clip.events[0]
        span = annotate(event, clip, noise, rng)
        assert 0 <= span.start_s < span.end_s <= clip.duration_s
        right += span == event.span
        wrong += span in [other.span for other in clip.events[1:]]
        moved += span not in [other.span for other in clip.events]
    assert wrong / 1500 == pytest.approx(0.5, abs=0.05)
    assert moved / 1500 == pytest.approx(0.25, abs=0.04)
    assert right / 1500 == pytest.approx(0.25, abs=0.05)


def test_only_training_annotations_are_noisy(tmp_path):
    """Validation and test are the truth that the same seed draws."""
    manifests = build(tmp_path, BuildSettings(seed=7, num_queries={"train": 40, "validation": 6, "test": 6}))
    for split in SPLITS:
        path, exact = manifests[split], []
        for example in read_manifest(path):
            number, index = int(example.id.split("-")[-2]), int(example.id.split("-")[-1])
            clip = draw_clip(WORLD, generator(7, "tiny-world", split, number), "x")
            assert example.query == clip.events[index].name
            exact.append(example.spans[0] == clip.events[index].span)
        assert all(exact) is (split != "train")


def test_side_questions_are_answered_by_the_truth(tmp_path):
    manifests = build(tmp_path, BuildSettings(seed=7, num_queries={"train": 2, "validation": 2, "test": 60}))
    questions = read_side_questions(manifests["before"])
    assert len(questions) > 25
    assert {question.answer for question in questions} == {"yes", "no"}
    for question in questions:
        clip = draw_clip(WORLD, generator(7, "tiny-world", "test", int(question.id.split("-")[-2])), "x")
        starts = {event.name: event.span.start_s for event in clip.events}
        one, other = question.question.split(" visible before ")
        assert question.answer == ("yes" if starts[one] < starts[other] else "no")


def test_a_world_is_as_large_as_the_figures_of_the_readme_say():
    """60 steps of 16 for training, and 400 held-out queries."""
    settings = BuildSettings()
    assert [settings.size(split) for split in ("train", "validation", "test")] == [60 * 16, 96, 400]


def test_building_twice_gives_the_same_bytes(tmp_path):
    settings = BuildSettings(num_queries={"train": 2, "validation": 2, "test": 2})
    for name in ("a", "b"):
        build(tmp_path / name, settings)
    for file in (tmp_path / "a").rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_a_world_whose_clips_are_gone_is_built_again_and_other_manifests_are_kept(tmp_path):
    settings = BuildSettings(seed=7, num_queries={"train": 2, "validation": 2, "test": 2})
    manifests = build(tmp_path, settings)
    shutil.rmtree(tmp_path / "videos")
    assert build(tmp_path, settings) == manifests
    assert len(list((tmp_path / "videos").glob("*.mp4"))) >= 3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.jsonl").write_text("mine")
    with pytest.raises(ConfigurationError, match="so it is a manifest of something else"):
        build(tmp_path / "mine", settings)
    assert (tmp_path / "mine" / "train.jsonl").read_text() == "mine"


def test_a_constant_answer_is_worth_about_three_tenths():
    """The floor that every score on this world has to be read against."""
    examples = [
        Example(id=str(n), video="x", query="q", spans=(clip.events[0].span,), duration=clip.duration_s)
        for n, clip in enumerate(clips(800))
    ]
    span, miou = best_constant_answer(examples)
    assert 0.25 < miou < 0.33
    assert temporal_iou(span, span) == 1.0
