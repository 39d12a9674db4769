"""The second verb: `answer`. Rollouts from a reading's cache, token by token, without gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from video_opd.policy.read import Reading, forward, split_by_answer
from video_opd.policy.sharding import is_any_process
from video_opd.policy.token_support import TokenSupport
from video_opd.seeds import generator
from video_opd.types import Answer, AnswerGroup, Prompt, Sampling


@torch.no_grad()
def answer(
    model: Any,
    reading: Reading,
    *,
    count: int,
    sampling: Sampling,
    support: TokenSupport,
    tokenizer: Any,
) -> tuple[AnswerGroup, ...]:
    """Roll out `count` answers per prompt, all from the cache of this one reading.

    The checkpoint's generation config is not used. The recorded log-probs are those at the temperature of the sampling;
    a truncation changes which tokens are drawn, and not their log-probs. An answer ends with the end-of-turn token,
    which is kept, or is flagged as truncated.

    Args:
        model: the one that made the reading.
        reading: stays as it is.
        count: answers per prompt.
        sampling: seed, most tokens, temperature and truncation, and whether all answers or the first of each prompt
            take the most probable token each time.
        support: the tokens that an answer may consist of.
        tokenizer: decodes the answers.

    Returns:
        One group per prompt, in the order of the reading.
    """
    support = support.at(sampling.temperature)
    rows, group = reading.spread(count)
    cache, ids = rows.make_cache(), reading.head_ids.repeat_interleave(count)
    prompt_ids = [prompt.id for prompt in reading.prompts for _ in range(count)]
    uniforms = None if sampling.greedy else _draw_uniforms(reading.prompts, count, sampling).to(ids.device)
    is_greedy = torch.arange(len(ids), device=ids.device) % count == 0 if sampling.first_is_greedy else None
    alive = torch.ones_like(ids, dtype=torch.bool)
    tokens: list[Tensor] = []
    logprobs: list[Tensor] = []
    for step in range(sampling.max_new_tokens):
        inputs = rows.lay_out_answers(ids.reshape(-1, group, 1), start=step)
        logits = split_by_answer(forward(model, inputs, cache), group)[:, 0]
        distribution = support.log_softmax(logits)
        ids = _choose_tokens(distribution, None if uniforms is None else uniforms[:, step], is_greedy, sampling)
        tokens.append(ids)
        logprobs.append(distribution.gather(1, ids[:, None])[:, 0])
        alive &= ids != support.end_token_id
        if not is_any_process(bool(alive.any()), model):
            break
    return _make_groups(prompt_ids, count, torch.stack(tokens, dim=1), torch.stack(logprobs, dim=1), support, tokenizer)


def _draw_uniforms(prompts: Sequence[Prompt], count: int, sampling: Sampling) -> Tensor:
    """(B * count, max_new_tokens) float64 in [0, 1): one stream per answer, whatever it is written together with."""
    first = 1 if sampling.first_is_greedy else 0  # of the sampled answers, which are numbered from 0
    uniforms = np.zeros((len(prompts), count, sampling.max_new_tokens))
    for row, prompt in enumerate(prompts):
        for number in range(count - first):
            stream = generator(sampling.seed, "answer", prompt.id, prompt.repeat * (count - first) + number)
            uniforms[row, first + number] = stream.random(sampling.max_new_tokens)
    return torch.from_numpy(uniforms.reshape(len(prompts) * count, -1))


def _choose_tokens(
    distribution: Tensor, uniform: Tensor | None, is_greedy: Tensor | None, sampling: Sampling
) -> Tensor:
    """The next token of every answer, (N, V) log-probs -> (N,): the most probable one without `uniform`, and in the
    rows of `is_greedy`; else a draw."""
    if uniform is None:
        return distribution.argmax(dim=-1)
    drawn = _inverse_cdf(truncate(distribution, sampling), uniform)
    return drawn if is_greedy is None else torch.where(is_greedy, distribution.argmax(dim=-1), drawn)


def truncate(distribution: Tensor, sampling: Sampling) -> Tensor:
    """Log-probs (N, V) with minus infinity for the tokens that top-k and then top-p leave out; not renormalised.

    As in transformers: tokens that are as probable as the last of the top k stay, and top-p adds up the probabilities
    after top-k. The most probable token always stays.
    """
    if sampling.top_k is not None and sampling.top_k < distribution.shape[-1]:
        last = distribution.topk(sampling.top_k, dim=-1).values[:, -1:]
        distribution = distribution.masked_fill(distribution < last, -math.inf)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, order = distribution.double().softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered  # of all tokens that are more probable
        is_out = torch.zeros_like(order, dtype=torch.bool).scatter(1, order, before >= sampling.top_p)
        distribution = distribution.masked_fill(is_out, -math.inf)
    return distribution


def _inverse_cdf(distribution: Tensor, uniform: Tensor) -> Tensor:
    """The token at which the cumulative probability passes `uniform`: (N, V) log-probs, (N,) -> (N,)."""
    cumulative = distribution.double().exp().cumsum(dim=-1)
    # right=True steps over tokens of probability 0; the total is 1 but for rounding.
    return torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)[:, 0]


def _make_groups(
    prompt_ids: Sequence[str], count: int, tokens: Tensor, logprobs: Tensor, support: TokenSupport, tokenizer: Any
) -> tuple[AnswerGroup, ...]:
    answers = [
        make_answer(prompt_id, ids, scores, support, tokenizer)
        for prompt_id, ids, scores in zip(prompt_ids, tokens.tolist(), logprobs.tolist(), strict=True)
    ]
    return tuple(
        AnswerGroup(prompt_id=answers[start].prompt_id, answers=tuple(answers[start : start + count]))
        for start in range(0, len(answers), count)
    )


def make_answer(
    prompt_id: str, ids: Sequence[int], logprobs: Sequence[float], support: TokenSupport, tokenizer: Any
) -> Answer:
    """Make an answer of tokens up to the first end of turn; it is truncated if there is none.

    Args:
        prompt_id: of the prompt that was answered.
        ids: tokens, and possibly more behind the end of turn.
        logprobs: of these tokens, under the model that wrote them.
        support: says which token ends a turn.
        tokenizer: decodes the answer.
    """
    ended = support.end_token_id in ids
    length = ids.index(support.end_token_id) + 1 if ended else len(ids)
    return Answer(
        prompt_id=prompt_id,
        token_ids=tuple(ids[:length]),
        sampler_logprobs=tuple(logprobs[:length]),
        text=tokenizer.decode(ids[:length], skip_special_tokens=True),
        truncated=not ended,
    )
