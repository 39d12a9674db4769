"""The second verb: `answer`. Write answers from a reading, token by token, on its detached keys and values."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from video_opd.policy.reading import Reading
from video_opd.policy.support import TokenSupport
from video_opd.seeds import generator
from video_opd.vocabulary import Answer, AnswerGroup, Sampling


@torch.no_grad()
def answer(
    model: Any, reading: Reading, *, count: int, sampling: Sampling, support: TokenSupport, tokenizer: Any
) -> tuple[AnswerGroup, ...]:
    """`count` answers per prompt, all from this one reading; one group per prompt, in order.

    Sampling is from the untruncated policy: temperature 1, no top-p, no top-k, whatever the checkpoint's generation
    config says. An answer ends with the end-of-turn token, which is kept, or is flagged as truncated.
    """
    rows = reading.detach().repeat(count)
    cache, ids = rows.cache(), rows.head_ids
    uniforms = None if sampling.greedy else _uniforms(rows, sampling).to(ids.device)
    alive = torch.ones_like(ids, dtype=torch.bool)
    tokens: list[Tensor] = []
    logprobs: list[Tensor] = []
    for step in range(sampling.max_new_tokens):
        inputs = rows.answer_inputs(ids[:, None], start=step)
        logits = model(**inputs, past_key_values=cache, use_cache=True).logits[:, -1]
        distribution = support.log_softmax(logits)
        ids = distribution.argmax(dim=-1) if uniforms is None else _inverse_cdf(distribution, uniforms[:, step])
        tokens.append(ids)
        logprobs.append(distribution.gather(1, ids[:, None])[:, 0])
        alive &= ids != support.end_token_id
        if not alive.any():
            break
    return _groups(rows, count, torch.stack(tokens, dim=1), torch.stack(logprobs, dim=1), support, tokenizer)


def _uniforms(rows: Reading, sampling: Sampling) -> Tensor:
    """(N, max_new_tokens) float64 in [0, 1): one stream per answer, whatever batch it is written in."""
    written: Counter[str] = Counter()
    streams = []
    for prompt in rows.prompts:
        # The n-th answer to a prompt: one of several, or that of an example which is in the batch twice.
        rng = generator(sampling.seed, "answer", prompt.id, written[prompt.id])
        streams.append(rng.random(sampling.max_new_tokens))
        written[prompt.id] += 1
    return torch.from_numpy(np.stack(streams))


def _inverse_cdf(distribution: Tensor, uniform: Tensor) -> Tensor:
    """The token at which the cumulative probability passes `uniform`: (N, V) log-probs, (N,) -> (N,)."""
    cumulative = distribution.double().exp().cumsum(dim=-1)
    # right=True steps over tokens of probability 0; the total is 1 but for rounding.
    return torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)[:, 0]


def _groups(
    rows: Reading, count: int, tokens: Tensor, logprobs: Tensor, support: TokenSupport, tokenizer: Any
) -> tuple[AnswerGroup, ...]:
    answers = []
    for prompt, ids, scores in zip(rows.prompts, tokens.tolist(), logprobs.tolist(), strict=True):
        ended = support.end_token_id in ids
        length = ids.index(support.end_token_id) + 1 if ended else len(ids)
        answers.append(
            Answer(
                prompt_id=prompt.id,
                token_ids=tuple(ids[:length]),
                sampler_logprobs=tuple(scores[:length]),
                text=tokenizer.decode(ids[:length], skip_special_tokens=True),
                truncated=not ended,
            )
        )
    return tuple(
        AnswerGroup(prompt_id=answers[start].prompt_id, answers=tuple(answers[start : start + count]))
        for start in range(0, len(answers), count)
    )
