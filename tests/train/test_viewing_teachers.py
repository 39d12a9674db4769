"""Teachers with a view of their own, and the frozen student as a teacher: scores, runs, and what is refused."""

from __future__ import annotations

import json
import logging
import shutil
import tomllib
from contextlib import ExitStack, closing
from dataclasses import fields, replace
from pathlib import Path

import pytest
import tomli_w
import torch
from safetensors.torch import load_file

from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe, overlay, parse_recipe
from video_opd.data.ablated_prompts import remove_video
from video_opd.data.teacher_views import ClipView, find_openers
from video_opd.errors import ConfigurationError
from video_opd.methods.ablation import SpoiledTeacher
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import AveragedTeachers, OneTeacher, RoutedTeachers
from video_opd.methods.writers import StudentWrites
from video_opd.plan.model_refusals import refuse_unusable_models
from video_opd.plan.run_plan import make_plan
from video_opd.policy.families import FAMILIES, Clock
from video_opd.policy.load import Policy, Work, load_policy
from video_opd.policy.shared_vision import share_vision
from video_opd.train import build, build_models
from video_opd.train.build_inputs import make_source
from video_opd.train.build_models import (
    load_reference,
    load_student,
    refuse_unfit_models,
    resolve_checkpoints,
)
from video_opd.train.build_teachers import load_teacher
from video_opd.train.build_views import (
    count_denser,
    describe_views,
    estimate_share,
    make_views,
    refuse_other_clock,
    refuse_unfit_views,
)
from video_opd.train.measured_models import list_frozen, measure_model, measure_student
from video_opd.train.probe import Probe
from video_opd.train.ranked_learner import without_pixels
from video_opd.train.run_inputs import Inputs
from video_opd.types import Example, Prompt, Sampling, Span, flatten

CLIP = {"teacher.view.kind": "clip"}
ITSELF = {"teacher.model": "student", **CLIP, "teacher.view.margin_s": "0.5"}
BY_REVERSE_KL = {
    "curriculum.name": "rounds", "curriculum.count": "4", "curriculum.num_rounds": "1", "curriculum.strategy": "top-k",
    "curriculum.disagreement": "reverse-kl", "curriculum.num_answers": "2", "curriculum.threshold": "0",
    "training.steps": "1",
}  # fmt: skip
DENSE = {"teacher.model": "student", "teacher.view.kind": "dense", "teacher.view.fps": "2", "video.fps": "1"}
FINAL = Path("checkpoints/step-000002/model/model.safetensors")


@pytest.fixture
def view(processor) -> ClipView:
    """Half a second around the annotated span."""
    return ClipView(margin_s=0.5, frames_per_group=2, video_kind=2, openers=find_openers(processor.tokenizer))


@pytest.fixture
def written(student, prompts):
    return StudentWrites(num_answers=2, max_new_tokens=8)(student, student.read(prompts[:4]), 5)


@pytest.fixture
def loaded(monkeypatch) -> list[str]:
    """Names of the models that were loaded."""
    names: list[str] = []

    def load(name: str, **options: object) -> Policy:
        names.append(name)
        return load_policy(name, **options)

    monkeypatch.setattr(build_models, "load_policy", load)
    return names


def train(recipe: Path, out: Path, **keys: str) -> Path:
    words = [word for key, value in keys.items() for word in (f"--{key.replace('_', '-')}", value)]
    assert main(["train", str(recipe), "--out", str(out), *words]) == 0
    return out


def rows(run: Path) -> list[dict]:
    """The journal, without what a clock says."""
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if "seconds" not in key and "memory" not in key} for row in read]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / FINAL)


def cut_off(finished: Path, folder: Path) -> Path:
    """A run as it was after its first step."""
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "checkpoints" / "step-000002")
    for file in (*folder.glob("evaluation/*after*"), *folder.glob("evaluation/validation-000002*")):
        file.unlink()
    return folder


def assert_equal_prompts(seen: Prompt, expected: Prompt) -> None:
    """Field by field; tensors bit by bit."""
    for field in fields(seen):
        mine, theirs = getattr(seen, field.name), getattr(expected, field.name)
        assert torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs, field.name


def assert_same_run(one: Path, other: Path) -> None:
    mine, theirs = weights(one), weights(other)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert rows(one) == rows(other)
    for name in ("answers.jsonl", "evaluation/student-after.predictions.jsonl"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_teacher_scores_the_very_tokens_on_what_it_sees(teacher, prompts, written, view):
    seen = [view(prompt) for prompt in prompts[:4]]
    assert all(len(mine) < len(whole) for mine, whole in zip(seen, prompts[:4], strict=True))
    scores = OneTeacher(teacher, view=view)(prompts[:4], written, distribution=True)
    assert scores.answers == flatten(written)
    whole = OneTeacher(teacher)(prompts[:4], written)
    for place, (prompt, group) in enumerate(zip(seen, written, strict=True)):
        by_hand = teacher.score(teacher.read([prompt]), [group], distribution=True).distribution
        for number, answer in enumerate(group):
            row, length = 2 * place + number, len(answer)
            expected = by_hand[number, torch.arange(length), torch.tensor(answer.token_ids)]
            torch.testing.assert_close(scores.logprobs[row, :length], expected, rtol=1e-4, atol=1e-4)
    assert (scores.logprobs - whole.logprobs).abs().max() > 0.1, "another video, so this was worth comparing"


def test_a_view_of_the_whole_clip_changes_no_bit(teacher, prompts, written, view):
    everything = replace(view, margin_s=1000.0)
    one, other = (
        OneTeacher(teacher, view=each)(prompts[:4], written, distribution=True) for each in (everything, None)
    )
    assert torch.equal(one.distribution, other.distribution)


def test_every_one_of_several_teachers_has_its_own_view(make_policy, prompts, written, view):
    policies = tuple(make_policy(seed).freeze() for seed in (1, 2))
    alone = [OneTeacher(policies[0], view=view), OneTeacher(policies[1])]
    found = [each(prompts[:4], written, distribution=True).distribution for each in alone]
    mean = AveragedTeachers(policies, views=(view, None))(prompts[:4], written, distribution=True).distribution
    torch.testing.assert_close(mean, torch.log_softmax((found[0] + found[1]) / 2, dim=-1), rtol=1e-4, atol=1e-4)
    routed = RoutedTeachers(policies, lambda example: int(example.id == prompts[1].id), views=(view, None))
    scores = routed(prompts[:4], written, distribution=True).distribution
    for place, teacher in enumerate((0, 1, 0, 0)):
        torch.testing.assert_close(
            scores[2 * place : 2 * place + 2], found[teacher][2 * place : 2 * place + 2], rtol=1e-4, atol=1e-4
        )


def test_the_probe_and_a_blind_teacher_use_the_view(student, teacher, prompts, written, view):
    sampling = Sampling(max_new_tokens=6, seed=3)
    taken = [Probe.take(student, OneTeacher(teacher, view=each), prompts[:4], sampling, 4) for each in (view, None)]
    assert taken[0].reverse_kl() != taken[1].reverse_kl()
    teacher = replace(teacher, work=Work())
    judge = OneTeacher(teacher, view=view)
    method = ReverseKLDistillation(write=None, teacher=judge)
    SpoiledTeacher(method=method, teacher=judge, kind="blind").judge(prompts[:4], written)
    assert teacher.work.prompt_tokens == sum(len(view(prompt)) for prompt in prompts[:4])


def test_a_frozen_tower_sees_the_whole_clip_once_and_what_is_shown_apart(make_policy, prompts, written, view):
    """The features of the student's clips stay for its next pass."""
    student, other, fresh = (make_policy(0) for _ in range(3))
    student.model.requires_grad_(False)
    expected = OneTeacher(fresh, view=view)(prompts[:4], written)
    assert share_vision(student, [other], num_clips=8) == [other]
    (block,) = [module for name, module in student.model.named_modules() if name.endswith("visual.blocks.0.mlp")]
    runs: list[int] = []
    block.register_forward_hook(lambda *_: runs.append(1))
    student.read(prompts[:4])
    found = OneTeacher(other, view=view)(prompts[:4], written)
    student.read(prompts[:4])
    assert len(runs) == 2
    torch.testing.assert_close(found.logprobs, expected.logprobs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("keys", "num_clips"), [({}, 4), (CLIP, 8)])
def test_features_are_kept_for_both_where_a_teacher_sees_another_clip(recipe_file, monkeypatch, keys, num_clips):
    asked: list[int] = []
    monkeypatch.setattr(build, "share_vision", lambda student, others, num_clips: asked.append(num_clips))
    recipe = load_recipe(recipe_file, {"training.updates_per_batch": "2", **keys})
    build._share_vision(recipe, {"student": [None]})
    assert asked == [num_clips]


def test_a_run_whose_teacher_sees_everything_is_the_run_without_a_view(recipe_file, tmp_path):
    plain = train(recipe_file, tmp_path / "plain")
    whole = train(recipe_file, tmp_path / "whole", **CLIP, **{"teacher.view.margin_s": "1000"})
    assert_same_run(whole, plain)
    assert (whole / "inputs.json").read_bytes() == (plain / "inputs.json").read_bytes()
    assert "view" not in (plain / "recipe.toml").read_text()
    crop = train(recipe_file, tmp_path / "crop", **CLIP)
    assert rows(crop)[0]["reverse_kl"] != rows(plain)[0]["reverse_kl"]
    work = [rows(run)[0]["work"] for run in (crop, plain)]
    assert work[0]["student"] == work[1]["student"]
    assert work[0]["teacher"]["prompt_tokens"] < work[1]["teacher"]["prompt_tokens"]
    assert work[0]["teacher"]["tokens_scored"] == work[1]["teacher"]["tokens_scored"]


def test_the_frozen_student_stays_what_it_was_when_a_run_goes_on(recipe_file, models, loaded, tmp_path):
    keys = {**ITSELF, "method.estimator": "exact", "schedule.probe_every": "1", "training.learning_rate": "1e-5"}
    finished = train(recipe_file, tmp_path / "finished", **keys)
    assert loaded == [models["student"]] * 2
    row = rows(finished)[0]
    assert row["reverse_kl_before"] > 0.001
    assert row["reverse_kl_after"] < row["reverse_kl_before"]
    stopped = cut_off(finished, tmp_path / "stopped")
    loaded.clear()
    train(recipe_file, stopped, **keys)
    assert loaded == [str(stopped / "checkpoints/step-000001/model"), models["student"]]
    assert_same_run(stopped, finished)
    recorded = json.loads((finished / "inputs.json").read_text())["models"]
    assert recorded["teacher"]["name"] == models["student"]
    assert tomllib.loads((finished / "recipe.toml").read_text())["teacher"]["model"] == "student"


def test_a_teacher_that_is_told_the_span_starts_with_a_warning(recipe_file, tmp_path, caplog):
    """And its control tells another one, so the scores differ."""
    hint = {"teacher.model": "student", "teacher.view.kind": "hint"}
    with caplog.at_level(logging.WARNING):
        run = train(recipe_file, tmp_path / "run", **hint)
    assert "view.kind = hint is an experiment" in caplog.text
    assert rows(run)[0]["grad_norm"] > 0
    work = rows(run)[0]["work"]
    assert work["teacher"]["prompt_tokens"] > work["student"]["prompt_tokens"]
    others = [train(recipe_file, tmp_path / spans, **hint, **{"teacher.view.spans": spans})
              for spans in ("random", "shuffled")]  # fmt: skip
    assert len({rows(each)[0]["reverse_kl"] for each in (run, *others)}) == 3


@pytest.mark.parametrize("method", ["op-fkd", "op-rkd", "mixture"])
def test_other_methods_ask_the_same_teacher(method, recipe_file, tmp_path):
    run = train(recipe_file, tmp_path / "run", **ITSELF, **{"method.name": method, "training.steps": "1"})
    assert rows(run)[0]["grad_norm"] > 0.001
    assert rows(run)[0]["work"]["teacher"]["prompt_passes"] == 4


def test_an_adapters_base_is_no_second_model(recipe_file, models, loaded, tmp_path):
    pytest.importorskip("peft")
    keys = {**ITSELF, "student.lora.rank": "4", "training.steps": "1"}
    run = train(recipe_file, tmp_path / "run", **keys)
    assert loaded == [models["student"]]
    assert rows(run)[0]["grad_norm"] > 0
    recipe = load_recipe(recipe_file, keys)
    assert list(list_frozen(recipe, measure_student(recipe), 0.0)) == []


def test_one_copy_serves_as_teachers_and_as_reference(recipe_file, models, loaded, tmp_path):
    tables = tomllib.loads(recipe_file.read_text())
    del tables["teacher"]
    views = [{"kind": "clip"}, {"kind": "clip", "spans": "random"}]
    tables |= {"teachers": [{"model": "student", "view": each} for each in views], "teachers_by": "average"}
    tables["method"] = {"name": "grpo", "num_answers": 2, "reference_weight": 0.1}
    recipe_file.write_text(tomli_w.dumps(tables))
    recipe = load_recipe(recipe_file)
    student = load_student(recipe, recipe.student.model)
    judge = load_teacher(recipe, Inputs(), student)
    reference = load_reference(recipe, student, judge.policies)
    assert loaded == [models["student"]] * 2
    assert len({id(each.model) for each in (*judge.policies, reference)}) == 1
    assert len({id(each.work) for each in (*judge.policies, reference)}) == 3
    assert [each.spans for each in judge.views] == ["annotated", "random"]
    (frozen,) = list_frozen(recipe, measure_student(recipe), 0.0)
    assert frozen.part == "teacher"
    alone = load_recipe(recipe_file, {"method.reference_weight": "0"})
    assert len(list(list_frozen(alone, measure_student(alone), 0.0))) == 1


def test_a_curriculum_that_measures_the_reverse_kl_does_it_in_the_view(recipe_file, tmp_path):
    by_name = {"plain": {}, "clip": CLIP}
    keys = BY_REVERSE_KL | {"curriculum.cache": str(tmp_path / "scores")}
    runs = [train(recipe_file, tmp_path / name, **keys, **more) for name, more in by_name.items()]
    scores = [(run / "rounds/1/student-scores.jsonl").read_text().splitlines() for run in runs]
    assert "teacher_views" not in scores[0][0]
    assert "teacher_views" in scores[1][0]
    kl = [[answer.get("reverse_kl") for line in each[1:] for answer in json.loads(line).get("answers", ())]
          for each in scores]  # fmt: skip
    assert kl[0] != kl[1]


LEAST = {
    "name": "views",
    "student": {"model": "a/b"},
    "data": {"videos": "videos", "train": "train.jsonl", "validation": "validation.jsonl"},
}
VIEW = {"kind": "clip"}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"teacher": {"model": "student"}}, r"teacher.model = student has no table \[teacher.view\]: .* nothing is"),
        ({"teachers": [{"model": "student"}] * 2, "teachers_by": "average"}, "nothing is learnt"),
        ({"teacher": {"model": "student"}, "method": {"name": "op-fkd"}}, "nothing is learnt"),
        ({"teacher": {"model": "student"}, "method": {"name": "opd", "ablation": "blind"}}, "nothing is learnt"),
        ({"teacher": {"model": "m/a", "view": {"kind": "crop"}}}, "teacher.view.kind = 'crop'"),
        ({"teacher": {"model": "m/a", "view": {"margin_s": 1.0}}}, "teacher.view.kind"),
        ({"teacher": {"model": "m/a", "view": {"kind": "hint", "margin_s": 1.0}}}, "a hint shows the whole video"),
        ({"teacher": {"model": "m/a", "view": {"kind": "hint", "fps": 1.0}}}, "view.fps is for kind = dense"),
        ({"teacher": {"model": "m/a", "view": VIEW | {"margin_s": -1.0}}}, r"teacher.view.margin_s = -1\.0"),
        ({"teacher": {"model": "m/a", "view": VIEW | {"margin": 1.0}}}, "teacher.view.margin"),
        (
            {"student": {"model": "a/b", "lora": {}}, "teacher": {"model": "student", "view": VIEW, "offload": True}},
            "the base of student.lora, whose weights are on the student's device",
        ),
    ],
)
def test_what_teaches_nothing_or_cannot_be_is_refused(tables, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_recipe({**LEAST, **tables})


@pytest.mark.parametrize(
    "tables",
    [
        {"teacher": {"model": "student", "view": VIEW}},
        {"teacher": {"model": "student", "view": VIEW, "offload": True}},
        {"teacher": {"model": "student"}, "method": {"name": "mixture"}},
        {"teacher": {"model": "student"}, "method": {"name": "grpo"}},
        {"teachers": [{"model": "student"}, {"model": "m/a"}], "teachers_by": "average"},
    ],
)
def test_what_teaches_something_or_only_measures_is_not(tables):
    recipe = parse_recipe({**LEAST, **tables})
    assert next(iter(recipe.name_teachers().values())).model == "a/b"
    assert parse_recipe(tomllib.loads(recipe.to_toml())) == recipe


def test_a_folder_called_student_is_named_by_its_path(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(models["teacher"], "student")
    for name, meant in (("student", models["student"]), ("./student", "./student")):
        recipe = resolve_checkpoints(
            parse_recipe({**LEAST, "student": {"model": models["student"]}, "teacher": {"model": name, "view": VIEW}})
        )
        assert recipe.teacher.model == name
        assert recipe.name_teachers()["teacher"].model == meant


def test_a_comparison_changes_what_is_shown_by_one_key():
    base = {**LEAST, "teacher": {"model": "student", "view": VIEW | {"margin_s": 2.0}}}
    control = parse_recipe(overlay(base, {"teacher": {"view": {"spans": "random"}}}))
    assert control.teacher.model_dump(include={"model", "view"}, exclude_none=True) == {
        "model": "student",
        "view": {"kind": "clip", "margin_s": 2.0, "spans": "random"},
    }
    assert describe_views(parse_recipe(base)) == '[{"kind": "clip", "margin_s": 2.0, "spans": "annotated"}]'
    seeded = control.model_copy(update={"seed": 7})
    assert describe_views(control).endswith(", 0]")
    assert describe_views(seeded).endswith(", 7]"), (
        "a control depends on the seed, and so does what is measured with it"
    )


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.clock is not Clock.MARKERS])
def test_a_family_whose_clock_counts_from_the_first_frame_has_no_clips(family):
    recipe = parse_recipe({**LEAST, "teacher": {"model": "student", "view": VIEW}})
    with pytest.raises(ConfigurationError, match="would lose its place in the whole") as refusal:
        refuse_other_clock(recipe, family)
    assert family.name not in refusal.value.remedy
    refuse_other_clock(parse_recipe({**LEAST, "teacher": {"model": "a/b"}}), family)


def test_it_is_refused_before_weights_are_read(models, monkeypatch):
    """By `train` and by `plan`."""
    monkeypatch.setattr(build_models, "refuse_other_clock", refuse_always)
    monkeypatch.setattr("video_opd.plan.model_refusals.refuse_other_clock", refuse_always)
    recipe = parse_recipe({**LEAST, "student": {"model": models["student"]}, "teacher": {"model": models["teacher"]}})
    for refuse in (lambda: refuse_unfit_models([recipe]), lambda: refuse_unusable_models(recipe, 1, None)):
        with pytest.raises(ConfigurationError, match="asked about"):
            refuse()


def refuse_always(recipe, family):
    raise ConfigurationError(f"asked about {family.name}", reason="it was", remedy="none")


def test_a_control_needs_another_example():
    recipe = parse_recipe({**LEAST, "teacher": {"model": "student", "view": VIEW | {"spans": "shuffled"}}})
    example = Example(id="a", video="a.mp4", query="x", spans=(Span(1.0, 3.0),), duration=10.0)
    refuse_unfit_views(recipe, [example, replace(example, id="b")])
    with pytest.raises(ConfigurationError, match="less than two rows with a duration"):
        refuse_unfit_views(recipe, [example, replace(example, id="b", duration=None)])


def test_a_clip_costs_its_share_in_a_plan():
    recipe = parse_recipe({**LEAST, "teacher": {"model": "student", "view": VIEW | {"margin_s": 0.5}}})
    examples = [
        Example(id="a", video="a.mp4", query="x", spans=(Span(1.0, 3.0),), duration=10.0),
        Example(id="b", video="b.mp4", query="x", spans=(Span(0.0, 9.0),), duration=10.0),
        Example(id="c", video="c.mp4", query="x", spans=(Span(0.0, 9.0),), duration=None),
    ]
    shape = measure_model("tiny-student")
    # At 2 frames a second a group lasts a second: 2 + 1 + 1 of 10 seconds, and all of the second one.
    assert estimate_share(recipe, recipe.teacher.view, examples, shape) == pytest.approx((0.4 + 1.0) / 2)
    assert estimate_share(recipe, None, examples, shape) == 1.0
    assert estimate_share(recipe, recipe.teacher.view, examples[2:], shape) == 1.0


def test_the_plan_of_a_run_that_teaches_itself(recipe_file):
    from video_opd.plan.cards import parse_gpus

    whole, clip = (
        make_plan(load_recipe(recipe_file, {"teacher.model": "tiny-student", "student.model": "tiny-student", **more}),
                  parse_gpus("H100"), num_examples=12)
        for more in ({}, {**CLIP, "teacher.model": "student"})
    )  # fmt: skip
    assert clip.flops["teacher"].total < 0.95 * whole.flops["teacher"].total
    assert clip.memory.peak <= whole.memory.peak
    assert clip.flops["read"].total == whole.flops["read"].total


class TestDense:
    """A teacher with more frames than the student."""

    @pytest.fixture
    def recipe(self, recipe_file):
        return load_recipe(recipe_file, DENSE | {"data.workers": "1"})

    def test_it_is_the_prompt_of_a_recipe_with_these_frames(self, recipe, student):
        """The student's prompt is not touched, and the teacher's is that of its own budget; both tell true times."""
        train = Inputs().read_manifest(recipe, recipe.data.train)[:3]
        sources = [
            make_source(recipe, student, train, for_teachers=True),
            make_source(recipe, student, train),
            make_source(load_recipe_with(recipe, fps=2.0), student, train),
        ]
        with ExitStack() as stack:
            for source in sources:
                stack.enter_context(closing(source))
            sources[0].prefetch(train)
            found, plain, dense = (source.prompts(train) for source in sources)
        (view,) = make_views(recipe, Inputs(), student)
        for mine, bare, fuller in zip(found, plain, dense, strict=True):
            assert_equal_prompts(replace(mine, denser=()), bare)
            assert_equal_prompts(view(mine), fuller)
            assert view(mine).frame_times_s[::2] == pytest.approx(mine.frame_times_s, abs=0.51)
            assert len(view(mine).frame_times_s) > 1.5 * len(mine.frame_times_s)
            assert not remove_video(mine).denser[0].pixel_values.any(), "a blind teacher is blind to it"
            assert without_pixels(mine).denser == ()

    def test_a_margin_shows_a_part_of_the_denser_clip(self, recipe_file, student):
        recipe = load_recipe(recipe_file, DENSE | {"teacher.view.margin_s": "0.25"})
        train = Inputs().read_manifest(recipe, recipe.data.train)[:1]
        with closing(make_source(recipe, student, train, for_teachers=True)) as source:
            (prompt,) = source.prompts(train)
        (view,) = make_views(recipe, Inputs(), student)
        shown, (start_s, end_s) = view(prompt).frame_times_s, train[0].spans[0]
        assert start_s - 1.25 < shown[0] <= start_s - 0.25 or shown[0] == 0
        assert end_s - 0.75 < shown[-1] < end_s + 1.25
        assert shown[1] - shown[0] == pytest.approx(0.5, abs=0.1)

    def test_a_run_and_its_going_on(self, recipe_file, models, tmp_path):
        keys = {**DENSE, "training.learning_rate": "1e-4"}
        run = train(recipe_file, tmp_path / "run", **keys)
        work = rows(run)[0]["work"]
        assert work["teacher"]["prompt_tokens"] > 1.5 * work["student"]["prompt_tokens"]
        assert work["teacher"]["tokens_scored"] == work["student"]["tokens_scored"]
        stopped = cut_off(run, tmp_path / "stopped")
        assert_same_run(train(recipe_file, stopped, **keys), run)

    def test_a_curriculum_has_the_teachers_frames_only_where_it_judges(self, recipe_file, tmp_path):
        run = train(
            recipe_file, tmp_path / "run", **DENSE, **BY_REVERSE_KL, **{"curriculum.cache": str(tmp_path / "scores")}
        )
        header = (run / "rounds/1/student-scores.jsonl").read_text().splitlines()[0]
        assert "dense" in header[header.index("teacher_views") :]

    def test_a_video_that_fails_is_set_aside_once(self, recipe, student, world, tmp_path, caplog):
        shutil.copytree(world / "videos", tmp_path / "videos")
        train = Inputs().read_manifest(recipe, recipe.data.train)
        broken = [example for example in train if example.video == train[0].video]
        (tmp_path / "videos" / train[0].video).write_bytes(b"no video")
        data = recipe.data.model_copy(update={"videos": tmp_path / "videos", "max_bad_share": 1.0})
        recipe = recipe.model_copy(update={"data": data})
        with closing(make_source(recipe, student, train, for_teachers=True)) as source:
            for _ in range(2):
                source.prefetch(train)
                prompts = source.prompts(train)
        assert len(prompts) == len(train) - len(broken)
        assert set(source.set_aside) == {example.id for example in broken}
        assert "in vain" not in caplog.text

    def test_what_it_costs(self, recipe):
        shape, view = measure_model("tiny-student"), recipe.teacher.view
        # A clip of 8 s: 8 frames are 4 groups, 16 frames 8; a group is one token and a time.
        assert count_denser(recipe, view, shape, 8.0) == 2.0
        example = Example(id="a", video="a.mp4", query="x", spans=(Span(1.0, 3.0),), duration=8.0)
        assert estimate_share(recipe, view, [example], shape) == 2.0
        (frozen,) = list_frozen(recipe, measure_student(recipe), 0.0, 8.0)
        assert frozen.sees == 2.0

    @pytest.mark.parametrize(
        ("view", "message"),
        [
            ({"kind": "dense"}, "changes nothing"),
            ({"kind": "clip", "fps": 4.0}, "view.fps is for kind = dense"),
            ({"kind": "dense", "fps": 4.0, "spans": "random"}, "give view.margin_s too"),
            ({"kind": "dense", "max_frames": 3}, "teacher.view.max_frames = 3"),
        ],
    )
    def test_keys_that_do_not_fit_are_refused(self, view, message):
        with pytest.raises(ConfigurationError, match=message):
            parse_recipe({**LEAST, "teacher": {"model": "m/a", "view": view}})

    def test_a_family_that_counts_frames_is_refused_and_one_with_positions_is_not(self):
        recipe = parse_recipe({**LEAST, "teacher": {"model": "m/a", "view": {"kind": "dense", "fps": 4.0}}})
        for family in FAMILIES:
            if family.clock is Clock.NONE:
                with pytest.raises(ConfigurationError, match="would count in another unit"):
                    refuse_other_clock(recipe, family)
            else:
                refuse_other_clock(recipe, family)


def load_recipe_with(recipe, **video):
    return recipe.model_copy(update={"video": recipe.video.model_copy(update=video)})
