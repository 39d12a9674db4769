"""Several teachers: each prompt goes to its own, or to all; what comes back is one teacher's scores."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import replace

import pytest
import tomli_w
import torch

from video_opd.config import TrainingSettings
from video_opd.config.recipe import Recipe
from video_opd.config.recipe_file import load_recipe, parse_recipe
from video_opd.curriculum import ScoredAnswer, ScoredExample, ScoreFile, ScoreHeader, write_scores
from video_opd.errors import ConfigurationError, DataError
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import (
    AveragedTeachers,
    OneTeacher,
    RoutedTeachers,
    route_by_reliability,
    route_by_source,
)
from video_opd.methods.writers import StudentWrites
from video_opd.policy.load import Work
from video_opd.train.build_teachers import make_teacher, refuse_unrouted
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.probe import Probe
from video_opd.train.step_metrics import make_metrics_row
from video_opd.types import AnswerGroup, Sampling, Span, flatten

SEED = 5
NUM_ANSWERS = 2


@pytest.fixture(scope="module")
def frozen(make_policy):
    return tuple(make_policy(seed).freeze() for seed in (1, 2))


@pytest.fixture
def teachers(frozen):
    """Both, with nothing done yet."""
    return tuple(replace(policy, work=Work()) for policy in frozen)


@pytest.fixture
def student(make_policy):
    return make_policy(0)


@pytest.fixture
def mixed(prompts):
    """Five prompts of two sources, in turns that no teacher's own prompts are next to one another."""
    sources = ("charades", "activitynet", "charades", "charades", "activitynet")
    return [
        replace(prompt, example=replace(prompt.example, source=source))
        for prompt, source in zip(prompts[:5], sources, strict=True)
    ]


@pytest.fixture
def written(student, mixed):
    """Two answers to each, of lengths that differ between and within the teachers' shares: the longest is one's own."""
    groups = StudentWrites(num_answers=NUM_ANSWERS, max_new_tokens=9)(student, student.read(mixed), SEED)
    lengths = iter((3, 9, 5, 4, 2, 6, 7, 3, 1, 2))
    return tuple(
        AnswerGroup(prompt_id=group.prompt_id, answers=tuple(shortened(each, next(lengths)) for each in group))
        for group in groups
    )


def shortened(answer, length):
    length = min(length, len(answer))
    return replace(
        answer, token_ids=answer.token_ids[:length], sampler_logprobs=answer.sampler_logprobs[:length], truncated=True
    )


OWN = {0: (0, 2, 3), 1: (1, 4)}
"""Whose prompts are whose."""


def routed(teachers):
    return RoutedTeachers(teachers, route_by_source([["charades"], ["activitynet"]]))


@pytest.mark.parametrize("distribution", [False, True])
def test_a_routed_score_is_that_of_the_teacher_alone_row_for_row(teachers, mixed, written, distribution):
    scores = routed(teachers)(mixed, written, distribution=distribution)
    assert scores.answers == flatten(written)
    assert scores.answer_mask.sum(dim=1).tolist() == [len(answer) for answer in flatten(written)]
    assert scores.logprobs.shape[1] == max(len(answer) for answer in flatten(written))
    assert (scores.distribution is not None) == distribution
    seen = set()
    for index, places in OWN.items():
        for place in places:
            alone = OneTeacher(teachers[index])([mixed[place]], [written[place]], distribution=True)
            for row, answer in enumerate(written[place]):
                there, length = place * NUM_ANSWERS + row, len(answer)
                assert torch.allclose(scores.logprobs[there, :length], alone.logprobs[row, :length], atol=1e-4)
                assert (scores.logprobs[there, length:] == 0).all()
                if scores.distribution is not None:
                    assert torch.allclose(
                        scores.distribution[there, :length].exp(), alone.distribution[row, :length].exp(), atol=1e-4
                    )
                seen.add(there)
    assert seen == set(range(len(flatten(written))))
    # The other teacher says something else, so this was worth comparing.
    other = OneTeacher(teachers[1])([mixed[0]], [written[0]])
    assert (other.logprobs[0, :3] - scores.logprobs[0, :3]).abs().max() > 0.1


def test_each_teacher_reads_only_its_own_prompts(teachers, mixed, written):
    routed(teachers)(mixed, written)
    for index, places in OWN.items():
        work = teachers[index].work
        assert work.prompt_passes == len(places)
        assert work.prompt_tokens == sum(len(mixed[place]) for place in places)
        assert work.tokens_scored == sum(len(answer) for place in places for answer in written[place])
        assert work.answers_written == 0


def test_a_teacher_without_a_prompt_in_the_batch_does_nothing(teachers, mixed, written):
    own = [mixed[place] for place in OWN[1]]
    scores = routed(teachers)(own, [written[place] for place in OWN[1]])
    assert teachers[0].work == Work()
    assert scores.answers == flatten([written[place] for place in OWN[1]])


def test_a_teacher_whose_weights_are_split_goes_along_where_another_process_asks_it(
    teachers, mixed, written, monkeypatch
):
    own = [mixed[place] for place in OWN[1]], [written[place] for place in OWN[1]]
    alone = routed(teachers)(*own, distribution=True)
    monkeypatch.setattr("video_opd.methods.teachers.is_any_process", lambda flag, model: True)
    scores = routed(teachers)(*own, distribution=True)
    assert teachers[0].work.prompt_passes == 1, "with the first prompt, for the other process's sake"
    assert scores.answers == alone.answers
    assert torch.equal(scores.logprobs, alone.logprobs)
    assert torch.equal(scores.distribution, alone.distribution)


def test_what_several_did_is_summed(teachers, mixed, written):
    routed(teachers)(mixed, written)
    total = sum((policy.work for policy in teachers), Work())
    assert total.prompt_passes == 5
    assert total.tokens_scored == sum(len(answer) for answer in flatten(written))
    assert teachers[0].work.prompt_passes == 3, "the sum is a record of its own"


def test_two_equal_teachers_average_to_one(teachers, mixed, written):
    one = OneTeacher(teachers[0])(mixed, written, distribution=True)
    both = AveragedTeachers((teachers[0], teachers[0]))(mixed, written, distribution=True)
    assert torch.allclose(both.logprobs, one.logprobs, atol=1e-5)
    assert torch.allclose(both.distribution.exp(), one.distribution.exp(), atol=1e-6)


def test_the_average_is_a_distribution_between_the_two(teachers, mixed, written):
    scores = AveragedTeachers(teachers)(mixed, written, distribution=True)
    mask = scores.answer_mask
    assert torch.allclose(scores.distribution.exp().sum(dim=-1)[mask], torch.ones(int(mask.sum())), atol=1e-5)
    one, other = (OneTeacher(policy)(mixed, written, distribution=True).distribution for policy in teachers)
    expected = (one.exp() * other.exp()).sqrt()
    expected = expected / expected.sum(dim=-1, keepdim=True)
    assert torch.allclose(scores.distribution.exp()[mask], expected[mask], atol=1e-5)
    for row, answer in enumerate(scores.answers):
        by_hand = scores.distribution[row, torch.arange(len(answer)), torch.tensor(answer.token_ids)]
        assert torch.equal(scores.logprobs[row, : len(answer)], by_hand)
        assert (scores.logprobs[row, len(answer) :] == 0).all()
    assert [policy.work.prompt_passes for policy in teachers] == [10, 10]
    assert AveragedTeachers(teachers)(mixed, written).distribution is None


def test_the_average_of_many_stays_finite(teachers, mixed, written):
    """What is impossible to each has a log-prob of -8.5e37; the sum of five of them is beyond float32."""
    scores = AveragedTeachers(teachers * 4)(mixed[:1], written[:1], distribution=True)
    assert torch.isfinite(scores.distribution).all()


@pytest.mark.parametrize("estimator", ["sampled", "exact"])
@pytest.mark.parametrize("kind", ["routed", "averaged"])
def test_a_student_learns_from_several(student, teachers, mixed, kind, estimator):
    teacher = routed(teachers) if kind == "routed" else AveragedTeachers(teachers)
    write = StudentWrites(num_answers=NUM_ANSWERS, max_new_tokens=6)
    method = ReverseKLDistillation(write=write, teacher=teacher, estimator=estimator)
    settings = TrainingSettings(batch_size=5, micro_batch_size=3, learning_rate=3e-4)
    probe = Probe.take(student, teacher, mixed, Sampling(max_new_tokens=6), 2)
    before = probe.reverse_kl()
    learner = Learner(student, settings, total_steps=6)
    for step in range(6):
        outcome = take_step(learner, mixed, method, step=step, seed=step)
    if estimator == "exact":
        assert probe.reverse_kl() < before
    row = make_metrics_row(outcome, student)
    assert row["num_prompts"] == 5
    assert math.isfinite(row["reverse_kl"])


class TestRoutes:
    """Who judges whom."""

    def test_by_source(self, mixed):
        route = route_by_source([["other", "charades"], ["activitynet"]])
        assert [route(prompt.example) for prompt in mixed] == [0, 1, 0, 0, 1]
        with pytest.raises(DataError, match=r"is of source 'didemo': no teacher names it; the teachers name 'other', "):
            route(replace(mixed[0].example, source="didemo"))

    def test_by_reliability_the_best_and_of_equals_the_first(self, mixed):
        ids = [prompt.id for prompt in mixed]
        taus = [
            {ids[0]: 0.5, ids[1]: 0.2, ids[2]: 0.4},
            {ids[0]: 0.4, ids[1]: 0.7, ids[2]: 0.4, ids[3]: 0.0},
        ]
        route = route_by_reliability(taus)
        # The fourth: only the second was scored on it, however badly.
        assert [route(prompt.example) for prompt in mixed[:4]] == [0, 1, 0, 1]
        with pytest.raises(DataError, match=f"example {ids[4]} is in no teacher's score file"):
            route(mixed[4].example)


LEAST = {
    "name": "several",
    "student": {"model": "a/b"},
    "data": {"videos": "videos", "train": "train.jsonl", "validation": "validation.jsonl"},
}
A, B = {"model": "m/a", "sources": ["one"]}, {"model": "m/b", "sources": ["two"]}
BARE = [{"model": "m/a"}, {"model": "m/b"}]


def test_several_teachers_are_named_in_order_and_survive_being_written_down():
    recipe = parse_recipe({**LEAST, "teachers": [A, B]})
    assert list(recipe.name_teachers()) == ["teacher-1", "teacher-2"]
    assert recipe.name_teachers()["teacher-2"].model == "m/b"
    assert parse_recipe_text(recipe.to_toml()) == recipe
    assert list(parse_recipe({**LEAST, "teacher": {"model": "m/a"}}).name_teachers()) == ["teacher"]
    assert parse_recipe({**LEAST, "method": {"name": "grpo"}}).name_teachers() == {}


def parse_recipe_text(text: str) -> Recipe:
    return parse_recipe(tomllib.loads(text))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"teacher": {"model": "m/c"}, "teachers": [A, B]}, r"has both \[teacher\] and \[\[teachers\]\]"),
        ({"teachers": [A]}, r"a single table \[\[teachers\]\]; write one teacher as \[teacher\]"),
        ({}, r"opd asks a teacher, and the recipe has no table"),
        ({"teachers": [A, {"model": "m/b"}]}, "teachers_by = source needs the key `sources`, and 'm/b' has none"),
        ({"teachers": [A, {**B, "sources": ["one"]}]}, "source 'one' is named by two teachers"),
        ({"teachers": BARE, "teachers_by": "reliability"}, "needs the key `scores`, and 'm/a' has none"),
        ({"teachers": [A, B], "teachers_by": "average"}, "average does not use `sources`, and 'm/a' has some"),
        ({"teachers": BARE, "teachers_by": "best"}, "teachers_by = 'best'"),
        ({"teacher": A}, r"share the work among several teachers, and the recipe has no tables \[\[teachers\]\]"),
        ({"teacher": {"model": "m/a"}, "teachers_by": "average"}, "share the work among several teachers"),
        ({"teachers": [A, {**B, "modle": "x"}]}, r"unknown key teachers\.1\.modle"),
    ],
)
def test_teachers_that_cannot_share_the_work_are_refused(tables, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_recipe({**LEAST, **tables})


def test_several_take_the_place_of_one_in_a_recipe_that_builds_on_another(tmp_path):
    (tmp_path / "base.toml").write_text(
        parse_recipe({**LEAST, "teacher": {"model": "m/c"}}).to_toml().replace("teachers = []\n", "")
    )
    several = tmp_path / "several.toml"
    several.write_text(
        'base = "base.toml"\nteachers_by = "average"\n[[teachers]]\nmodel = "m/a"\n[[teachers]]\nmodel = "m/b"\n'
    )
    assert [teacher.model for teacher in load_recipe(several).name_teachers().values()] == ["m/a", "m/b"]
    one = tmp_path / "one.toml"
    one.write_text('base = "several.toml"\n[teacher]\nmodel = "m/d"\n')
    assert [teacher.model for teacher in load_recipe(one).name_teachers().values()] == ["m/d"]


def test_the_recipe_says_who_judges(teachers, mixed, tmp_path):
    one = parse_recipe({**LEAST, "teacher": {"model": "m/a"}})
    assert make_teacher(one, teachers[:1]) == OneTeacher(teachers[0])
    average = parse_recipe({**LEAST, "teachers": BARE, "teachers_by": "average"})
    assert make_teacher(average, teachers) == AveragedTeachers(teachers)
    by_name = parse_recipe({**LEAST, "teachers": [{"model": "m/a", "sources": ["activitynet"]},
                                                  {"model": "m/b", "sources": ["charades"]}]})  # fmt: skip
    assert [make_teacher(by_name, teachers).route(prompt.example) for prompt in mixed] == [1, 0, 1, 1, 0]
    refuse_unrouted(by_name, [prompt.example for prompt in mixed])
    with pytest.raises(DataError, match="no teacher names it"):
        refuse_unrouted(by_name, [replace(mixed[0].example, source="")])
    for index, name in enumerate("ab"):
        write_ious(tmp_path / name, {prompt.id: abs(index - 0.1 * i) for i, prompt in enumerate(mixed[:4])})
    scored = [{"model": f"m/{name}", "scores": str(tmp_path / name)} for name in "ab"]
    reliable = parse_recipe({**LEAST, "teachers": scored, "teachers_by": "reliability"})
    refuse_unrouted(reliable, [prompt.example for prompt in mixed[:4]])
    with pytest.raises(DataError, match="in no teacher's score file"):
        refuse_unrouted(reliable, [prompt.example for prompt in mixed])
    (tmp_path / "b").write_text('{"id": "x"}\n')
    with pytest.raises(DataError, match="not a file of scores"):
        refuse_unrouted(reliable, [])


def write_ious(path, ious: dict[str, float]) -> None:
    """A file of scores with one answer an example."""
    header = ScoreHeader(model="m", model_sha256="0", manifest_sha256="0", settings={}, num_examples=len(ious))
    rows = {
        id: ScoredExample(
            id=id, spans=(Span(0, 1),), duration=2.0, source="",
            answers=(ScoredAnswer(text="", span=None, iou=iou, logprob=0.0, num_tokens=1, sampled=False),),
        )
        for id, iou in ious.items()
    }  # fmt: skip
    write_scores(path, ScoreFile(header=header, rows=rows))


def test_a_run_with_two_teachers(recipe_file, frozen, world, tmp_path):
    """From the recipe to the results: routed, evaluated one by one, their work under one name."""
    from video_opd.train.run import run_recipe

    tables = tomllib.loads(recipe_file.read_text())
    one = tables.pop("teacher")["model"]
    other = tmp_path / "other"
    frozen[1].model.save_pretrained(other)
    frozen[1].processor.save_pretrained(other)
    source = json.loads((world / "train.jsonl").read_text().splitlines()[0])["source"]
    tables["schedule"]["probe_every"] = 1
    tables["teachers"] = [{"model": str(other), "sources": ["elsewhere"]}, {"model": one, "sources": [source]}]
    path = tmp_path / "two.toml"
    path.write_text(tomli_w.dumps(tables))
    results = run_recipe(load_recipe(path), tmp_path / "run", evaluate_teacher=True)
    assert results["teacher_1"]["num_queries"] == results["teacher_2"]["num_queries"] == 4
    assert "teacher" not in results
    evaluated = [json.loads((tmp_path / "run/evaluation" / f"teacher-{n}.json").read_text())["model"] for n in (1, 2)]
    assert evaluated == [str(other), one]
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["work"]["teacher"]["prompt_passes"] for row in rows] == [4, 4]
    assert rows[0]["model_bytes"]["teacher"] == sum(policy.num_bytes for policy in frozen)
    assert rows[0]["reverse_kl_after"] != rows[0]["reverse_kl_before"]
    tables["teachers"][1]["sources"] = ["nowhere"]
    path.write_text(tomli_w.dumps(tables))
    with pytest.raises(DataError, match="no teacher names it"):
        run_recipe(load_recipe(path), tmp_path / "never")
    assert not (tmp_path / "never").exists(), "before a run folder is made"
