"""Which tokens an answer may consist of: the support that sampler, learner and teacher share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from video_opd.errors import ConfigurationError
from video_opd.objectives.row_pieces import split_rows
from video_opd.policy.families import find_family

IMPOSSIBLE = torch.finfo(torch.float32).min / 4
"""Logit of a token that cannot occur: probability 0 after the softmax, and finite, so that 0 * (a - b) in a KL is 0."""


class SupportLogSoftmax(torch.autograd.Function):
    """Log-softmax over the support, some rows at a time: beside its input, its result and its gradient nothing of their
    size is ever held, and only the result is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, banned: Tensor, temperature: float) -> Tensor:
        """(..., at least V) -> (..., V).

        Args:
            logits: of any dtype.
            banned: (V,) bool.
            temperature: by which the logits are divided.
        """
        logprobs = torch.empty(*logits.shape[:-1], len(banned), dtype=torch.float32, device=logits.device)
        for rows, out in split_rows(logits, logprobs):
            torch.log_softmax(_allow(rows, banned, temperature), dim=-1, out=out)
        ctx.save_for_backward(logprobs, banned)
        ctx.num_logits, ctx.dtype, ctx.temperature = logits.shape[-1], logits.dtype, temperature
        return logprobs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Of the logits; zero for what is banned or beyond the support."""
        logprobs, banned = ctx.saved_tensors
        result = logprobs.new_zeros(*logprobs.shape[:-1], ctx.num_logits, dtype=ctx.dtype)
        for gradient, rows, out in split_rows(gradients[0], logprobs, result):
            logit = gradient - rows.exp() * gradient.sum(dim=-1, keepdim=True)
            out[:, : len(banned)] = _divide(logit, ctx.temperature).masked_fill(banned, 0)
        return result, None, None


class TokenLogProbs(torch.autograd.Function):
    """The log-softmax over the support at one token of each row. The logits are kept for the backward pass, and beside
    them only their gradient is of their size; values and gradients are those of `SupportLogSoftmax`, bit for bit."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, banned: Tensor, temperature: float) -> Tensor:
        """(N, at least V) -> (N,).

        Args:
            logits: of any dtype.
            tokens: (N,).
            banned: (V,) bool.
            temperature: by which the logits are divided.
        """
        parts = [
            _log_softmax(rows, banned, temperature).gather(1, wanted)[:, 0]
            for rows, wanted in split_rows(logits, tokens[:, None])
        ]
        ctx.save_for_backward(logits, tokens, banned)
        ctx.temperature = temperature
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Of the logits; zero for what is banned or beyond the support."""
        logits, tokens, banned = ctx.saved_tensors
        result = torch.zeros_like(logits)
        for gradient, rows, wanted, out in split_rows(gradients[0][:, None], logits, tokens[:, None], result):
            probs = _log_softmax(rows, banned, ctx.temperature).exp_()
            logit = probs.mul_(gradient).neg_().scatter_add_(1, wanted, gradient)
            out[:, : len(banned)] = _divide(logit, ctx.temperature).masked_fill_(banned, 0)
        return result, None, None, None


def _log_softmax(rows: Tensor, banned: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(_allow(rows, banned, temperature), dim=-1)


def _allow(rows: Tensor, banned: Tensor, temperature: float) -> Tensor:
    """Logits over the support in float32, divided by the temperature: (N, at least V) -> (N, V)."""
    return _divide(rows[:, : len(banned)].float(), temperature).masked_fill(banned, IMPOSSIBLE)


def _divide(values: Tensor, temperature: float) -> Tensor:
    return values if temperature == 1 else values / temperature


@dataclass(frozen=True, eq=False)
class TokenSupport:
    """The tokenizer's tokens without its special ones, end of turn excepted.

    Qwen3-VL's output layer has 151,936 rows for 151,669 tokens: the padded rows are cut off. Special tokens are made
    impossible: a sampled one that stands for video would break the next pass. Student and teacher are cut and masked
    alike and renormalised over what is left, so a divergence between them is one between two distributions over one
    set.
    """

    num_tokens: int
    """V: tokens the tokenizer knows."""
    banned: Tensor
    """(V,) bool."""
    end_token_id: int
    temperature: float = 1.0
    """Every logit is divided by it before the softmax."""

    @classmethod
    def build(cls, tokenizer: Any, config: Any) -> TokenSupport:
        """The support of a model's answers.

        Args:
            tokenizer: of the model.
            config: of the model; it names multimodal tokens that the tokenizer may not mark as special.

        Raises:
            ConfigurationError: the tokenizer has no end-of-turn token, or more tokens than the model has rows.
        """
        num_tokens = len(tokenizer)
        num_rows = config.get_text_config().vocab_size
        if num_tokens > num_rows:
            raise ConfigurationError(
                f"the tokenizer has {num_tokens} tokens, the model {num_rows}",
                reason="they do not belong together",
                remedy="take model and tokenizer from the same checkpoint",
            )
        if tokenizer.eos_token_id is None:
            family = find_family(config)
            raise ConfigurationError(
                "the tokenizer has no end-of-turn token",
                reason="answers could not end",
                remedy=f"set eos_token in tokenizer_config.json ({family.name}: {family.tokens.end_of_turn})",
            )
        special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
        special |= {
            value for name, value in vars(config).items() if name.endswith("_token_id") and isinstance(value, int)
        }
        banned = torch.zeros(num_tokens, dtype=torch.bool)
        banned[[id for id in special | set(tokenizer.all_special_ids) if id < num_tokens]] = True
        banned[tokenizer.eos_token_id] = False
        return cls(num_tokens=num_tokens, banned=banned, end_token_id=tokenizer.eos_token_id)

    def to(self, device: torch.device | str) -> TokenSupport:
        """A copy with its mask on the device of the logits."""
        return replace(self, banned=self.banned.to(device))

    def at(self, temperature: float) -> TokenSupport:
        """The same tokens at another temperature."""
        return self if temperature == self.temperature else replace(self, temperature=temperature)

    def log_softmax(self, logits: Tensor) -> Tensor:
        """Log-probs over the support, float32, from raw logits (..., at least V) of any dtype: (..., V)."""
        logprobs: Tensor = SupportLogSoftmax.apply(logits, self.banned, self.temperature)
        return logprobs

    def log_softmax_at(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Log-probs of one token of each row, float32.

        Args:
            logits: (N, at least V), of any dtype; of a model that is spread over devices they lie where its head does.
            tokens: (N,), on their device.
        """
        logprobs: Tensor = TokenLogProbs.apply(logits, tokens, self.banned.to(logits.device), self.temperature)
        return logprobs
