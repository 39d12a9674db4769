"""The forward KL and the generalised JSD: values by hand, limits, gradients, tokens that are impossible, copies."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from video_opd.objectives import forward_kl, generalised_jsd, reverse_kl, row_pieces
from video_opd.policy.token_support import TokenSupport

TEACHER, STUDENT = (0.75, 0.25), (0.25, 0.75)


def logs(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()[None, None]


def plain(student: torch.Tensor, teacher: torch.Tensor, beta: float) -> torch.Tensor:
    """The definition, in probabilities."""
    p, q = teacher.exp(), student.exp()
    m = beta * p + (1 - beta) * q
    return beta * (p * (p / m).log()).sum(-1) + (1 - beta) * (q * (q / m).log()).sum(-1)


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        # The mixture is 1/2, 1/2, so both KL divergences are 3/4 log 3/2 + 1/4 log 1/2.
        (0.5, 0.130812),
        # The mixture is 3/8, 5/8: 1/4 (3/4 log 2 + 1/4 log 2/5) + 3/4 (1/4 log 2/3 + 3/4 log 6/5).
        (0.25, 0.25 * 0.290787 + 0.75 * 0.035375),
        # The mixture is 5/8, 3/8, and the roles are changed.
        (0.75, 0.75 * 0.035375 + 0.25 * 0.290787),
    ],
)
def test_the_generalised_jsd_by_hand(beta, expected):
    assert generalised_jsd(logs(*STUDENT), logs(*TEACHER), beta).item() == pytest.approx(expected, abs=1e-6)


def test_beta_is_the_weight_of_the_teacher():
    """Three tokens; the mixture with 0.2 of the teacher is 0.14, 0.36, 0.50."""
    teacher, student = logs(0.3, 0.2, 0.5), logs(0.1, 0.4, 0.5)
    of_teacher = 0.3 * math.log(0.3 / 0.14) + 0.2 * math.log(0.2 / 0.36)
    of_student = 0.1 * math.log(0.1 / 0.14) + 0.4 * math.log(0.4 / 0.36)
    expected = 0.2 * of_teacher + 0.8 * of_student
    assert generalised_jsd(student, teacher, 0.2).item() == pytest.approx(expected, abs=1e-12)
    assert generalised_jsd(teacher, student, 0.8).item() == pytest.approx(expected, abs=1e-12)
    assert generalised_jsd(student, teacher, 0.8).item() != pytest.approx(expected, abs=1e-4)


def test_the_forward_kl_is_teacher_against_student():
    expected = 0.75 * math.log(3) + 0.25 * math.log(1 / 3)
    assert forward_kl(logs(*STUDENT), logs(*TEACHER)).item() == pytest.approx(expected)
    lopsided = logs(0.9, 0.1), logs(0.5, 0.5)
    assert forward_kl(*lopsided).item() == pytest.approx(0.5 * math.log(5 / 9) + 0.5 * math.log(5))


def test_near_the_ends_the_jsd_is_a_small_kl():
    """Divided by beta it is the forward KL, divided by 1 - beta the reverse KL."""
    torch.manual_seed(0)
    student, teacher = (torch.randn(2, 3, 7, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    small = 1e-6
    forward, reverse = forward_kl(student, teacher), reverse_kl(student, teacher)
    torch.testing.assert_close(generalised_jsd(student, teacher, small) / small, forward, rtol=1e-4, atol=0)
    torch.testing.assert_close(generalised_jsd(student, teacher, 1 - small) / small, reverse, rtol=1e-4, atol=0)
    assert (forward - reverse).abs().max() > 1e-2


def test_the_jsd_of_what_excludes_each_other_is_its_upper_bound():
    """The entropy of beta and 1 - beta: log 2 for a half."""
    one, other = logs(1.0, 1e-300), logs(1e-300, 1.0)
    for beta in (0.1, 0.5, 0.9):
        bound = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
        assert generalised_jsd(one, other, beta).item() == pytest.approx(bound)


@pytest.mark.parametrize("values", [1, 40, 2**20])
@pytest.mark.parametrize(
    ("ours", "definition"),
    [
        (forward_kl, lambda s, t: (t.exp() * (t - s)).sum(-1)),
        *((partial(generalised_jsd, beta=beta), partial(plain, beta=beta)) for beta in (0.1, 0.5, 0.9)),
    ],
    ids=["forward", "0.1", "0.5", "0.9"],
)
def test_value_and_gradient_are_those_of_autograd(ours, definition, values, monkeypatch):
    """With respect to the logits, and with respect to log-probs that sum to no distribution; the mixture is part of the
    gradient."""
    monkeypatch.setattr(row_pieces, "VALUES_AT_ONCE", values)
    raw, teacher = (
        torch.randn(2, 5, 13, dtype=torch.float64),
        torch.randn(2, 5, 13, dtype=torch.float64).log_softmax(-1),
    )
    weights, gradients, results = torch.randn(2, 5, dtype=torch.float64), [], []
    for compute in (ours, definition):
        logits = raw.clone().requires_grad_()
        divergence = compute(logits.log_softmax(-1), teacher)
        (divergence * weights).sum().backward()
        results.append(divergence.detach())
        gradients.append(logits.grad)
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
    for compute in (ours, definition):  # a term that the softmax would take away counts here
        given = raw.clone().requires_grad_()
        (compute(given, teacher) * weights).sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients[2:], rtol=1e-10, atol=1e-12)
    logits = raw.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: ours(given.log_softmax(-1), teacher), logits)


@pytest.mark.parametrize("divergence", [forward_kl, *(partial(generalised_jsd, beta=b) for b in (1e-3, 0.5, 0.999))])
def test_banned_and_improbable_tokens_leave_value_and_gradient_finite(divergence):
    """Banned on both sides; 200 nats below the best on one side, where the probability is 0 in float32."""
    banned = torch.tensor([False, True, False, False, True])
    support = TokenSupport(num_tokens=5, banned=banned, end_token_id=0)
    logits = torch.tensor([[[0.0, 3.0, -200.0, 1.0, 2.0], [0.0, 3.0, 1.0, 1.0, 2.0]]], requires_grad=True)
    teacher = support.log_softmax(torch.tensor([[[0.0, 1.0, 1.0, 2.0, 9.0], [0.0, 1.0, -200.0, 2.0, 9.0]]]))
    value = divergence(support.log_softmax(logits), teacher)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert (value > 1e-4).all()
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[..., banned].any()
    assert logits.grad[..., ~banned].abs().sum(-1).gt(1e-4).all()


@pytest.mark.parametrize(("divergence", "kept"), [(forward_kl, 1), (partial(generalised_jsd, beta=0.3), 2)])
def test_few_copies_are_kept_for_the_backward_pass(divergence, kept):
    """Of the forward KL the teacher's distribution, of the JSD the student's as well."""
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.data_ptr()] = tensor.numel()
        return tensor

    student, teacher = (torch.randn(2, 8, 1000).log_softmax(-1) for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        divergence(student.requires_grad_(), teacher).sum()
    assert sum(sizes.values()) == kept * 16000
