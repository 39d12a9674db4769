"""Training in bfloat16: the model's arithmetic is coarse; log-probs, advantage and loss are not."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from video_opd.config import TrainingSettings
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import StudentWrites
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step

SEED = 11


class Watched(ReverseKLDistillation):
    """Distillation that keeps the whole distributions it was given."""

    def losses(self, learner, behaviour_logprobs, judgement):
        object.__setattr__(self, "distributions", (learner.distribution, judgement.teacher.distribution))
        return super().losses(learner, behaviour_logprobs, judgement)


@pytest.fixture(scope="module")
def step(make_policy, prompts):
    """One step on given answers, in float32 or in bfloat16 as compute.precision = bfloat16 has it: what was trained on,
    the method, and the gradient."""
    student, teacher = make_policy(0), make_policy(1).freeze()
    written = StudentWrites(max_new_tokens=8)(student, student.read(prompts[:6]), SEED)

    def run(autocast, estimator):
        policy = replace(student, model=copy.deepcopy(student.model), autocast=autocast)
        weights = torch.float32 if autocast is None else autocast
        judge = OneTeacher(replace(teacher, model=copy.deepcopy(teacher.model).to(weights)))
        method = Watched(write=lambda *_: written, teacher=judge, estimator=estimator, in_full=True)
        learner = Learner(policy, TrainingSettings(batch_size=6, micro_batch_size=6, clip_norm=1e9), total_steps=1)
        gradient: dict[str, torch.Tensor] = {}
        learner.optimizer.step = lambda: gradient.update({n: p.grad.clone() for n, p in learner.parameters.items()})
        outcome = take_step(learner, prompts[:6], method, step=0, seed=SEED)
        return outcome, method, torch.cat([g.flatten() for g in gradient.values()])

    return run


@pytest.mark.parametrize("estimator", ["sampled", "baseline", "exact"])
def test_a_step_in_bfloat16_is_that_in_float32_but_for_rounding(step, estimator):
    """Logits with 8 bits: log-probs are 0.06 nats off at most, the loss 0.01, the gradient 2 to 4 per cent."""
    (exact, _, right), (rough, method, gradient) = step(None, estimator), step(torch.bfloat16, estimator)
    (batch,), (expected,) = rough.batches, exact.batches
    mask = batch.answer_mask
    assert rough.loss == pytest.approx(exact.loss, abs=0.03)
    assert (gradient - right).norm() < 0.1 * right.norm()
    assert (batch.losses.advantage - expected.losses.advantage)[mask].abs().max() < 0.3
    assert (batch.losses.advantage - expected.losses.advantage)[mask].abs().mean() < 0.06
    assert not torch.equal(batch.behaviour_logprobs, expected.behaviour_logprobs)  # it was bfloat16
    # None of what follows the logits is rounded to 8 bits: such log-probs would be 0.015 off at 3 nats, and the same
    # for tokens that differ by less.
    for logprobs in (batch.behaviour_logprobs, batch.judgement.teacher.logprobs, batch.losses.advantage):
        assert logprobs.dtype == torch.float32
        rounded = (logprobs.bfloat16().float() == logprobs)[mask]
        assert rounded.float().mean() < 0.1
    for distribution in method.distributions:
        assert distribution.dtype == torch.float32
        assert (distribution.exp().sum(dim=-1) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_a_teacher_computes_alike_inside_and_outside_of_the_students_context(make_policy, prompts, weights):
    """The learner holds the student's autocast while the teacher judges."""
    student = replace(make_policy(0), autocast=torch.bfloat16)
    teacher = replace(make_policy(1), model=make_policy(1).model.to(weights)).freeze()
    groups = StudentWrites(max_new_tokens=8)(student, student.read(prompts[:3]), SEED)
    outside = teacher.score(teacher.read(prompts[:3]), groups).logprobs
    with student.precision():
        inside = teacher.score(teacher.read(prompts[:3]), groups).logprobs
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_softmax_of_coarse_logits_is_that_of_the_same_numbers_in_float32(make_policy, dtype):
    support = make_policy(0).support
    logits = (5 * torch.randn(3, 400, generator=torch.Generator().manual_seed(0))).to(dtype)
    logprobs = support.log_softmax(logits)
    assert logprobs.dtype == torch.float32
    exact = logits[:, : support.num_tokens].double()[:, ~support.banned].log_softmax(dim=-1)
    assert (logprobs[:, ~support.banned] - exact).abs().max() < 1e-5
