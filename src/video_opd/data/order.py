"""In which order examples are trained on: a function of the ids and a seed, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from video_opd.seeds import generator
from video_opd.vocabulary import Example


def batch_at(examples: Sequence[Example], step: int, batch_size: int, seed: int) -> list[Example]:
    """The batch of step `step` (from 0): epochs follow one another without a gap, each in its own random order.

    A run that goes on after an interruption needs nothing but its step.
    """
    batch = []
    orders: dict[int, list[int]] = {}
    for position in range(step * batch_size, (step + 1) * batch_size):
        epoch, place = divmod(position, len(examples))
        if epoch not in orders:
            orders[epoch] = generator(seed, "order", epoch).permutation(len(examples)).tolist()
        batch.append(examples[orders[epoch][place]])
    return batch
