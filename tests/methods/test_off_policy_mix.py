"""The mix of GKD: who answers which prompt, and what the two ends of the share are."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch

from video_opd.config import Recipe, TrainingSettings
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.methods import MethodParts
from video_opd.methods.divergence import DivergenceDistillation
from video_opd.methods.op_rkd import OffPolicyReverseSettings
from video_opd.methods.opd import OnPolicyDistillationSettings, ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import AnnotationWrites, MixedWrites, StudentWrites
from video_opd.objectives import forward_kl, generalised_jsd
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.step_metrics import make_answer_rows, make_metrics_row

SEED = 3
OWN, ANNOTATED = StudentWrites(max_new_tokens=6), AnnotationWrites(template=TEMPLATES["tiny"])


def mix(share: float) -> MixedWrites:
    return MixedWrites(own=OWN, annotation=ANNOTATED, own_share=share)


def parts(teacher) -> MethodParts:
    return MethodParts(
        template=TEMPLATES["tiny"], template_name="tiny", max_new_tokens=6, given_teacher=OneTeacher(teacher)
    )


def weights_after(student, method, prompts, *, micro_batch_size=8):
    """The weights after two steps, and the outcome of the last one."""
    student = replace(student, model=copy.deepcopy(student.model))
    settings = TrainingSettings(batch_size=8, micro_batch_size=micro_batch_size, learning_rate=1e-3)
    learner = Learner(student, settings, total_steps=2)
    for step in range(2):
        outcome = take_step(learner, prompts, method, step=step, seed=SEED + step)
    return {name: p.detach().clone() for name, p in learner.parameters.items()}, outcome


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def build(teacher, **settings):
    return OnPolicyDistillationSettings(**settings).build(parts(teacher))


@pytest.mark.parametrize("estimator", ["sampled", "exact"])
def test_a_share_of_1_is_opd_bit_for_bit(student, teacher, prompts, estimator):
    plain, mixed = (build(teacher, estimator=estimator, **more) for more in ({}, {"own_share": 1.0}))
    assert_same_weights(weights_after(student, plain, prompts[:4])[0], weights_after(student, mixed, prompts[:4])[0])
    drawn = replace(plain, write=mix(1.0))  # also where the draw is made
    assert_same_weights(weights_after(student, plain, prompts[:4])[0], weights_after(student, drawn, prompts[:4])[0])


@pytest.mark.parametrize("estimator", ["sampled", "exact"])
def test_a_share_of_0_is_op_rkd(student, teacher, prompts, estimator):
    mixed = build(teacher, estimator=estimator, own_share=0.0)
    off = OffPolicyReverseSettings(name="op-rkd", estimator=estimator).build(parts(teacher))
    (one, outcome), (other, expected) = (weights_after(student, method, prompts[:4]) for method in (mixed, off))
    assert_same_weights(one, other)
    rows = [make_metrics_row(each, student) for each in (outcome, expected)]
    assert rows[0] == rows[1]
    assert "num_annotated_answers" not in rows[0]


def test_in_a_mix_every_answer_is_that_of_its_writer(student, prompts):
    """The student's are the same as without a mix: they depend on the seed and the prompt alone."""
    reading = student.read(prompts[:6])
    own, annotated = OWN(student, reading, SEED), ANNOTATED(student, reading, SEED)
    mixed = mix(0.5)(student, reading, SEED)
    is_own = [mix(0.5).is_own(prompt, SEED) for prompt in prompts[:6]]
    assert 0 < sum(is_own) < 6
    for place, group in enumerate(mixed):
        expected = own[place] if is_own[place] else annotated[place]
        assert [answer.token_ids for answer in group] == [answer.token_ids for answer in expected]
        assert (group.answers[0].sampler_logprobs is not None) == is_own[place]


def test_a_draw_depends_on_the_step_and_the_example(prompts):
    some = [replace(prompts[0], example=replace(prompts[0].example, id=f"q{n}")) for n in range(400)]
    drawn = [[mix(0.3).is_own(prompt, seed) for prompt in some] for seed in (1, 2)]
    for each in drawn:
        assert sum(each) / 400 == pytest.approx(0.3, abs=0.07)  # three standard deviations
    both = sum(one and other for one, other in zip(*drawn, strict=True)) / 400
    assert both == pytest.approx(0.09, abs=0.045)  # independent
    assert drawn[0] == [mix(0.3).is_own(prompt, 1) for prompt in some]
    less = [mix(0.1).is_own(prompt, 1) for prompt in some]
    assert all(one or not other for one, other in zip(drawn[0], less, strict=True))  # a smaller share is a part
    repeated = [mix(0.5).is_own(replace(prompts[0], repeat=number), 1) for number in range(40)]
    assert 0 < sum(repeated) < 40


@pytest.mark.parametrize("divergence", [None, "forward-kl", "jsd"])
def test_a_mix_does_not_depend_on_micro_batches(student, teacher, prompts, divergence):
    method = build(teacher, estimator="exact", divergence=divergence, own_share=0.5)
    whole, outcome = weights_after(student, method, prompts[:6])
    split, _ = weights_after(student, method, prompts[:6], micro_batch_size=1)
    for name, weight in whole.items():
        torch.testing.assert_close(weight, split[name], rtol=1e-3, atol=1e-4)
    assert outcome.loss > 0


def test_the_metrics_of_a_mix_keep_the_two_apart(student, teacher, prompts):
    method = build(teacher, estimator="exact", own_share=0.5)
    _, outcome = weights_after(student, method, prompts[:6])
    row = make_metrics_row(outcome, student)
    (batch,) = outcome.batches
    is_own = [group.answers[0].sampler_logprobs is not None for group in batch.groups]
    assert row["num_annotated_answers"] == is_own.count(False) > 0
    assert row["num_answers"] == 6
    gaps = batch.behaviour_logprobs - batch.judgement.teacher.logprobs
    for name, kind in (("reverse_kl", True), ("gap_on_annotations", False)):
        rows = [place for place, own in enumerate(is_own) if own == kind]
        assert row[name] == pytest.approx(gaps[rows][batch.answer_mask[rows]].mean().item(), rel=1e-5)
        counted = sum(region["num_tokens"] for region in row[f"{name}_by_region"].values())
        assert counted == batch.answer_mask[rows].sum()
    assert row["annotation_nll"] != pytest.approx(row["entropy"], rel=1e-3)
    assert row["sampler_learner_gap"] < 1e-4
    recorded = make_answer_rows(outcome, student, 10)
    assert ["sampler_logprobs" in answer for answer in recorded] == is_own


@pytest.mark.parametrize("divergence", [None, "jsd"])
def test_the_students_answers_of_a_mix_are_sampled_as_without_one(student, teacher, prompts, divergence):
    """Temperature and truncation are those of the recipe, so sampler and learner agree."""
    given = replace(parts(teacher), temperature=1.7, top_k=3, top_p=0.9)
    settings = OnPolicyDistillationSettings(estimator="exact", divergence=divergence, own_share=0.5)
    reading = student.read(prompts[:6])
    mixed, alone = (write(student, reading, SEED) for write in (settings.build(given).write, given.student_writes(1)))
    own = [(one, other) for one, other in zip(mixed, alone, strict=True) if one.answers[0].sampler_logprobs is not None]
    assert 0 < len(own) < 6
    assert all(one.answers[0].token_ids == other.answers[0].token_ids for one, other in own)
    truth = student.score(reading, alone, temperature=1.7).logprobs
    for row, group in enumerate(mixed):
        if (sampled := group.answers[0].sampler_logprobs) is not None:
            assert truth[row, : len(sampled)].tolist() == pytest.approx(sampled, abs=1e-4)


def test_a_divergence_builds_its_objective(teacher, student, prompts):
    for settings, expected in (
        ({"divergence": "forward-kl"}, forward_kl),
        ({"divergence": "jsd"}, partial(generalised_jsd, beta=0.5)),
        ({"divergence": "jsd", "beta": 0.9}, partial(generalised_jsd, beta=0.9)),
    ):
        method = build(teacher, estimator="exact", **settings)
        assert isinstance(method, DivergenceDistillation)
        reading = student.read(prompts[:2])
        groups = method.write(student, reading, SEED)
        mine = student.score(reading, groups, distribution=True)
        judgement = method.judge(prompts[:2], groups)
        losses = method.losses(mine, mine.logprobs, judgement)
        assert torch.equal(losses.loss, expected(mine.distribution, judgement.teacher.distribution))
        torch.testing.assert_close(losses.advantage, judgement.teacher.logprobs - mine.logprobs)
    for given in (None, "reverse-kl"):
        assert isinstance(build(teacher, estimator="exact", divergence=given), ReverseKLDistillation)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"divergence": "jsd"}, "use estimator = exact"),
        ({"divergence": "forward-kl", "estimator": "baseline"}, "use estimator = exact"),
        ({"estimator": "exact", "beta": 0.5}, "belongs to divergence = jsd"),
        ({"estimator": "exact", "divergence": "jsd", "beta": 0.0}, "use divergence = forward-kl"),
        ({"estimator": "exact", "divergence": "jsd", "beta": 1.0}, "use divergence = reverse-kl"),
        ({"own_share": 0.5, "num_answers": 2}, "use num_answers = 1"),
        ({"own_share": 0.5, "estimator": "baseline"}, "use sampled or exact"),
        ({"own_share": 0.5, "ablation": "noise"}, "use another ablation"),
        ({"answer": "{start} - {end}"}, "set own_share below 1"),
        ({"answer": "{start} - {end}", "own_share": 1.0}, "set own_share below 1"),
    ],
)
def test_what_does_not_fit_is_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        OnPolicyDistillationSettings(**settings)


def test_settings_that_are_not_given_are_in_no_recipe():
    written = OnPolicyDistillationSettings().model_dump(exclude_none=True)
    assert not {"divergence", "beta", "own_share", "answer"} & written.keys()
    assert not OnPolicyDistillationSettings(own_share=1.0).has_annotations
    assert OnPolicyDistillationSettings(own_share=0.0).has_annotations


def test_a_gate_needs_the_students_own_answers():
    data = {"videos": "v", "train": "t", "validation": "w"}
    tables = {"name": "n", "student": {"model": "m"}, "teacher": {"model": "m"}, "data": data}
    gate = {"curriculum": {"suspend_at": 0.7}}
    Recipe(**tables, **gate, method={"own_share": 1.0})
    with pytest.raises(ValueError, match=r"take opd without method\.own_share"):
        Recipe(**tables, **gate, method={"own_share": 0.9})
