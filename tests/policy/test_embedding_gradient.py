"""The row by row gradient of the token embedding is PyTorch's own. For every family: test_checkpointing.py."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode

from video_opd.policy.embedding_gradient import RowwiseEmbedding, add_rows_in_place

VOCABULARY, WIDTH = 50, 8


class Model(nn.Module):
    """An embedding, a layer, and an output head, over two passes as a step makes them."""

    def __init__(self, *, is_tied: bool, **options) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(VOCABULARY, WIDTH, **options)
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.head = self.embedding.weight if is_tied else nn.Parameter(torch.randn(VOCABULARY, WIDTH))

    def get_input_embeddings(self) -> nn.Embedding:
        """As in transformers."""
        return self.embedding

    def forward(self, prompt: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        """A loss of both passes."""
        context = self.layer(self.embedding(prompt)).mean(1, keepdim=True)
        return linear(self.layer(self.embedding(answer)) + context, self.head).log_softmax(-1)[..., 3].sum()


def gradients_of(model: Model, num_batches: int) -> dict[str, torch.Tensor]:
    for number in range(num_batches):
        prompt = torch.tensor([[1, 2, 2, 7, 2], [4, 1, 0, 9, number]])
        model(prompt, torch.tensor([[3, 2, 0], [5, 5, 30 + number]])).backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}], ids=["plain", "padding"])
@pytest.mark.parametrize("num_batches", [1, 3])
@pytest.mark.parametrize("is_tied", [True, False])
def test_the_gradient_is_that_of_pytorch(is_tied, num_batches, options):
    model = Model(is_tied=is_tied, **options)
    other = copy.deepcopy(model)
    add_rows_in_place(other)
    assert type(other.embedding) is RowwiseEmbedding
    expected, found = gradients_of(model, num_batches), gradients_of(other, num_batches)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


class Sizes(TorchDispatchMode):
    """Counts what is made in the size of the embedding."""

    num_large = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        is_large = isinstance(result, torch.Tensor) and result.numel() == VOCABULARY * WIDTH
        self.num_large += is_large and all(result is not arg and not result._is_view() for arg in args)
        return result


def test_a_pass_makes_no_gradient_as_large_as_the_embedding():
    counts = []
    for is_changed in (False, True):
        model = Model(is_tied=True)
        if is_changed:
            add_rows_in_place(model)
        gradients_of(model, 1)
        with Sizes() as seen:
            gradients_of(model, 1)
        counts.append(seen.num_large)
    assert counts[0] - counts[1] >= 2  # of the prompts, and of the answers


def test_what_is_frozen_or_does_more_stays_as_it_is():
    frozen = Model(is_tied=False)
    frozen.embedding.weight.requires_grad_(False)
    scaled = Model(is_tied=False, scale_grad_by_freq=True)
    for model in (frozen, scaled):
        add_rows_in_place(model)
        assert type(model.embedding) is nn.Embedding


def test_without_gradient_nothing_is_kept():
    model = Model(is_tied=True)
    add_rows_in_place(model)
    with torch.no_grad():
        assert not model.embedding(torch.tensor([1, 2])).requires_grad
    model.embedding.weight.requires_grad_(False)  # frozen later
    assert not model.embedding(torch.tensor([1, 2])).requires_grad
