"""The learner: from prompts to one optimiser step, in memory-sized pieces that change nothing.

The loss is a sum over answer tokens; the gradient is divided once, before the step, by the number of answer tokens of
the whole batch. So any split into micro-batches gives the same gradient, and no length is favoured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from video_opd.errors import EngineError
from video_opd.methods import Method
from video_opd.objectives import masked_sum
from video_opd.policy.load import Policy
from video_opd.recipe import TrainingSettings
from video_opd.training.cost import Stopwatch
from video_opd.vocabulary import AnswerGroup, Judgement, Prompt, TokenLosses


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedBatch:
    """One micro-batch: what was written, what the judge thought, what it cost. Tensors without gradient."""

    prompts: tuple[Prompt, ...]
    groups: tuple[AnswerGroup, ...]
    answer_mask: Tensor
    """(B, T) bool: the answers' tokens."""
    behaviour_logprobs: Tensor
    """(B, T): the learner's log-probs before its first update on this batch."""
    judgement: Judgement
    losses: TokenLosses
    """At the first update; `clamped` is the mean over all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StepOutcome:
    """One step of the optimiser."""

    batches: tuple[TrainedBatch, ...]
    num_answer_tokens: int
    loss: float
    """Per answer token, at the first update."""
    grad_norm: float
    """Before clipping, at the last update."""
    learning_rate: float
    seconds_by_phase: dict[str, float]
    cpu_seconds_by_phase: dict[str, float]


class Learner:
    """A student under training and its optimiser."""

    def __init__(self, student: Policy, settings: TrainingSettings, *, total_steps: int) -> None:
        self.student, self.settings, self.total_steps = student, settings, total_steps
        self.parameters = {name: p for name, p in student.model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )

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

        Raises:
            EngineError: the loss or the gradient is not finite; the update was not taken.
        """
        watch = Stopwatch(self.student.model.device)
        size = self.settings.micro_batch_size
        pieces = [tuple(prompts[start : start + size]) for start in range(0, len(prompts), size)]
        batches: list[TrainedBatch | None] = [None] * len(pieces)
        loss, grad_norm, num_tokens = 0.0, 0.0, 0
        for update in range(self.settings.updates_per_batch):
            total_loss, num_tokens = 0.0, 0
            for index, piece in enumerate(pieces):
                batch, piece_loss = self._accumulate(piece, method, seed, batches[index], watch)
                batches[index], total_loss = batch, total_loss + piece_loss
                num_tokens += int(batch.answer_mask.sum())
            loss = total_loss / num_tokens if update == 0 else loss
            with watch.phase("step"):
                grad_norm = self._apply(num_tokens, self.learning_rate(step), prompts)
        return StepOutcome(
            batches=tuple(batch for batch in batches if batch is not None),
            num_answer_tokens=num_tokens,
            loss=loss,
            grad_norm=grad_norm,
            learning_rate=self.learning_rate(step),
            seconds_by_phase=dict(watch.seconds),
            cpu_seconds_by_phase=dict(watch.cpu_seconds),
        )

    def _accumulate(
        self, prompts: tuple[Prompt, ...], method: Method, seed: int, before: TrainedBatch | None, watch: Stopwatch
    ) -> tuple[TrainedBatch, float]:
        """Add the gradient of one micro-batch's summed loss; `before` is what an earlier update on it recorded."""
        with watch.phase("read"):
            reading = self.student.read(prompts, grad=True)
        if before is None:
            with watch.phase("answer"):
                groups = method.write(self.student, reading, seed)
            with watch.phase("teacher"):
                judgement = method.judge(prompts, groups)
        else:
            groups, judgement = before.groups, before.judgement
        with watch.phase("score"):
            scores = self.student.score(reading, groups, distribution=method.needs_distribution, grad=True)
            behaviour = scores.logprobs.detach() if before is None else before.behaviour_logprobs
            losses = method.losses(scores, behaviour, judgement)
            loss = masked_sum(losses.loss, scores.answer_mask)
        self._refuse_non_finite(float(loss.detach()), "loss", prompts)
        with watch.phase("backward"):
            loss.backward()
        clamped = losses.clamped / self.settings.updates_per_batch
        if before is not None:
            recorded = replace(before.losses, clamped=before.losses.clamped + clamped)
            return replace(before, losses=recorded), float(loss.detach())
        detached = replace(losses, loss=losses.loss.detach(), clamped=clamped)
        batch = TrainedBatch(
            prompts=prompts,
            groups=groups,
            answer_mask=scores.answer_mask,
            behaviour_logprobs=behaviour,
            judgement=judgement if self.settings.updates_per_batch > 1 else judgement.without_distributions(),
            losses=detached,
        )
        return batch, float(loss.detach())

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
