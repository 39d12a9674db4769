"""How a batch is split into micro-batches: what is read together. It changes memory and speed, never the gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from video_opd.config import TrainingSettings
from video_opd.policy.ranked_policy import DealtPrompts
from video_opd.types import Prompt


def split_batch(prompts: Sequence[Prompt], settings: TrainingSettings) -> list[tuple[Prompt, ...]]:
    """Split by number of prompts, in their order; or by tokens, prompts of like length together.

    Args:
        prompts: a whole batch.
        settings: say how much is read at once.
    """
    if settings.micro_batch_tokens is None:
        size = settings.micro_batch_size
        return [tuple(prompts[start : start + size]) for start in range(0, len(prompts), size)]
    pieces = _split_by_tokens(prompts, settings.micro_batch_tokens)
    return [tuple(prompts[place] for place in piece) for piece in sorted(map(sorted, pieces))]


def split_batch_for_job(
    prompts: Sequence[Prompt], settings: TrainingSettings, num_processes: int
) -> list[DealtPrompts]:
    """Split so that every process of a job reads as much as one process may, and does not wait long for the others.

    Prompts of like length are in one micro-batch. By number of prompts, it is dealt in turn. By tokens, each process
    has a piece of its own; the pieces are made smaller as long as there are no more micro-batches.

    Args:
        prompts: a whole batch.
        settings: say how much one process reads at once.
        num_processes: of the job.
    """
    if settings.micro_batch_tokens is None:
        size = settings.micro_batch_size * num_processes
        by_length = sorted(prompts, key=len, reverse=True)
        pieces = [by_length[start : start + size] for start in range(0, len(prompts), size)]
        in_turn = [[piece[rank::num_processes] for rank in range(min(num_processes, len(piece)))] for piece in pieces]
        return [DealtPrompts.in_blocks(blocks) for blocks in in_turn]
    num_pieces = len(_split_by_tokens(prompts, settings.micro_batch_tokens))
    most = -(-num_pieces // num_processes) * num_processes
    too_small, budget = 0, settings.micro_batch_tokens
    while budget - too_small > 1:
        middle = (too_small + budget) // 2
        if len(_split_by_tokens(prompts, middle)) <= most:
            budget = middle
        else:
            too_small = middle
    blocks = [[prompts[place] for place in sorted(piece)] for piece in _split_by_tokens(prompts, budget)]
    starts = range(0, len(blocks), num_processes)
    return [DealtPrompts.in_blocks(blocks[start : start + num_processes]) for start in starts]


def group_pieces(pieces: Sequence[tuple[Prompt, ...]], most: int) -> list[tuple[tuple[Prompt, ...], ...]]:
    """Micro-batches that are answered together: as many in a row as have no more prompts for any process.

    Args:
        pieces: the micro-batches of a batch.
        most: prompts of one process; a micro-batch with more is answered by itself.
    """
    groups: list[list[tuple[Prompt, ...]]] = []
    room = 0
    for piece in pieces:
        size = max(Counter(piece.processes).values()) if isinstance(piece, DealtPrompts) else len(piece)
        if size > room:
            groups, room = [*groups, []], most
        groups[-1].append(piece)
        room -= size
    return [tuple(group) for group in groups]


def _split_by_tokens(prompts: Sequence[Prompt], budget: int) -> list[list[int]]:
    """Places of the prompts of each piece, the longest prompts first. A prompt above the budget is alone."""
    pieces: list[list[int]] = []
    for place in sorted(range(len(prompts)), key=lambda place: -len(prompts[place])):
        # All are padded to the longest, which comes first.
        if pieces and (len(pieces[-1]) + 1) * len(prompts[pieces[-1][0]]) <= budget:
            pieces[-1].append(place)
        else:
            pieces.append([place])
    return pieces
