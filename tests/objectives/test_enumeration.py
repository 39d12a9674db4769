"""By enumeration over a tiny vocabulary: what the expected update of Video-OPD is, and what it is not."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from video_opd.objectives import policy_gradient, reverse_kl, sampled_advantage

V, T = 3, 3


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    """Student and teacher tables: logits of the next token for every prefix, (T, V^(T-1), V), float64."""
    torch.manual_seed(0)
    student = torch.randn(T, V ** (T - 1), V, dtype=torch.float64, requires_grad=True)
    return student, torch.randn(T, V ** (T - 1), V, dtype=torch.float64)


def states(table: Tensor, sequence: tuple[int, ...]) -> Tensor:
    """Log-probs at the T states along a sequence: (1, T, V)."""
    rows = [table[t, sum(token * V**i for i, token in enumerate(sequence[:t]))] for t in range(T)]
    return torch.log_softmax(torch.stack(rows), dim=-1)[None]


def expectation(student: Tensor, teacher: Tensor, value) -> Tensor:
    """The mean of `value(student states, teacher states, tokens)` over all V^T sequences; weights have no gradient."""
    total = torch.zeros((), dtype=torch.float64)
    for sequence in product(range(V), repeat=T):
        tokens = torch.tensor([sequence])
        mine, theirs = states(student, sequence), states(teacher, sequence)
        weight = mine.gather(2, tokens[:, :, None]).sum().exp().detach()
        total = total + weight * value(mine, theirs, tokens)
    return total


def chosen(distribution: Tensor, tokens: Tensor) -> Tensor:
    return distribution.gather(2, tokens[:, :, None])[:, :, 0]


def sampled_loss(mine: Tensor, theirs: Tensor, tokens: Tensor) -> Tensor:
    logprobs = chosen(mine, tokens)
    return policy_gradient(logprobs, logprobs, sampled_advantage(logprobs, chosen(theirs, tokens))).sum()


def exact_loss(mine: Tensor, theirs: Tensor, tokens: Tensor) -> Tensor:
    return reverse_kl(mine, theirs).sum()


def gradient(logits: tuple[Tensor, Tensor], value) -> Tensor:
    student, teacher = logits
    return torch.autograd.grad(expectation(student, teacher, value), student)[0]


def test_the_expected_sampled_update_is_the_descent_of_every_states_reverse_kl(logits):
    """Paper, appendix A, with the sign put right: E[advantage * grad log pi] = -grad KL(student || teacher)."""
    sampled, exact = gradient(logits, sampled_loss), gradient(logits, exact_loss)
    assert torch.allclose(sampled, exact, atol=1e-14)
    assert exact.abs().max() > 1e-2


def test_the_exact_gradient_is_that_of_the_kl_with_prefixes_held_constant(logits):
    """Computed once more from the definition, sum p (log p - log q), state by state."""

    def from_definition(mine, theirs, tokens):
        p, q = mine.exp(), theirs.exp()
        return sum((p[0, t, v] * torch.log(p[0, t, v] / q[0, t, v])) for t in range(T) for v in range(V))

    assert torch.allclose(gradient(logits, exact_loss), gradient(logits, from_definition), atol=1e-14)


def test_it_is_not_the_gradient_of_the_sequence_kl(logits):
    """Advantage counts for its own token only; the whole sequence's KL would also reward reaching good states."""
    student, teacher = logits
    total = torch.zeros((), dtype=torch.float64)
    for sequence in product(range(V), repeat=T):
        tokens = torch.tensor([sequence])
        mine = chosen(states(student, sequence), tokens).sum()
        total = total + mine.exp() * (mine - chosen(states(teacher, sequence), tokens).sum())
    sequence_gradient = torch.autograd.grad(total, student)[0]
    assert (sequence_gradient - gradient(logits, exact_loss)).abs().max() > 0.01


def test_one_step_along_the_update_lowers_the_reverse_kl(logits):
    student, teacher = logits
    before = float(expectation(student, teacher, exact_loss).detach())
    moved = (student - 0.1 * gradient(logits, sampled_loss)).detach()
    weights_of_before = [
        states(student, s).gather(2, torch.tensor([s])[:, :, None]).sum().exp() for s in product(range(V), repeat=T)
    ]
    after = sum(
        float(w.detach()) * float(exact_loss(states(moved, s), states(teacher, s), torch.tensor([s])))
        for w, s in zip(weights_of_before, product(range(V), repeat=T), strict=True)
    )
    assert after < before


def test_the_exact_estimate_has_no_sampling_noise(logits):
    """At one state every sampled token gives the same exact loss, and different sampled ones."""
    student, teacher = logits
    mine, theirs = states(student, (0, 1, 2)), states(teacher, (0, 1, 2))
    exact = {round(exact_loss(mine, theirs, torch.tensor([[a, 1, 2]])).item(), 12) for a in range(V)}
    sampled = {round(sampled_loss(mine, theirs, torch.tensor([[a, 1, 2]])).item(), 12) for a in range(V)}
    assert len(exact) == 1
    assert len(sampled) == V


def test_teacher_equal_to_student_is_a_fixed_point(logits):
    student, _ = logits
    same = (student, student.detach())
    assert gradient(same, sampled_loss).abs().max() == 0
    assert gradient(same, exact_loss).abs().max() < 1e-15
