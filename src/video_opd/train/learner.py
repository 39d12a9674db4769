"""The learner: from prompts to one optimiser step, in memory-sized pieces that change nothing.

The loss is a sum over answer tokens; the gradient is divided once, before the step, by the number of answer tokens of
the whole batch. So any split into micro-batches gives the same gradient, and no length is favoured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from video_opd.config import TrainingSettings
from video_opd.errors import EngineError
from video_opd.methods import Method
from video_opd.objectives import masked_sum
from video_opd.policy.load import Policy
from video_opd.policy.read import Reading
from video_opd.train.optimizer import make_optimizer
from video_opd.train.stopwatch import Stopwatch
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, number_repeats


class Gate(Protocol):
    """What stands between answering and judging."""

    def admits(self, prompt: Prompt, group: AnswerGroup) -> bool:
        """Whether an example is judged and trained on at this step, given the answers just written."""


Suspended = tuple[tuple[Prompt, AnswerGroup], ...]
"""Examples that the gate did not admit, with their answers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedBatch:
    """One micro-batch: what was written, what the judge thought, what it cost. Without gradient once it was used."""

    prompts: tuple[Prompt, ...]
    groups: tuple[AnswerGroup, ...]
    answer_mask: Tensor
    """(B, T) bool: the answers' tokens."""
    behaviour_logprobs: Tensor
    """(B, T): the learner's log-probs before its first update on this batch."""
    judgement: Judgement
    losses: TokenLosses
    """At the first update; `clamped` and `ratio_bounded` are means over all, `ratio` is the largest of the later ones,
    None where there is only one."""

    @property
    def num_trained_tokens(self) -> int:
        """Answer tokens of the loss, those of answers that a method masks left out."""
        mask = self.answer_mask if self.losses.masked is None else self.answer_mask & ~self.losses.masked
        return int(mask.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class StepOutcome:
    """One step of the optimiser."""

    batches: tuple[TrainedBatch, ...]
    suspended: Suspended
    num_scheduled_tokens: int
    """Answer tokens of the whole batch, suspended examples included, answers that a method masks not: what the loss is
    divided by."""
    loss: float
    """Per scheduled answer token, at the first update; 0 where every example was suspended or masked."""
    grad_norm: float
    """Before clipping, at the last update."""
    learning_rate: float
    seconds_by_phase: dict[str, float]
    cpu_seconds_by_phase: dict[str, float]

    @property
    def num_answer_tokens(self) -> int:
        """Answer tokens that were trained on."""
        return sum(batch.num_trained_tokens for batch in self.batches)


class Learner:
    """A student under training and its optimiser.

    Args:
        gate: decides which examples of a batch are judged and trained on; None: all.
    """

    def __init__(
        self, student: Policy, settings: TrainingSettings, *, total_steps: int, gate: Gate | None = None
    ) -> None:
        self.student, self.settings, self.total_steps, self.gate = student, settings, total_steps, gate
        self.parameters = {name: p for name, p in student.model.named_parameters() if p.requires_grad}
        self.optimizer = make_optimizer(student.model, self.parameters, settings)

    def learning_rate(self, step: int) -> float:
        """At optimiser step `step`, from 0: linear warm-up, then constant or decaying towards 0 at the end."""
        s = self.settings
        if step < s.warmup_steps:
            return s.learning_rate * (step + 1) / s.warmup_steps
        progress = (step - s.warmup_steps) / max(self.total_steps - s.warmup_steps, 1)
        factor = {"none": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}[s.decay]
        return s.learning_rate * factor

    def step(self, prompts: Sequence[Prompt], method: Method, *, step: int, seed: int) -> StepOutcome:
        """One batch: the student reads and answers, the method judges, the weights move.

        A batch of which every answer is suspended or masked changes nothing: no update, no weight decay.

        Raises:
            EngineError: the loss or the gradient is not finite; the update was not taken.
        """
        watch = Stopwatch(self.student.model.device)
        size, prompts = self.settings.micro_batch_size, number_repeats(prompts)
        pieces = [tuple(prompts[start : start + size]) for start in range(0, len(prompts), size)]
        loss, grad_norm, total_loss = 0.0, 0.0, 0.0
        batches: list[TrainedBatch] = []
        suspended: Suspended = ()
        for piece in pieces:
            batch, left_out = self.run_micro_batch(piece, method, seed, watch)
            suspended += left_out
            if batch is not None:
                total_loss += self._backward(batch, watch)
                batches.append(self._without_gradient(batch))
        trained = sum(batch.num_trained_tokens for batch in batches)
        num_tokens = trained + sum(len(answer) for _, group in suspended for answer in group)
        loss = total_loss / max(num_tokens, 1)
        if not trained:
            self.optimizer.zero_grad(set_to_none=True)
        for update in range(self.settings.updates_per_batch if trained else 0):
            if update > 0:
                batches = [self._again(batch, method, watch) for batch in batches]
            with watch.phase("step"):
                grad_norm = self._apply(num_tokens, self.learning_rate(step), prompts)
        return StepOutcome(
            batches=tuple(batches),
            suspended=suspended,
            num_scheduled_tokens=num_tokens,
            loss=loss,
            grad_norm=grad_norm,
            learning_rate=self.learning_rate(step),
            seconds_by_phase=dict(watch.seconds),
            cpu_seconds_by_phase=dict(watch.cpu_seconds),
        )

    def run_micro_batch(
        self, prompts: tuple[Prompt, ...], method: Method, seed: int, watch: Stopwatch
    ) -> tuple[TrainedBatch | None, Suspended]:
        """All of a micro-batch before its backward pass: read, answered, judged, scored; the losses with gradient.

        Returns:
            the batch, without what the gate left out; None where that is all of it. And what the gate left out.
        """
        with self.student.precision():  # one for all passes, so that one copy of the weights is in the graph
            reading, groups, left_out = self._answer(prompts, method, seed, watch)
            batch = None if reading is None else self._judge(reading, groups, method, watch)
        return batch, left_out

    def _answer(
        self, prompts: tuple[Prompt, ...], method: Method, seed: int, watch: Stopwatch
    ) -> tuple[Reading | None, tuple[AnswerGroup, ...], Suspended]:
        """Read a micro-batch and write the answers; of those that the gate admits, a reading with gradient.

        Where only some are admitted they are read once more, so that nothing of the others is in the graph. With one
        prompt a micro-batch that never happens.
        """
        with watch.phase("read"):
            reading = self.student.read(prompts, grad=True)
        with watch.phase("answer"):
            groups = method.write(self.student, reading, seed)
        if self.gate is None:
            return reading, groups, ()
        admitted = [self.gate.admits(prompt, group) for prompt, group in zip(prompts, groups, strict=True)]
        pairs = list(zip(prompts, groups, admitted, strict=True))
        suspended = tuple((prompt, group) for prompt, group, is_in in pairs if not is_in)
        groups = tuple(group for _, group, is_in in pairs if is_in)
        if not suspended:
            return reading, groups, ()
        del reading
        if not groups:
            return None, (), suspended
        with watch.phase("read"):
            reading = self.student.read([prompt for prompt, _, is_in in pairs if is_in], grad=True)
        return reading, groups, suspended

    def _judge(
        self, reading: Reading, groups: tuple[AnswerGroup, ...], method: Method, watch: Stopwatch
    ) -> TrainedBatch:
        """Have a micro-batch judged, and say what every token costs; the losses with gradient."""
        with watch.phase("teacher"):
            judgement = method.judge(reading.prompts, groups)
        with watch.phase("score"):
            scores = self.student.score(reading, groups, distribution=method.needs_distribution, grad=True)
            behaviour = scores.logprobs.detach()
            losses = method.losses(scores, behaviour, judgement)
        return TrainedBatch(
            prompts=reading.prompts,
            groups=groups,
            answer_mask=scores.answer_mask,
            behaviour_logprobs=behaviour,
            judgement=judgement,
            losses=losses,
        )

    def _again(self, batch: TrainedBatch, method: Method, watch: Stopwatch) -> TrainedBatch:
        """Add the gradient of a later update on the same answers and the same judgement."""
        with self.student.precision():
            with watch.phase("read"):
                reading = self.student.read(batch.prompts, grad=True)
            with watch.phase("score"):
                scores = self.student.score(reading, batch.groups, distribution=method.needs_distribution, grad=True)
                losses = method.losses(scores, batch.behaviour_logprobs, batch.judgement)
        self._backward(replace(batch, losses=losses), watch)
        return replace(batch, losses=_record(losses, self.settings.updates_per_batch, batch.losses))

    def _backward(self, batch: TrainedBatch, watch: Stopwatch) -> float:
        """Add the gradient of the sum over the answers' tokens, and return that sum."""
        with watch.phase("backward"):
            loss = masked_sum(batch.losses.loss, batch.answer_mask)
            self._refuse_non_finite(float(loss.detach()), "loss", batch.prompts)
            loss.backward()
        return float(loss.detach())

    def _without_gradient(self, batch: TrainedBatch) -> TrainedBatch:
        """What is kept of a micro-batch after its backward pass."""
        several = self.settings.updates_per_batch
        losses = _record(batch.losses, several)
        judgement = batch.judgement if several > 1 else batch.judgement.without_distributions()
        return replace(batch, judgement=judgement, losses=losses)

    def _apply(self, num_tokens: int, learning_rate: float, prompts: Sequence[Prompt]) -> float:
        """Divide by the batch's answer tokens, clip, step. Returns the gradient's norm before clipping."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        torch._foreach_div_(gradients, num_tokens)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip_norm))
        self._refuse_non_finite(norm, "gradient", prompts)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _refuse_non_finite(self, value: float, what: str, prompts: Sequence[Prompt]) -> None:
        if not math.isfinite(value):
            self.optimizer.zero_grad(set_to_none=True)
            raise EngineError(
                f"the {what} is {value} on examples {', '.join(prompt.id for prompt in prompts)}",
                reason="a step on it would ruin the weights, so it was not taken",
                remedy="lower training.learning_rate; the last checkpoint is whole",
            )

    def state_dict(self) -> dict[str, Tensor]:
        """The optimiser's tensors by parameter name, for safetensors."""
        state = self.optimizer.state
        return {f"{key}.{name}": value for name, p in self.parameters.items() for key, value in state[p].items()}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `state_dict` gave, on a student with the same trained parameters."""
        for key, value in tensors.items():
            kind, name = key.split(".", 1)
            parameter = self.parameters[name]
            self.optimizer.state[parameter][kind] = (
                value.clone() if kind == "step" else value.to(parameter.device).clone()
            )


def _record(losses: TokenLosses, updates: int, before: TokenLosses | None = None) -> TokenLosses:
    """What is kept of the losses of one of `updates` updates, and of those `before` on the same answers."""
    clamped, bounded, ratio = losses.clamped / updates, losses.ratio_bounded, losses.ratio
    bounded = None if bounded is None else bounded / updates
    if before is None:  # every ratio is 1
        return replace(losses, loss=losses.loss.detach(), clamped=clamped, ratio=None, ratio_bounded=bounded)
    if before.ratio is not None and ratio is not None:
        ratio = before.ratio.maximum(ratio)
    if before.ratio_bounded is not None and bounded is not None:
        bounded = before.ratio_bounded + bounded
    return replace(before, clamped=before.clamped + clamped, ratio=ratio, ratio_bounded=bounded)
