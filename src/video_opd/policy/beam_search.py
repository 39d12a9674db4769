"""The most probable answers to every prompt of a reading, by beam search, without gradient.

The beams of a prompt are laid out as several answers are (`Reading.spread`): where all layers have attention, as
branches of one row, so the prompt's keys and values are there once. When beams change parents, only the short tail
behind the prompt is copied, and the states of recurrent layers.

As in any beam search, a text may end only where the end of turn is among the `width` most probable continuations of its
prompt. So `width=1, count=1` is the greedy answer, a width as large as the number of possible texts is exact, and in
between the empty text, which nearly every model gives some probability, does not crowd out answers of many tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from video_opd.policy.answer import make_answer
from video_opd.policy.read import Reading, forward
from video_opd.policy.sharding import is_any_process
from video_opd.policy.token_support import TokenSupport
from video_opd.types import Answer, AnswerGroup

DEAD = float("-inf")
"""Total of a beam that is only padding: whatever grows from it is never chosen before anything that lives."""


def text_itself(text: str) -> Hashable:
    """The key under which every text is an answer of its own."""
    return text


def sequence_logprob(answer: Answer) -> float:
    """Log-prob of the whole answer under the model that wrote it, end of turn included; no length penalty.

    Raises:
        ValueError: it was written by an annotation.
    """
    if answer.sampler_logprobs is None:
        raise ValueError(f"answer to {answer.prompt_id}: its tokens have no log-probs, because no model sampled them")
    return sum(answer.sampler_logprobs)


@dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """How a beam search is done.

    Raises:
        ValueError: `count`, `width` or `max_new_tokens` is less than one.
    """

    count: int
    """Answers wanted per prompt."""
    width: int
    """Live beams per prompt. Finished ones are set aside and take no place among them."""
    max_new_tokens: int
    key: Callable[[str], Hashable] = text_itself
    """Of the decoded text; of all answers with one key only the best is kept. A key of the parsed span gives distinct
    spans (all texts without one share the key None). The default tells texts apart, so two spellings of one text in
    tokens count once."""

    def __post_init__(self) -> None:
        count, width, most = self.count, self.width, self.max_new_tokens
        if min(count, width, most) < 1:
            raise ValueError(f"count {count}, width {width} and max_new_tokens {most} must all be positive")


@torch.no_grad()
def find_best_answers(
    model: Any,
    reading: Reading,
    settings: BeamSettings,
    *,
    support: TokenSupport,
    tokenizer: Any,
) -> tuple[AnswerGroup, ...]:
    """Find the answers of highest sequence log-prob for each prompt, best first.

    Groups may differ in size, and `score` takes only groups of one size: where fewer than `count` keys have finished,
    there are fewer answers. Where none has, the group is of the best truncated ones; elsewhere there are none of those.

    Args:
        model: the one that made the reading.
        reading: stays as it is.
        settings: number of answers, beams and tokens.
        support: the tokens that an answer may consist of.
        tokenizer: decodes the answers.

    Returns:
        One group per prompt, in the order of the reading.
    """
    count, width, key = settings.count, settings.width, settings.key
    rows, group = reading.spread(width)
    cache = rows.make_cache()
    beams = _Beams.begin(len(reading.prompts), width, reading.head_ids.device)
    ids = reading.head_ids[:, None].expand(-1, width)
    finished = [_Finished(prompt.id, count, key) for prompt in reading.prompts]
    for step in range(settings.max_new_tokens):
        inputs = rows.lay_out_answers(ids.reshape(-1, group, 1), start=step)
        # One new token a beam: the columns of the output, or its rows, are the beams.
        logits = forward(model, inputs, cache).reshape(*ids.shape, -1)
        beams, parents, ended = _extend(beams, support.log_softmax(logits), support)
        for row, tokens, logprobs in ended:
            finished[row].add(tokens, logprobs, support, tokenizer)
        bars = torch.tensor([each.bar for each in finished], dtype=torch.float64, device=ids.device)
        # Totals only fall: a prompt whose best beam is not above its bar goes along without effect.
        if not is_any_process(bool((beams.totals.amax(dim=1) > bars).any()), model):
            break
        _deal_tail(cache, parents, start=reading.context_mask.shape[1], in_one_row=group > 1)
        # A dead beam may have drawn any token, one that stands for video too: it must not go into the model.
        ids = beams.tokens[:, :, -1].masked_fill(beams.totals == DEAD, support.end_token_id)
    for row, each in enumerate(finished):
        if not each.best:  # then there was always more to go on with than the width: no beam is dead
            for tokens, logprobs in zip(beams.tokens[row].tolist(), beams.logprobs[row].tolist(), strict=True):
                each.add(tokens, logprobs, support, tokenizer)
    return tuple(each.make_group() for each in finished)


@dataclass(frozen=True, eq=False)
class _Beams:
    """The G live beams of each of B prompts, t tokens long."""

    tokens: Tensor
    """(B, G, t)."""
    logprobs: Tensor
    """(B, G, t) float32."""
    totals: Tensor
    """(B, G) float64, best first; `DEAD` where there is none."""

    @classmethod
    def begin(cls, batch: int, width: int, device: torch.device) -> _Beams:
        """Start with one beam a prompt, without a token: equal copies of it would stay equal."""
        totals = torch.full((batch, width), DEAD, dtype=torch.float64, device=device)
        totals[:, 0] = 0.0
        empty = torch.empty((batch, width, 0), device=device)
        return cls(tokens=empty.long(), logprobs=empty, totals=totals)


class _Finished:
    """The best answer to one prompt for each key."""

    def __init__(self, prompt_id: str, count: int, key: Callable[[str], Hashable]) -> None:
        self.prompt_id, self.count, self.key = prompt_id, count, key
        self.best: dict[Hashable, Answer] = {}

    @property
    def bar(self) -> float:
        """The total that an answer must exceed to be among the first `count`: that of the last of them."""
        return sequence_logprob(self.rank()[-1]) if len(self.best) >= self.count else DEAD

    def add(self, tokens: list[int], logprobs: list[float], support: TokenSupport, tokenizer: Any) -> None:
        """Keep this answer if it is the best of its key."""
        if sum(logprobs) <= self.bar:
            return  # before it is decoded, for most are of no use
        answer = make_answer(self.prompt_id, tokens, logprobs, support, tokenizer)
        name = self.key(answer.text)
        if name not in self.best or sequence_logprob(answer) > sequence_logprob(self.best[name]):
            self.best[name] = answer

    def rank(self) -> list[Answer]:
        """The first `count`, best first."""
        return sorted(self.best.values(), key=sequence_logprob, reverse=True)[: self.count]

    def make_group(self) -> AnswerGroup:
        """Make the record that the other verbs use."""
        return AnswerGroup(prompt_id=self.prompt_id, answers=tuple(self.rank()))


def _extend(
    beams: _Beams, distribution: Tensor, support: TokenSupport
) -> tuple[_Beams, Tensor, list[tuple[int, list[int], list[float]]]]:
    """Grow every beam by one token, given the log-probs of the next one, (B, G, V).

    Returns:
        The new live beams, the parent of each (B, G), and what has ended: row, tokens, log-probs.
    """
    width, num_tokens = distribution.shape[1:]
    totals = (beams.totals[:, :, None] + distribution).masked_fill(support.banned, DEAD)
    # At most one continuation of each beam is the end of turn, so among twice as many there are enough that go on.
    totals, chosen = totals.flatten(1).topk(2 * width, dim=1)
    parents, tokens = chosen // num_tokens, chosen % num_tokens
    logprobs = distribution.flatten(1).gather(1, chosen)
    grown = _Beams(
        tokens=torch.cat([_select_rows(beams.tokens, parents), tokens[:, :, None]], dim=2),
        logprobs=torch.cat([_select_rows(beams.logprobs, parents), logprobs[:, :, None]], dim=2),
        totals=totals,
    )
    ends = tokens == support.end_token_id
    within = torch.arange(2 * width, device=ends.device) < width
    rows, places = (ends & within & (totals > DEAD)).nonzero(as_tuple=True)
    ended = zip(rows.tolist(), grown.tokens[rows, places].tolist(), grown.logprobs[rows, places].tolist(), strict=True)
    going_on = ends.long().sort(dim=1, stable=True).indices[:, :width]
    live = _Beams(
        tokens=_select_rows(grown.tokens, going_on),
        logprobs=_select_rows(grown.logprobs, going_on),
        totals=grown.totals.gather(1, going_on),
    )
    return live, parents.gather(1, going_on), list(ended)


def _select_rows(beams: Tensor, chosen: Tensor) -> Tensor:
    """Select rows (B, K) of the beams, (B, G, t): (B, K, t)."""
    return beams.gather(1, chosen[:, :, None].expand(-1, -1, beams.shape[2]))


def _deal_tail(cache: Cache, parents: Tensor, *, start: int, in_one_row: bool) -> None:
    """Give every beam what the layers keep of its parent, (B, G), behind the prompt.

    Of keys and values these are the columns from `start` on. Beams in one row have their tokens there in turn
    (`lay_out_answers`).
    """
    batch, width = parents.shape
    for layer in cache.layers:
        if not in_one_row:
            first = torch.arange(batch, device=parents.device)[:, None] * width
            layer.deal_rows((first + parents).flatten(), start)
            continue
        for kept in (layer.keys, layer.values):  # in place: what a layer holds after a pass is its own
            tail = kept[:, :, start:].unflatten(2, (-1, width))
            rows = parents.to(kept.device)[:, None, None, :, None].expand_as(tail)
            kept[:, :, start:] = tail.gather(3, rows).flatten(2, 3)
