"""How a recipe differs from the authors' release and from the paper's text, by the shipped recipes themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from video_opd.cli.result_tables import show_published
from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import read_origins
from video_opd.doctor.published_settings import COMPARED, DifferingSetting, PublishedSettings, compare_with_published


def compare(name: str, **changes: str) -> PublishedSettings:
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    published = compare_with_published(load_recipe(Path(name), keys))
    assert published is not None
    return published


def test_where_a_value_comes_from_is_the_first_word_of_its_comment():
    paper, released = read_origins("paper/video-opd-8b"), read_origins("paper/video-opd-8b-as-released")
    assert (paper["video.fps"], paper["answers.max_new_tokens"], paper["data.videos"]) == ("paper", "ours", "")
    assert (released["answers.temperature"], released["video.min_frames"]) == ("inferred", "release")
    assert released["teacher.model"] == "paper"  # of its base
    assert read_origins("paper/op-rkd-8b")["method.name"] == "paper"


def test_the_recipes_themselves_do_not_differ_from_what_they_state():
    assert compare("paper/video-opd-8b-as-released").differences == ()
    for name in ("grpo-8b", "op-rkd-8b", "op-fkd-8b"):
        assert compare(f"paper/{name}") == PublishedSettings(paper=f"paper/{name}", released=None, differences=())


def test_the_papers_text_differs_from_the_release():
    published = compare("paper/video-opd-8b")
    shown = {each.setting: (each.recipe, each.released, each.paper) for each in published.differences}
    assert shown["answers.temperature"] == ("1", "0.9 (inferred)", "not stated")
    assert shown["answers.top_k"] == ("not set", "20 (inferred)", "not stated")
    assert shown["video.min_frames"] == ("2", "4", "not stated")
    assert shown["training.betas"] == ("0.9, 0.999", "0.9, 0.95 (inferred)", "not stated")
    assert shown["training.normalise"] == ("tokens", "examples", "not stated")
    assert shown["training.warmup_share"] == ("0", "0.03", "not stated")
    assert "training.batch_size" not in shown


def test_a_small_recipe_differs_in_what_matters():
    (fps,) = (each for each in compare("tiny-opd", video__fps="1.0").differences if each.setting == "video.fps")
    assert fps == DifferingSetting(setting="video.fps", recipe="1", released="2", paper="2")
    shown = {each.setting for each in compare("tiny-opd").differences}
    assert {"training.batch_size", "training.learning_rate", "student.freeze_vision", "video.max_tokens"} <= shown
    assert not any(key.startswith(("data.", "student.model", "teacher.", "schedule.")) for key in shown)
    one = {each.setting: each for each in compare("tiny-opd", method__estimator="exact").differences}
    assert (one["method.estimator"].recipe, one["method.estimator"].released) == ("exact", "sampled")


def test_a_baseline_is_compared_with_the_paper_only():
    shown = {each.setting: each for each in compare("tiny-grpo", method__num_answers="4").differences}
    assert shown["method.num_answers"] == DifferingSetting(
        setting="method.num_answers", recipe="4", released="not released", paper="8"
    )
    assert shown["curriculum.strategy"].paper == "difficulty"
    assert "method.reference_weight" not in shown  # ours, and not stated by the paper


def test_every_compared_key_is_one_of_recipes():
    from video_opd.config.recipe_file import list_recipe_keys

    assert set(COMPARED) <= list_recipe_keys().keys()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("paper/grpo-8b", "The settings are those of paper/grpo-8b, as far as these are stated."),
        ("tiny-sft", "Neither the paper's recipes nor the authors' release has this method"),
        ("tiny-opd", "1e-06"),
    ],
)
def test_what_a_reader_sees(name, said, capsys):
    show_published(compare_with_published(load_recipe(Path(name))))
    assert said in " ".join(capsys.readouterr().out.split())
