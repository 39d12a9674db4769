"""Several queries about one video in one reading: the part of the prompt up to the query is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from video_opd.data.video.video_io import Frames
from video_opd.policy.families import USUAL_NAMES
from video_opd.policy.layer_states import states_of
from video_opd.policy.load import Policy
from video_opd.policy.read import Reading, forward, join_readings
from video_opd.types import Example, Prompt


def render_together(
    renderer: Callable[[Example, Frames], Prompt], examples: Sequence[Example], frames: Frames
) -> list[Prompt]:
    """One prompt an example, all with the same frames as one tensor."""
    first = renderer(examples[0], frames)
    return [first, *(replace(renderer(one, frames), pixel_values=first.pixel_values) for one in examples[1:])]


def begin_together(policy: Policy, prompts: Sequence[Prompt]) -> Callable[[Sequence[Prompt]], Reading]:
    """Read what several prompts begin with, if that holds the video.

    Returns:
        What reads some of these prompts to their end.
    """
    shared = count_shared_tokens(prompts) if len(prompts) > 1 else 0
    if not shared:
        return policy.read
    return partial(read_the_rest, policy, beginning=read_shared_part(policy, prompts, shared))


def count_shared_tokens(prompts: Sequence[Prompt]) -> int:
    """How many tokens at the beginning of several prompts are the same and hold the whole video.

    Returns:
        0 where the video does not lie within them: then nothing can be shared. At least two tokens of every prompt are
        left over, the last of which heads its answer.
    """
    first, shortest = prompts[0], min(map(len, prompts)) - 2
    shared = shortest
    for prompt in prompts[1:]:
        different = (prompt.input_ids[:shared] != first.input_ids[:shared]).nonzero()
        if len(different):
            shared = int(different[0])
    is_video = first.mm_token_type_ids == USUAL_NAMES.video_kind
    return shared if shared > 0 and not bool(is_video[shared:].any()) else 0


def read_shared_part(policy: Policy, prompts: Sequence[Prompt], shared: int) -> Reading:
    """Read what all prompts begin with, once. Its head is the first token that may differ."""
    first = prompts[0]
    beginning = replace(
        first, input_ids=first.input_ids[: shared + 1], mm_token_type_ids=first.mm_token_type_ids[: shared + 1]
    )
    return policy.read([beginning])


def read_the_rest(policy: Policy, prompts: Sequence[Prompt], beginning: Reading) -> Reading:
    """The reading of whole prompts, given that of their beginning; the same as if each had been read by itself.

    Args:
        policy: the model.
        prompts: those to read now, some or all of the prompts that begin so.
        beginning: as `read_shared_part` gives it.
    """
    shared = beginning.context_mask.shape[1]
    rests = [prompt.input_ids[shared:-1] for prompt in prompts]
    lengths = torch.tensor([len(rest) for rest in rests])
    longest = int(lengths.max())
    if not beginning.is_attention_only and int(lengths.min()) < longest:
        # A recurrent layer forgets over padding in the middle of a prompt.
        return join_readings([read_the_rest(policy, [prompt], beginning) for prompt in prompts])
    device = beginning.head_ids.device
    # The rests are padded on their left, so that every prompt ends in the last column. Padding is never attended to.
    columns = torch.arange(longest) - (longest - lengths)[:, None]
    rows = beginning.select_rows([0] * len(prompts))
    inputs: dict[str, Any] = {
        "input_ids": torch.stack([_pad_left(rest, longest, policy.pad_token_id) for rest in rests]).to(device),
        # Behind the video there is only text: the three axes of the rotary position advance together.
        "position_ids": (rows.head_positions[:, None] + columns.clamp(min=0).to(device)).expand(3, -1, -1),
        "attention_mask": torch.cat([rows.context_mask, (columns >= 0).to(device)], dim=1),
    }
    cache = rows.make_cache()
    with policy.precision(), torch.no_grad():
        forward(policy.model, inputs, cache, logits_to_keep=1)
    policy.work.prompt_tokens += int(lengths.sum())
    return Reading(
        prompts=tuple(prompts),
        layers=states_of(cache),
        context_mask=inputs["attention_mask"],
        head_ids=torch.stack([prompt.input_ids[-1] for prompt in prompts]).to(device),
        head_positions=rows.head_positions + lengths.to(device),
    )


def _pad_left(ids: Tensor, length: int, pad_token_id: int) -> Tensor:
    return torch.nn.functional.pad(ids, (length - len(ids), 0), value=pad_token_id)
