"""The learner of a job with several processes. Each of them does its part of every micro-batch; the first decides."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from video_opd.config import TrainingSettings
from video_opd.errors import is_out_of_memory
from video_opd.methods import Method, Writer
from video_opd.policy.load import Policy
from video_opd.policy.merging import merge
from video_opd.policy.ranked_policy import DealtPrompts, free_readings
from video_opd.policy.sharding import is_split_up
from video_opd.ranks import Ranks
from video_opd.train.learner import Gate, Learner, Rollout
from video_opd.train.memory_shortage import Shortage, StepTooLarge, free_memory, refuse_to_go_on
from video_opd.train.micro_batches import group_pieces, split_batch_for_job
from video_opd.train.normalisation import Normalisation
from video_opd.train.trained_batch import Suspended, TrainedBatch
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores, number_repeats


class LearnerPart:
    """What every process of a job does of the learner's work.

    Args:
        learner: holds this process's shard of the student and of the optimiser. It has no gate.
        method: the same on all processes.
        judges: the models that the method asks besides the student.
        note: file in the run folder for what is learned when memory runs out.
    """

    def __init__(self, learner: Learner, method: Method, *, judges: Sequence[Policy], note: Path) -> None:
        self.learner, self.method, self.note = learner, method, note
        self.models = (learner.student, *judges)
        self.known = [replace(model.work) for model in self.models]
        """What each of them had done when the first process was told last."""
        self.is_judge_split = any(is_split_up(weight) for judge in judges for weight in judge.model.parameters())
        self.rollouts: dict[int, Rollout] = {}
        """By the number of the micro-batch among those that are answered together."""
        self.batch: TrainedBatch | None = None
        self.batches: list[TrainedBatch] = []
        self.counted: list[bool] = []

    def begin(self, share: tuple[TrainingSettings, int]) -> None:
        """Start a step, with the settings that its pieces are made by."""
        self.learner.settings, self.learner.step = share
        self.batches, self.counted, self.known = [], [], [replace(model.work) for model in self.models]
        self.rollouts = {}
        self.learner.begin(())

    def answer(self, share: tuple[Sequence[tuple[Prompt, ...]], int]) -> list[tuple[AnswerGroup, ...]]:
        """Read micro-batches and write the answers to all of them."""
        pieces, seed = share
        self.rollouts = {}
        rollouts, _ = self.learner.answer(pieces, self.method, seed)
        self.rollouts = dict(enumerate(rollouts))  # all of them: no gate stands here
        return [rollout.groups for rollout in rollouts]

    def compute_loss(self, share: tuple[int, Sequence[bool]]) -> TrainedBatch | None:
        """Have the admitted answers to a micro-batch judged, and compute their loss; None where none is admitted.

        Then the passes are made all the same, for the other processes' sake, and their loss is nothing.
        """
        number, admitted = share
        rollout = self.rollouts[number]
        self.rollouts = {later: kept for later, kept in self.rollouts.items() if later > number}
        rows = [row for row, is_in in enumerate(admitted) if is_in]
        if len(rows) < len(admitted):
            rollout = rollout.select_rows(rows or [0])
        judgement = self.learner.judge(rollout, self.method)
        self.batch = self.learner.compute_loss(rollout, judgement, self._method(bool(rows)))
        self.counted.append(bool(rows))
        return without_graph(self.batch) if rows else None

    def add_gradient(self, _: None) -> float:
        """Run the backward pass; returns the sum of the loss."""
        assert self.batch is not None
        self.batches.append(self.learner.add_gradient(self.batch))
        self.batch = None
        return self.batches[-1].sums[-1]

    def add_gradient_again(self, number: int) -> tuple[TokenLosses | None, float]:
        """Read, score and run the backward pass of micro-batch `number` again, for a later update."""
        is_counted = self.counted[number]
        with self.learner.student.precision():
            losses, loss_sum = self.learner.repeat(self.batches[number], self._method(is_counted))
        return losses if is_counted else None, loss_sum

    def update(self, share: tuple[float, int]) -> float:
        """Take the optimiser's step; returns the norm of the whole gradient before clipping."""
        divisor, step = share
        self.rollouts = {}  # of micro-batches that the gate left out as a whole
        return self.learner.update(self.batches, divisor, step=step)

    def drop_gradient(self, _: None) -> list[dict[str, int]]:
        """Forget the gradient, at the end of a step; returns what each model has done since."""
        self.learner.drop_gradient()
        before, self.known = self.known, [replace(model.work) for model in self.models]
        return [model.work.count_since(known) for model, known in zip(self.models, before, strict=True)]

    def give_up(self, _: None) -> None:
        """Forget a step that failed, before it is done again."""
        self.rollouts, self.batch, self.batches = {}, None, []
        self.learner.give_up()

    def is_free_to_return(self) -> bool:
        """Whether no other process waits for the rest of the pass that failed.

        Others wait where weights are gathered, or gradients summed. Whole weights are gathered nowhere; those of a
        sharded student are whole from its first pass to the backward pass.
        """
        match self.learner.watch.phase:
            case "read" | "answer" | "score":
                return not any(map(is_split_up, self.learner.student.model.parameters()))
            case "teacher":
                return not self.is_judge_split
            case _:
                return False

    def save(self, folder: Path) -> None:
        """Write this process's part of a checkpoint."""
        self.learner.save(folder)

    def load_optimizer(self, folder: Path) -> None:
        """Read this process's part of the state of the optimiser."""
        self.learner.load_optimizer(folder)

    def _method(self, is_counted: bool) -> Method:
        return self.method if is_counted else WithoutLoss(self.method)


@dataclass(frozen=True)
class WithoutLoss:
    """A method on answers that are not trained on: the same passes, and no loss."""

    of: Method

    @property
    def needs_distribution(self) -> bool:
        """As the method."""
        return self.of.needs_distribution

    @property
    def write(self) -> Writer:
        """As the method."""
        return self.of.write

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """As the method."""
        return self.of.judge(prompts, groups)

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Those of the method, with nothing on any token."""
        losses = self.of.losses(learner, behaviour_logprobs, judgement)
        return losses.drop_tokens(torch.ones_like(learner.answer_mask))


def _deal(piece: tuple[Prompt, ...], num_processes: int) -> list[tuple[Prompt, ...]]:
    """The prompts of a micro-batch that each process reads."""
    assert isinstance(piece, DealtPrompts)
    return [piece.select_for(rank) for rank in range(num_processes)]


def without_graph(batch: TrainedBatch) -> TrainedBatch:
    """A micro-batch as it is sent to the first process: for the record, without graph, distributions and pixels."""
    losses = replace(batch.losses, loss=batch.losses.loss.detach())
    return replace(
        batch,
        prompts=tuple(without_pixels(prompt) for prompt in batch.prompts),
        judgement=batch.judgement.drop_distributions(),
        losses=losses,
    )


def without_pixels(prompt: Prompt) -> Prompt:
    """A prompt for the record."""
    return replace(prompt, pixel_values=prompt.pixel_values[:0])


PASSES = ("answer", "compute_loss", "add_gradient", "add_gradient_again", "update")
"""Verbs of a `LearnerPart` that need memory."""


def do(kept: dict[str, Any], share: tuple[str, Any]) -> Any:
    """Carry out a verb of this process's `LearnerPart` on its share."""
    verb, argument = share
    part: LearnerPart = kept["learner"]
    try:
        return getattr(part, verb)(argument)
    except Exception as error:
        if verb not in PASSES or not is_out_of_memory(error):
            raise
        shortage = part.learner.describe_shortage(error)
        if shortage.is_final or not part.is_free_to_return():
            process = f" on process {distributed.get_rank() + 1} of {distributed.get_world_size()}"
            refuse_to_go_on(shortage, part.learner.settings, part.note, step=part.learner.step + 1, process=process)
        return shortage


def forget_part(kept: dict[str, Any], _: None) -> None:
    """Let go of this process's part of a run that is over, before another run of a comparison loads its models."""
    kept.pop("learner", None)
    free_memory()


class RankedLearner(Learner):
    """The learner on the first process. Every verb has all processes do their part of a micro-batch.

    Args:
        part: this process's part; the others serve with one like it.
        gate: decides which examples of a batch are judged and trained on; None: all.
        ranks: the job.
        normalisation: what a batch is divided by; None: as the part's learner.
    """

    def __init__(
        self, part: LearnerPart, *, gate: Gate | None, ranks: Ranks, normalisation: Normalisation | None = None
    ) -> None:
        local = part.learner
        self.student, self.settings, self.total_steps, self.gate = (
            local.student,
            local.settings,
            local.total_steps,
            gate,
        )
        self.normalisation = normalisation or local.normalisation
        self.parameters, self.optimizer = local.parameters, local.optimizer
        self.local, self.models, self.ranks, self.step = local, part.models, ranks, 0
        self.piece, self.num_together, self.num_updates = (), 0, 0  # the parts know theirs
        self.batches: list[TrainedBatch] = []

    def begin(self, prompts: Sequence[Prompt]) -> Sequence[Sequence[tuple[Prompt, ...]]]:
        """Start the clocks of a step, and split its batch into micro-batches with a share for every process."""
        free_readings(self.ranks)  # those of an evaluation, which hold keys and values of whole prompts
        self._do("begin", (self.settings, self.step))
        self.watch, self.batches = self.local.watch, []
        pieces = split_batch_for_job(number_repeats(prompts), self.settings, self.ranks.size)
        return group_pieces(pieces, self.settings.most_together)

    def precision(self) -> AbstractContextManager[Any]:
        """Nothing: the weights of a job are gathered in the type that is computed in."""
        return nullcontext()

    def answer(
        self,
        pieces: Sequence[tuple[Prompt, ...]],
        method: Method,  # noqa: ARG002
        seed: int,
    ) -> tuple[list[Any], Suspended]:
        """Have every process read its prompts and write the answers; ask the gate about all of them.

        A process for which none is left takes part with the shortest prompt, because weights are gathered by all
        processes together. What it makes of it is dropped.
        """
        own = [_deal(piece, self.ranks.size) for piece in pieces]
        shares = [
            [share[rank] or (min(piece, key=len),) for piece, share in zip(pieces, own, strict=True)]
            for rank in range(self.ranks.size)
        ]
        written = self._do_each("answer", [(share, seed) for share in shares])
        rollouts: list[tuple[int, list[list[bool]]]] = []
        suspended: Suspended = ()
        for number, share_of in enumerate(own):
            admitted: list[list[bool]] = []
            for share, groups in zip(share_of, (groups[number] for groups in written), strict=True):
                pairs = list(zip(share, groups, strict=True)) if share else []
                is_in = [self.gate is None or self.gate.is_admitted(*pair) for pair in pairs]
                suspended += tuple(pair for pair, kept in zip(pairs, is_in, strict=True) if not kept)
                admitted.append(is_in or [False])
            if any(map(any, admitted)):
                rollouts.append((number, admitted))
        return rollouts, suspended

    def judge(self, rollout: Any, method: Method) -> Judgement:  # noqa: ARG002
        """Nothing yet: every process judges its answers where it computes their loss."""
        return Judgement()

    def compute_loss(self, rollout: Any, judgement: Judgement, method: Method) -> TrainedBatch:  # noqa: ARG002
        """Have every process judge and score its admitted answers; returns what all of them give, without the graph."""
        number, admitted = rollout
        replies = self._do_each("compute_loss", [(number, share) for share in admitted])
        return merge([batch for batch in replies if batch is not None])

    def add_gradient(self, batch: TrainedBatch) -> TrainedBatch:
        """Have every process run its backward pass."""
        self.batches.append(
            batch.keep_after_first_update(sum(self._do("add_gradient")), self.settings.updates_per_batch)
        )
        return self.batches[-1]

    def add_gradient_again(self, batch: TrainedBatch, method: Method) -> TrainedBatch:  # noqa: ARG002
        """Have every process read, score and run its backward pass again."""
        number = next(number for number, known in enumerate(self.batches) if known is batch)
        replies = self._do("add_gradient_again", number)
        losses = merge([losses for losses, _ in replies if losses is not None])
        loss_sum = sum(loss_sum for _, loss_sum in replies)
        self.batches[number] = batch.keep_after_later_update(losses, loss_sum, self.settings.updates_per_batch)
        return self.batches[number]

    def update(self, batches: Sequence[TrainedBatch], divisor: float, *, step: int) -> float:
        """Have every process take the step with its shard."""
        self._require_finite("loss", [(batch.sums[-1], [batch]) for batch in batches])
        norms: list[float] = self._do("update", (divisor, step))
        return norms[0]

    def drop_gradient(self) -> None:
        """Have every process forget its gradient; what the others have done is added to the work of the models."""
        for done in self._do("drop_gradient")[1:]:
            for model, counts in zip(self.models, done, strict=True):
                for name, count in counts.items():
                    setattr(model.work, name, getattr(model.work, name) + count)

    def give_up(self) -> None:
        """Have every process forget a step that failed."""
        self._do("give_up")

    def save(self, folder: Path) -> None:
        """Have every process write its part."""
        self._do("save", folder)

    def load_optimizer(self, folder: Path) -> None:
        """Have every process read its part."""
        self._do("load_optimizer", folder)

    def _do(self, verb: str, argument: Any = None) -> list[Any]:
        return self._do_each(verb, [argument] * self.ranks.size)

    def _do_each(self, verb: str, shares: Sequence[Any]) -> list[Any]:
        """The replies of all processes.

        Raises:
            StepTooLarge: some of them ran out of memory; the others are done, and all wait for the next command.
        """
        replies = self.ranks.call(do, [(verb, share) for share in shares])
        if shortages := [reply for reply in replies if isinstance(reply, Shortage)]:
            raise StepTooLarge(shortages)
        return replies
