"""Log-probs of answers whose logits are never held together: the same values, and the same gradient."""

from __future__ import annotations

import pytest
import torch

from video_opd.policy import logits_in_pieces
from video_opd.policy.checkpointing import checkpoint_layers
from video_opd.types import Sampling

COUNT, LENGTH = 3, 8


@pytest.fixture
def policy(make_policy):
    return make_policy(0)


def logprobs_and_gradient(policy, prompts, *, distribution: bool = False):
    policy.model.zero_grad()
    reading = policy.read(prompts, grad=True)
    groups = policy.answer(reading, count=COUNT, sampling=Sampling(max_new_tokens=LENGTH, seed=3))
    scores = policy.score(reading, groups, grad=True, distribution=distribution)
    (scores.logprobs * torch.linspace(-1, 1, scores.logprobs.shape[1])).sum().backward()
    gradient = {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}
    return scores.logprobs.detach(), gradient


def test_one_piece_gives_what_whole_distributions_give_bit_for_bit(policy, prompts):
    logprobs, gradient = logprobs_and_gradient(policy, prompts[:3])
    whole_logprobs, whole_gradient = logprobs_and_gradient(policy, prompts[:3], distribution=True)
    assert torch.equal(logprobs, whole_logprobs)
    assert all(torch.equal(gradient[name], whole_gradient[name]) for name in gradient)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("rows", [1, 5])
def test_pieces_give_what_one_piece_gives(policy, prompts, rows, recompute, monkeypatch):
    logprobs, gradient = logprobs_and_gradient(policy, prompts[:3])
    if recompute:
        checkpoint_layers(policy.model)
    monkeypatch.setattr(logits_in_pieces, "LOGITS_AT_ONCE", rows * policy.support.num_tokens)
    compute, seen = torch.nn.Linear.forward, []

    def compute_and_count(layer, hidden):
        if layer is policy.model.lm_head:
            seen.append((hidden.shape[:-1].numel(), torch.is_grad_enabled()))
        return compute(layer, hidden)

    monkeypatch.setattr(torch.nn.Linear, "forward", compute_and_count)
    in_pieces, in_pieces_gradient = logprobs_and_gradient(policy, prompts[:3])
    assert torch.allclose(in_pieces, logprobs, atol=1e-6, rtol=0)
    assert in_pieces_gradient.keys() == gradient.keys()
    for name, expected in gradient.items():
        assert (in_pieces_gradient[name] - expected).norm() <= 1e-6 * expected.norm() + 1e-8, name
    pieces = [count for count, with_gradient in seen if with_gradient][1:]  # behind the prompt's own
    assert max(pieces) == rows
    assert sum(pieces) == 2 * 3 * COUNT * in_pieces.shape[1]  # each of them twice: once more in the backward pass


def test_the_head_is_as_before_when_a_pass_fails(policy, prompts, monkeypatch):
    reading = policy.read(prompts[:1])
    groups = policy.answer(reading, sampling=Sampling(max_new_tokens=2, seed=0))
    monkeypatch.setattr(type(policy.support), "log_softmax_at", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        policy.score(reading, groups)
    assert "forward" not in vars(policy.model.lm_head)


def test_logits_may_lie_on_another_device_than_the_prompts(policy):
    """As where the layers of a teacher are spread over several."""
    logits = torch.zeros(4, policy.support.num_tokens, device="meta")
    scores = policy.support.log_softmax_at(logits, torch.zeros(4, dtype=torch.long, device="meta"))
    assert scores.device.type == "meta"
