"""The order in which examples are trained on: a function of only the ids and a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from video_opd.seeds import generator
from video_opd.types import Example


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Which examples are trained on at which optimiser step.

    Epochs follow one another without a gap. A run that goes on after an interruption needs nothing but its step.
    """

    examples: Sequence[Example]
    batch_size: int
    seed: int
    first_step: int = 0
    """Step, from 0, at which the first epoch begins."""
    in_order: bool = False
    """True: the given order in every epoch. False: a new random order for each epoch."""

    def __call__(self, step: int) -> list[Example]:
        """The batch of optimiser step `step`, from 0."""
        batch = []
        orders: dict[int, Sequence[int]] = {}
        first = (step - self.first_step) * self.batch_size
        for position in range(first, first + self.batch_size):
            epoch, place = divmod(position, len(self.examples))
            if epoch not in orders:
                orders[epoch] = self._order(epoch)
            batch.append(self.examples[orders[epoch][place]])
        return batch

    def _order(self, epoch: int) -> Sequence[int]:
        if self.in_order:
            return range(len(self.examples))
        rng = generator(self.seed, "order", epoch, *([self.first_step] if self.first_step else []))
        return rng.permutation(len(self.examples)).tolist()


@dataclass(frozen=True, kw_only=True)
class ScheduledBatches:
    """The examples of every optimiser step, as a curriculum scheduled them."""

    steps: Sequence[Sequence[Example]]
    first_step: int = 0
    """Step, from 0, of the first of them."""

    def __call__(self, step: int) -> list[Example]:
        """The batch of optimiser step `step`, from 0."""
        return list(self.steps[step - self.first_step])


def choose_batch(examples: Sequence[Example], step: int, batch_size: int, seed: int) -> list[Example]:
    """The batch of one step of a run over all examples.

    Args:
        examples: those of the run.
        step: the optimiser step, from 0.
        batch_size: examples of a step.
        seed: the run's; it decides the order.
    """
    return Batches(examples=examples, batch_size=batch_size, seed=seed)(step)
