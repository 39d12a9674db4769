"""Log-probs of given tokens, without holding all logits at once: the output head computes them in pieces.

Eight answers of 1,000 tokens and a vocabulary of 152,000 make logits of 4.9 GB in float32, and their gradient is as
large. Only one log-prob of each token is needed. Where a pass has more logits than a piece holds, each piece is
computed again in the backward pass.

The pieces are computed where the model calls its output head. So sharded weights are gathered, an adapter is on, and
whatever else is around the head does its part, once for each pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from video_opd.policy.read import unwrap_model
from video_opd.policy.token_support import TokenSupport

LOGITS_AT_ONCE = 2**26
"""Logits that a piece holds at most, 256 MiB in float32, or those of one token where they are more. Answers of the
usual length are one piece: nothing is computed twice."""


@contextmanager
def logprobs_for_logits(model: Any, tokens: Tensor, support: TokenSupport) -> Iterator[None]:
    """Inside this context the logits that a pass returns are (B, L, 1): the log-prob of one token at each place.

    Args:
        model: it keeps the context's tokens until the context ends.
        tokens: (B, L), one for each place whose logits the pass computes.
        support: the tokens over which log-probs are normalised.
    """
    head = unwrap_model(model).get_output_embeddings()
    before = vars(head).get("forward")  # of a model that is spread over devices
    compute_logits = head.forward

    def compute(hidden: Tensor, wanted: Tensor) -> Tensor:
        logits = compute_logits(hidden)
        return support.log_softmax_at(logits, wanted.to(logits.device))

    def compute_in_pieces(hidden: Tensor) -> Tensor:
        rows = max(1, LOGITS_AT_ONCE // support.num_tokens)
        pieces = list(zip(hidden.flatten(0, 1).split(rows), tokens.flatten().split(rows), strict=True))
        is_computed_again = torch.is_grad_enabled() and len(pieces) > 1
        parts = [
            checkpoint(compute, *piece, use_reentrant=False, preserve_rng_state=False)
            if is_computed_again
            else compute(*piece)
            for piece in pieces
        ]
        # Behind sharded weights FSDP2 warns of a view.
        return torch.cat(parts).view(*tokens.shape, 1).clone()

    head.forward = compute_in_pieces
    try:
        yield
    finally:
        if before is None:
            del head.forward
        else:
            head.forward = before
