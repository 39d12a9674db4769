"""An output head that computes in float32, in a model that computes in bfloat16.

A bfloat16 logit between 16 and 32 is rounded to a multiple of 0.125, and that error stands in every log-prob: in the
sampler's against the learner's, in the student's against the teacher's. The head is one matrix product of the answer's
few tokens, so float32 costs little there. docs/LOG.md has what it costs and what it gives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear


class Float32Head(torch.nn.Linear):
    """A linear layer that computes in float32, whatever its weights are held in and whatever is around it."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits in float32."""
        with torch.autocast(hidden.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return linear(hidden.float(), self.weight.float(), bias)


def use_float32_head(model: Any) -> None:
    """Let a loaded model's output head compute in float32; a head that is no plain linear layer stays as it is."""
    head = model.get_output_embeddings()
    if type(head) is torch.nn.Linear:
        head.__class__ = Float32Head  # the same module, so that its name, its weights and what they are tied to stay
        if "_old_forward" in vars(head):  # accelerate, which spreads layers over devices, calls the forward of before
            head._old_forward = Float32Head.forward.__get__(head)
