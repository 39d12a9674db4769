"""The third verb: `score`. Log-probs of given answers through a reading's cache.

This is the one place where tokens are shifted by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from video_opd.policy.logits_in_pieces import logprobs_for_logits
from video_opd.policy.read import Reading, forward, split_by_answer
from video_opd.policy.token_support import TokenSupport
from video_opd.types import AnswerGroup, TokenScores, flatten


def score(
    model: Any, reading: Reading, groups: Sequence[AnswerGroup], *, support: TokenSupport, distribution: bool
) -> TokenScores:
    """Score every token of B answers in one short pass; row r of the result belongs to answer r of `flatten(groups)`.

    A reading made with gradient gives scores with gradient. Groups must be as many as the reading's prompts, in their
    order, and all of one size.

    Args:
        model: the one that made the reading.
        reading: stays as it is; its cache is used by every answer.
        groups: one per prompt of the reading.
        support: the tokens over which log-probs are normalised, and the temperature.
        distribution: also keep the log-probs of the whole support at every answer position.

    Raises:
        ValueError: the groups are not answers to the prompts of this reading.
    """
    asked, answered = [prompt.id for prompt in reading.prompts], [group.prompt_id for group in groups]
    sizes = {len(group.answers) for group in groups}
    if asked != answered or len(sizes) != 1:
        raise ValueError(f"a reading of {asked} cannot score answers to {answered} in groups of {sorted(sizes)}")
    size, answers = sizes.pop(), flatten(groups)
    device = reading.head_ids.device
    tokens = pad_sequence(
        [torch.tensor(answer.token_ids) for answer in answers], batch_first=True, padding_value=support.end_token_id
    ).to(device)
    lengths = torch.tensor([len(answer) for answer in answers], device=device)
    mask = torch.arange(tokens.shape[1], device=device) < lengths[:, None]

    # The shift: the head and all answer tokens but the last go in; what comes out at each place is the next token's.
    heads = reading.head_ids.repeat_interleave(size)
    rows, group = reading.spread(size)
    row_ids = torch.cat([heads[:, None], tokens[:, :-1]], dim=1).unflatten(0, (-1, group))
    inputs, cache = rows.lay_out_answers(row_ids), rows.make_cache()
    if distribution:
        whole = split_by_answer(support.log_softmax(forward(model, inputs, cache)), group)
        logprobs = whole.gather(2, tokens[:, :, None])
    else:
        # The tokens lie in the rows as `row_ids` do.
        wanted = tokens.unflatten(0, (-1, group)).transpose(1, 2).flatten(1)
        with logprobs_for_logits(model, wanted, support):
            logprobs = split_by_answer(forward(model, inputs, cache), group)
    return TokenScores(
        answers=answers,
        logprobs=logprobs[:, :, 0].masked_fill(~mask, 0.0),
        answer_mask=mask,
        distribution=whole if distribution else None,
    )
