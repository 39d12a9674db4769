"""The learner: from prompts to one optimiser step, in memory-sized pieces that change nothing.

The loss is a sum over answer tokens; the gradient is divided once, before the step, by one number for the whole batch
(`Normalisation`). So any split into micro-batches gives the same gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, distributed

from video_opd.config import TrainingSettings
from video_opd.errors import EngineError
from video_opd.methods import Method
from video_opd.objectives import masked_sum
from video_opd.policy.adapters import save_model
from video_opd.policy.embedding_gradient import add_rows_in_place
from video_opd.policy.load import Policy
from video_opd.policy.read import Reading, join_readings
from video_opd.policy.sharding import average_over_processes, drop_gathered, is_sharded, whole
from video_opd.ranks import num_processes
from video_opd.train.agreement import are_all_finite
from video_opd.train.memory_shortage import Shortage, free_memory
from video_opd.train.micro_batches import group_pieces, split_batch
from video_opd.train.normalisation import Normalisation
from video_opd.train.optimizer import make_optimizer
from video_opd.train.optimizer_state import load_optimizer, save_optimizer
from video_opd.train.stopwatch import Stopwatch
from video_opd.train.trained_batch import Suspended, TrainedBatch
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores, number_repeats


class Gate(Protocol):
    """What stands between answering and judging."""

    def is_admitted(self, prompt: Prompt, group: AnswerGroup) -> bool:
        """Whether an example is judged and trained on at this step, given the answers just written."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """The answers to a micro-batch, and the reading with gradient that they are scored on."""

    prompts: tuple[Prompt, ...]
    groups: tuple[AnswerGroup, ...]
    reading: Reading | None
    """None: the prompts are read again when the answers are scored."""

    def select_rows(self, rows: Sequence[int]) -> Rollout:
        """The answers to some of the prompts only, in the given order."""
        return Rollout(
            prompts=tuple(self.prompts[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
            reading=self.reading.select_rows(rows) if self.reading else None,
        )


class Learner:
    """A student under training and its optimiser.

    Args:
        gate: decides which examples of a batch are judged and trained on; None: all.
        temperature: of the student's log-probs (`Recipe.training_temperature`).
        normalisation: what a batch is divided by; None: what the settings say, of one answer to an example.
    """

    def __init__(
        self,
        student: Policy,
        settings: TrainingSettings,
        *,
        total_steps: int,
        gate: Gate | None = None,
        temperature: float = 1.0,
        normalisation: Normalisation | None = None,
    ) -> None:
        self.student, self.settings, self.total_steps, self.gate = student, settings, total_steps, gate
        self.temperature = temperature
        self.normalisation = normalisation or Normalisation.of_training(settings)
        drop_gathered(student.model)  # the shards are what is trained
        add_rows_in_place(student.model)
        self.parameters = {name: p for name, p in student.model.named_parameters() if p.requires_grad}
        self.optimizer = make_optimizer(student.model, self.parameters, settings)
        self.num_processes = num_processes()
        self.watch: Stopwatch  # of the step that `begin` began
        self.step = 0
        """Steps taken before, for messages."""
        self.piece: Sequence[Prompt] = ()
        """The prompts that a pass is about."""
        self.num_together = 0
        """Prompts that are answered together, where they are several micro-batches."""
        self.num_updates = 0
        """Updates that the step has made."""

    def learning_rate(self, step: int) -> float:
        """At optimiser step `step`, from 0: linear warm-up, then constant or decaying towards 0 at the end."""
        s = self.settings
        warmup_steps = s.count_warmup_steps(self.total_steps)
        if step < warmup_steps:
            return s.learning_rate * (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(self.total_steps - warmup_steps, 1)
        factor = {"none": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}[s.decay]
        return s.learning_rate * factor

    def begin(self, prompts: Sequence[Prompt]) -> Sequence[Sequence[tuple[Prompt, ...]]]:
        """Start the clocks of a step, and split its batch into micro-batches, grouped by what is answered together."""
        self.watch, self.piece, self.num_updates = Stopwatch(self.student.model.device), (), 0
        return group_pieces(split_batch(number_repeats(prompts), self.settings), self.settings.most_together)

    def precision(self) -> AbstractContextManager[Any]:
        """A context for all passes of micro-batches that are answered together."""
        return self.student.precision()

    def answer(self, pieces: Sequence[tuple[Prompt, ...]], method: Method, seed: int) -> tuple[list[Any], Suspended]:
        """Read micro-batches, write the answers to all of them in one token loop, and ask the gate about them.

        Several readings with gradient are kept where checkpointing makes them small. Without it they are made without
        gradient, and `compute_loss` reads a micro-batch again. It also does so where the gate admits only some of its
        prompts, so that nothing of the others is in the graph.

        Returns:
            what is judged and trained on, by micro-batch; and what the gate left out.
        """
        keeps = len(pieces) == 1 or self.settings.gradient_checkpointing is True
        readings: list[Reading] = []
        self.num_together = sum(map(len, pieces)) if len(pieces) > 1 else 0
        for piece in pieces:
            self.piece = piece
            with self.watch.time_phase("read"):
                readings.append(self.student.read(piece, grad=keeps))
        self.piece = tuple(prompt for piece in pieces for prompt in piece)
        with self.watch.time_phase("answer"):
            joined = _join(readings)
            if not keeps:
                readings.clear()  # the token loop needs the joined one only
            groups = method.write(self.student, joined, seed)
        del joined
        if not keeps:
            # Nothing of the token loop is needed further: neither the other readings, nor the copies of the weights,
            # from which no gradient leads back where torch made them without one.
            self.num_together = 0
            torch.clear_autocast_cache()
        rollouts: list[Rollout] = []
        suspended: Suspended = ()
        for number, piece in enumerate(pieces):
            pairs = list(zip(piece, groups[: len(piece)], strict=True))
            groups = groups[len(piece) :]
            admitted = [self.gate is None or self.gate.is_admitted(*pair) for pair in pairs]
            suspended += tuple(pair for pair, is_in in zip(pairs, admitted, strict=True) if not is_in)
            if left := [pair for pair, is_in in zip(pairs, admitted, strict=True) if is_in]:
                kept_prompts, kept_groups = zip(*left, strict=True)
                reading = readings[number] if keeps and len(left) == len(piece) else None
                rollouts.append(Rollout(prompts=kept_prompts, groups=kept_groups, reading=reading))
        return rollouts, suspended

    def judge(self, rollout: Rollout, method: Method) -> Judgement:
        """Let the teacher and the rewards of the method score the answers."""
        self.piece = rollout.prompts
        with self.watch.time_phase("teacher"):
            return method.judge(rollout.prompts, rollout.groups)

    def compute_loss(self, rollout: Rollout, judgement: Judgement, method: Method) -> TrainedBatch:
        """Score the answers with gradient, and compute the loss of each token."""
        reading = rollout.reading or self._read(rollout.prompts)
        with self.watch.time_phase("score"):
            scores = self._score(reading, rollout.groups, method)
            behaviour = scores.logprobs.detach()
            losses = method.losses(scores, behaviour, judgement)
        return TrainedBatch(
            prompts=rollout.prompts,
            groups=rollout.groups,
            answer_mask=scores.answer_mask,
            behaviour_logprobs=behaviour,
            judgement=judgement,
            losses=losses,
        )

    def add_gradient(self, batch: TrainedBatch) -> TrainedBatch:
        """Run the backward pass of a micro-batch. Returns the batch without its graph."""
        return batch.keep_after_first_update(
            self._backward(batch.losses, batch.answer_mask), self.settings.updates_per_batch
        )

    def add_gradient_again(self, batch: TrainedBatch, method: Method) -> TrainedBatch:
        """Read and score a micro-batch again for a later update on the same answers and judgement; backward pass."""
        losses, loss_sum = self.repeat(batch, method)
        return batch.keep_after_later_update(losses, loss_sum, self.settings.updates_per_batch)

    def repeat(self, batch: TrainedBatch, method: Method) -> tuple[TokenLosses, float]:
        """The passes of `add_gradient_again`; returns the losses and their sum over the answers' tokens."""
        self.piece, self.num_together = batch.prompts, 0
        with self.student.precision():
            reading = self._read(batch.prompts)
            with self.watch.time_phase("score"):
                scores = self._score(reading, batch.groups, method)
                losses = method.losses(scores, batch.behaviour_logprobs, batch.judgement)
        return losses, self._backward(losses, batch.answer_mask)

    def update(self, batches: Sequence[TrainedBatch], divisor: float, *, step: int) -> float:
        """Take a step of the optimiser: divide the summed gradient, clip, update.

        Args:
            batches: the micro-batches, after their backward passes.
            divisor: of the whole batch (`Normalisation.find_divisor`).
            step: steps taken before; decides the learning rate.

        Returns:
            the norm of the gradient before clipping.

        Raises:
            EngineError: a loss or the gradient is not finite; the weights are as they were.
        """
        self.piece = ()
        self._require_finite("loss", [(batch.sums[-1], [batch]) for batch in batches])
        with self.watch.time_phase("step"):
            if self.num_processes > 1:
                average_over_processes(self.parameters.values())
            gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
            # Processes that share a batch have the mean of their gradients by now, and the sum is wanted.
            torch._foreach_div_(gradients, divisor / self.num_processes)
            norm = float(whole(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip_norm)))
            self._require_finite("gradient", [(norm, batches)])
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate(step)
            self.optimizer.step()
            self.num_updates += 1
            drop_gathered(self.student.model)
            self.drop_gradient()
        return norm

    def drop_gradient(self) -> None:
        """Forget the gradient, after an update or in its place."""
        self.optimizer.zero_grad(set_to_none=True)

    def describe_shortage(self, error: BaseException) -> Shortage:
        """What a pass that ran out of memory was busy with."""
        return Shortage.of(error, self.piece, num_together=self.num_together, is_final=self.num_updates > 0)

    def give_up(self) -> None:
        """Forget a step that failed, before it is done again."""
        self.drop_gradient()
        free_memory()

    def _read(self, prompts: tuple[Prompt, ...]) -> Reading:
        with self.watch.time_phase("read"):
            return self.student.read(prompts, grad=True)

    def _score(self, reading: Reading, groups: tuple[AnswerGroup, ...], method: Method) -> TokenScores:
        whole, temperature = method.needs_distribution, self.temperature
        return self.student.score(reading, groups, distribution=whole, grad=True, temperature=temperature)

    def _backward(self, losses: TokenLosses, answer_mask: Tensor) -> float:
        """Add the gradient of the sum over the answers' tokens, and return that sum."""
        device = answer_mask.device.type
        # Every operation of a backward pass has the type of its forward pass already.
        is_inside = torch.is_autocast_enabled(device)
        with self.watch.time_phase("backward"), torch.autocast(device, enabled=False) if is_inside else nullcontext():
            loss = masked_sum(losses.loss, answer_mask)
            if not self.num_together:  # nothing else needs the copies: the graph lets go of them on its way back
                torch.clear_autocast_cache()
            loss.backward()
        return float(loss.detach())

    def _require_finite(self, what: str, found: Sequence[tuple[float, Sequence[TrainedBatch]]]) -> None:
        """Refuse to take a step on numbers that are not finite; each comes with the micro-batches that it is of."""
        if are_all_finite(value for value, _ in found):
            return
        self.drop_gradient()
        place = "not finite on examples of another process"
        for value, batches in found:
            if not math.isfinite(value):
                ids = ", ".join(prompt.id for batch in batches for prompt in batch.prompts)
                place = f"{value} on examples {ids}"
                break
        raise EngineError(
            f"the {what} is {place}",
            reason="an update with it would ruin the weights, so the step was not taken",
            remedy="lower training.learning_rate; the last checkpoint is complete",
        )

    def save(self, folder: Path) -> None:
        """Write the student as transformers loads it, or its adapter as peft does, to `model/` below the folder; and
        the state of the optimiser."""
        is_whole = not any(map(is_sharded, self.parameters.values()))
        if is_whole and distributed.is_initialized() and distributed.get_rank():
            return  # every process holds the whole adapter, and the first one writes it
        save_model(self.student.model, folder / "model")
        save_optimizer(self.optimizer, self.parameters, folder)

    def load_optimizer(self, folder: Path) -> None:
        """Take up the state of the optimiser of a checkpoint; the student was loaded from its `model/`."""
        load_optimizer(self.optimizer, self.parameters, folder)


@torch.no_grad()
def _join(readings: Sequence[Reading]) -> Reading:
    """One reading to answer from; a single one as it is."""
    return readings[0] if len(readings) == 1 else join_readings(readings)
