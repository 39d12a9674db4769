"""Signs, masks and clamps of the objectives, by hand."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from jaxtyping import TypeCheckError

from video_opd.objectives import (
    clamp_advantage,
    clipped_policy_gradient,
    forward_kl,
    generalised_jsd,
    masked_mean,
    masked_sum,
    policy_gradient,
    reference_penalty,
    reverse_kl,
    sampled_advantage,
    sampled_entropy,
    sampled_reverse_kl,
    sampler_learner_gap,
)

MINE = torch.log(torch.tensor([[0.5, 0.8]]))
THEIRS = torch.log(torch.tensor([[0.25, 0.9]]))
MASK = torch.tensor([[True, True]])
JSD = partial(generalised_jsd, beta=0.5)


def test_advantage_is_negative_where_the_teacher_likes_the_token_less():
    assert sampled_advantage(MINE, THEIRS).tolist() == [pytest.approx([-0.693147, 0.117783], abs=1e-5)]


def test_advantage_is_a_constant_for_the_gradient():
    assert not sampled_advantage(MINE.clone().requires_grad_(), THEIRS).requires_grad


@pytest.mark.parametrize(
    ("loss", "last"),
    [
        (policy_gradient, (2,)),
        (lambda *given: clipped_policy_gradient(*given, 0.2)[0], (2,)),
        (reference_penalty, (2,)),
        (forward_kl, (2, 3)),
        (reverse_kl, (2, 3)),
        (JSD, (2, 3)),
    ],
    ids=["policy-gradient", "clipped", "penalty", "forward-kl", "reverse-kl", "jsd"],
)
def test_a_loss_has_a_gradient_for_the_learner_alone(loss, last):
    """Advantage, behaviour, reference and teacher are constants, also where they come from a model with a gradient."""
    given = [torch.full((1, *last), -value, requires_grad=True) for value in (1.0, 1.1, 1.2)]
    given = given if loss not in (reference_penalty, forward_kl, reverse_kl, JSD) else given[:2]
    loss(*given).sum().backward()
    assert given[0].grad.abs().sum() > 0
    assert [other.grad for other in given[1:]] == [None] * len(given[1:])


def test_policy_gradient_pushes_up_what_has_advantage():
    logprobs = MINE.clone().requires_grad_()
    policy_gradient(logprobs, MINE, torch.tensor([[2.0, -1.0]])).sum().backward()
    assert logprobs.grad.tolist() == [[-2.0, 1.0]]  # descending the loss raises the first and lowers the second


def test_policy_gradient_weighs_by_the_importance_ratio():
    moved = MINE + torch.log(torch.tensor([[2.0, 0.5]]))
    assert policy_gradient(moved, MINE, torch.ones(1, 2)).tolist() == [pytest.approx([-2.0, -0.5])]


def test_reverse_kl_is_student_against_teacher():
    p, q = torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
    expected = float((p * (p / q).log()).sum())
    assert reverse_kl(p.log()[None, None], q.log()[None, None]).item() == pytest.approx(expected, abs=1e-6)
    assert reverse_kl(q.log()[None, None], p.log()[None, None]).item() != pytest.approx(expected, abs=1e-3)


def test_reverse_kl_of_impossible_tokens_is_finite():
    """Masked vocabulary entries have probability 0 on both sides and add nothing, to value or gradient."""
    low = torch.finfo(torch.float32).min / 4
    student = torch.tensor([[[1.0, 2.0, low]]], requires_grad=True)
    value = reverse_kl(student.log_softmax(-1), torch.tensor([[[2.0, 1.0, low]]]).log_softmax(-1))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(student.grad).all()
    assert student.grad[0, 0, 2] == 0


def test_clamp_counts_what_it_clamps():
    advantage, clamped = clamp_advantage(torch.tensor([[-30.0, -10.0, 0.5, 10.0, 11.0]]), 10.0)
    assert advantage.tolist() == [[-10.0, -10.0, 0.5, 10.0, 10.0]]
    assert clamped.tolist() == [[1.0, 0.0, 0.0, 0.0, 1.0]]  # at the limit nothing is changed


def test_no_clamp_by_default():
    advantage, clamped = clamp_advantage(torch.tensor([[-30.0]]), None)
    assert advantage.item() == -30.0
    assert clamped.item() == 0.0


def test_padding_counts_for_nothing_even_when_it_is_not_a_number():
    values, mask = torch.tensor([[1.0, float("nan")], [3.0, 5.0]]), torch.tensor([[True, False], [True, True]])
    assert masked_sum(values, mask).item() == 9.0
    assert masked_mean(values, mask).item() == 3.0


def test_padding_gets_no_gradient():
    values = torch.tensor([[1.0, float("inf")]], requires_grad=True)
    masked_sum(values, torch.tensor([[True, False]])).backward()
    assert values.grad.tolist() == [[1.0, 0.0]]


def test_diagnostics_by_hand():
    assert sampled_reverse_kl(MINE, THEIRS, MASK) == pytest.approx((0.693147 - 0.117783) / 2, abs=1e-5)
    assert sampled_entropy(MINE, MASK) == pytest.approx((0.693147 + 0.223144) / 2, abs=1e-5)
    assert sampler_learner_gap(MINE, MINE + 0.5, MASK) == pytest.approx(0.5)


def test_shapes_are_checked_in_tests():
    with pytest.raises(TypeCheckError):
        policy_gradient(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, 3))
