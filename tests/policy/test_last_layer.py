"""The last layer of a prefill ends with its keys and values: the same numbers, and nothing computed in vain."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from video_opd.policy import read
from video_opd.policy.checkpointing import checkpoint_layers, tie_layers
from video_opd.types import Sampling

SAMPLING = Sampling(max_new_tokens=5, seed=3)
WAYS = {"plain": lambda model: None, "checkpointed": checkpoint_layers, "tied": tie_layers}


def gradient_of(policy, prompts) -> tuple[list[torch.Tensor], torch.Tensor, list[int]]:
    """What a reading keeps, the gradient through it, and how often the last MLP ran: reading, scoring, backward."""
    mlp, runs = policy.model.model.language_model.layers[-1].mlp, [0]
    hook = mlp.register_forward_pre_hook(lambda *_: runs.__setitem__(-1, runs[-1] + 1))
    reading = policy.read(prompts, grad=True)
    groups = policy.answer(reading, count=2, sampling=SAMPLING)
    runs[-1] -= SAMPLING.max_new_tokens
    runs.append(0)
    loss = policy.score(reading, groups, grad=True).logprobs.sum()
    runs.append(0)
    loss.backward()
    hook.remove()
    kept = [tensor.detach() for state in reading.layers for tensor in state]
    return kept, torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None]), runs


@pytest.mark.parametrize("way", WAYS)
def test_keys_values_and_gradient_are_those_of_the_whole_layer(make_policy, prompts, way, monkeypatch):
    policies = [make_policy(0), make_policy(0)]
    for policy in policies:
        WAYS[way](policy.model)
    kept, gradient, runs = gradient_of(policies[0], prompts[:2])
    monkeypatch.setattr(read, "end_with_keys_and_values", lambda *_: nullcontext())
    whole, expected, all_runs = gradient_of(policies[1], prompts[:2])
    assert all(map(torch.equal, kept, whole))
    assert torch.equal(gradient, expected)
    again = way == "checkpointed"
    assert runs == [0, 1, 1 if again else 0]
    assert all_runs == [1, 1, 2 if again else 0]


def test_a_layer_is_as_before_after_a_reading_and_after_one_that_failed(make_policy, prompts, monkeypatch):
    policy = make_policy(0)
    last = policy.model.model.language_model.layers[-1]
    policy.read(prompts[:1])
    assert "forward" not in vars(last)
    monkeypatch.setattr(read, "forward", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        policy.read(prompts[:1])
    assert "forward" not in vars(last)
    checkpoint_layers(policy.model)
    own = last.forward
    with pytest.raises(ZeroDivisionError):
        policy.read(prompts[:1])
    assert last.forward is own
