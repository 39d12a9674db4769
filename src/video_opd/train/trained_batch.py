"""What a step of the optimiser passes on: a micro-batch after its loss, and the whole batch after its update."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses

Suspended = tuple[tuple[Prompt, AnswerGroup], ...]
"""Examples that the gate did not admit, with their answers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedBatch:
    """One micro-batch: its answers, the judgement, and what each token costs."""

    prompts: tuple[Prompt, ...]
    groups: tuple[AnswerGroup, ...]
    answer_mask: Tensor
    """(B, T) bool: the answers' tokens."""
    behaviour_logprobs: Tensor
    """(B, T): the learner's log-probs before its first update on this batch."""
    judgement: Judgement
    losses: TokenLosses
    """With gradient until the backward pass. After it those of the first update, without gradient; `clamped` and
    `ratio_bounded` are then means over all updates, `ratio` is the largest of the later ones, None where there is only
    one."""
    sums: tuple[float, ...] = ()
    """The loss, summed over the answers' tokens, at each update so far."""

    @property
    def trained_lengths(self) -> list[int]:
        """Tokens of every answer of the loss, those that a method masks left out."""
        lengths = self.answer_mask.sum(dim=1)
        return (lengths if self.losses.masked is None else lengths[~self.losses.masked[:, 0]]).tolist()

    def keep_after_first_update(self, loss_sum: float, num_updates: int) -> TrainedBatch:
        """What is kept of a micro-batch after the first of `num_updates` backward passes."""
        losses = self.losses
        bounded = losses.ratio_bounded
        kept = replace(
            losses,
            loss=losses.loss.detach(),
            clamped=losses.clamped / num_updates,
            ratio=None,  # every ratio is 1
            ratio_bounded=None if bounded is None else bounded / num_updates,
        )
        judgement = self.judgement if num_updates > 1 else self.judgement.drop_distributions()
        return replace(self, judgement=judgement, losses=kept, sums=(loss_sum,))

    def keep_after_later_update(self, losses: TokenLosses, loss_sum: float, num_updates: int) -> TrainedBatch:
        """What is kept of it after one more of them.

        Args:
            losses: those of the later update.
            loss_sum: their sum over the answers' tokens.
            num_updates: how many updates the batch gets in all.
        """
        ratio, bounded = self.losses.ratio, self.losses.ratio_bounded
        if losses.ratio is not None:
            ratio = losses.ratio if ratio is None else ratio.maximum(losses.ratio)
        if bounded is not None and losses.ratio_bounded is not None:
            bounded = bounded + losses.ratio_bounded / num_updates
        clamped = self.losses.clamped + losses.clamped / num_updates
        kept = replace(self.losses, clamped=clamped, ratio=ratio, ratio_bounded=bounded)
        return replace(self, losses=kept, sums=(*self.sums, loss_sum))


@dataclass(frozen=True, kw_only=True, eq=False)
class StepOutcome:
    """One step of the optimiser."""

    batches: tuple[TrainedBatch, ...]
    suspended: Suspended
    num_scheduled_tokens: int
    """Answer tokens of the whole batch, suspended examples included, answers that a method masks not."""
    grad_norm: float
    """Before clipping, at the last update."""
    learning_rate: float
    seconds_by_phase: dict[str, float]
    cpu_seconds_by_phase: dict[str, float]
    divisor: float = 1.0
    """What the summed loss and gradient were divided by (`training.normalise`)."""
    num_retries: int = 0
    """Times that the step ran out of memory before."""

    @property
    def loss(self) -> float:
        """The loss whose gradient was taken, at the first update: per scheduled answer token, or as
        `training.normalise` says; 0 where every example was suspended or masked."""
        return sum(batch.sums[0] for batch in self.batches) / (self.divisor or 1)

    @property
    def num_answer_tokens(self) -> int:
        """Answer tokens that were trained on."""
        return sum(sum(batch.trained_lengths) for batch in self.batches)
