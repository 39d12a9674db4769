"""Whole distributions in pieces: the same values and gradients, and far fewer copies."""

from __future__ import annotations

import pytest
import torch

from video_opd.objectives import reverse_kl, row_pieces
from video_opd.policy.token_support import IMPOSSIBLE, TokenSupport


def make_support(size: int) -> TokenSupport:
    banned = torch.zeros(size, dtype=torch.bool)
    banned[[1, 4]] = True
    return TokenSupport(num_tokens=size, banned=banned, end_token_id=0)


@pytest.mark.parametrize("values", [1, 40, 2**20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_distribution_of_a_support_is_that_of_torch(values, dtype, monkeypatch):
    monkeypatch.setattr(row_pieces, "VALUES_AT_ONCE", values)
    support, weights = make_support(13), torch.randn(2, 5, 13)
    raw = torch.randn(2, 6, 17).to(dtype)
    mine, plain = raw.clone().requires_grad_(), raw.clone().requires_grad_()
    got = support.log_softmax(mine[:, :-1])  # no contiguous tensor
    expected = torch.log_softmax(plain[:, :-1, :13].float().masked_fill(support.banned, IMPOSSIBLE), dim=-1)
    torch.testing.assert_close(got, expected)
    (got * weights).masked_fill(support.banned, 0).sum().backward()
    (expected * weights).masked_fill(support.banned, 0).sum().backward()
    assert mine.grad is not None
    torch.testing.assert_close(mine.grad, plain.grad)
    assert support.log_softmax(raw[0, 0]).shape == (13,)


@pytest.mark.parametrize("values", [1, 40, 2**20])
def test_the_reverse_kl_and_its_gradient_are_the_plain_ones(values, monkeypatch):
    monkeypatch.setattr(row_pieces, "VALUES_AT_ONCE", values)
    raw, teacher = torch.randn(2, 5, 13), make_support(13).log_softmax(torch.randn(2, 5, 13))
    weights, gradients, results = torch.randn(2, 5), [], []
    for compute in (reverse_kl, lambda s, t: (s.exp() * (s - t)).sum(dim=-1)):
        logits = raw.clone().requires_grad_()
        divergence = compute(make_support(13).log_softmax(logits), teacher)
        (divergence * weights).sum().backward()
        results.append(divergence.detach())
        gradients.append(logits.grad)
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*gradients)
    assert not reverse_kl(teacher, teacher).any()


def test_what_is_kept_for_the_backward_pass():
    """The student's and the teacher's distribution, once each."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    support = make_support(1000)
    logits, teacher = torch.randn(2, 8, 1024, requires_grad=True), support.log_softmax(torch.randn(2, 8, 1024))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        divergence = reverse_kl(support.log_softmax(logits), teacher).sum()
    assert sorted(kept.values())[-2:] == [16000, 16000]
    assert sum(kept.values()) == 2 * 16000 + 1000
    divergence.backward()
    assert logits.grad is not None
