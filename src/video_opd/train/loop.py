"""The training loop. Every method of the package uses it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from video_opd.eval.evaluate import evaluate
from video_opd.files.durable import write_durably
from video_opd.files.journal import Journal
from video_opd.files.run_records import EvaluationReport, SampledAnswer, StepMetrics
from video_opd.methods import Method
from video_opd.runs.best_checkpoint import find_best_checkpoint
from video_opd.runs.collapse_watch import refuse_collapsed
from video_opd.runs.directory import RunDirectory
from video_opd.runs.evaluation_files import read_evaluation
from video_opd.runs.old_checkpoints import KeepRule
from video_opd.seeds import derive_seed
from video_opd.train.agreement import count_batch, should_step
from video_opd.train.interruption import Interrupted, StopRequest
from video_opd.train.learner import Learner
from video_opd.train.progress import TrainingProgress
from video_opd.train.run_parts import RunParts
from video_opd.train.smaller_pieces import SmallerPieces
from video_opd.train.step_measurement import change_teacher, is_due, measure_step
from video_opd.train.trained_batch import StepOutcome, Suspended, TrainedBatch
from video_opd.train.training_state import TrainingState, save_state
from video_opd.types import Example, Prompt


def train(
    parts: RunParts,
    state: TrainingState,
    run: RunDirectory,
    *,
    batches: Callable[[int], Sequence[Example]],
    until: int,
) -> None:
    """Train from `state` to step `until`, the end of a round; there a checkpoint and an evaluation are certain.

    Args:
        parts: of the run.
        state: how far the run got; it is kept up to date.
        run: the folder with checkpoints, and with journals that have no row of a later step.
        batches: gives the examples of a step, from 0.
        until: step to stop after.

    Raises:
        Interrupted: a signal asked for a stop; the state is saved.
        EngineError: the student has collapsed; the state is saved.
    """
    recipe, schedule, source = parts.recipe, parts.recipe.schedule, parts.data.source
    source.set_aside.update(state.set_aside)
    with ExitStack() as stack:
        metrics, answers = (stack.enter_context(Journal(path)) for path in (run.metrics, run.answers))
        take = SmallerPieces(parts, run, take_step)
        progress = stack.enter_context(TrainingProgress(parts.learner.total_steps, state.step))
        stop = stack.enter_context(StopRequest().listen())
        while True:
            if not stop.signal_number and (is_due(state.step, schedule.evaluate_every) or state.step == until):
                progress.note_score(_evaluate(parts, state.step, run))
            if stop.signal_number:  # also one that came while evaluating
                _save(parts, state, run)
                raise Interrupted(stop.signal_number, state.step)
            if state.step == until:  # a run whose steps are all done is evaluated, whatever the watch found last
                break
            if parts.watch.collapse:  # also one that an earlier start found
                _save(parts, state, run)
                refuse_collapsed(parts.watch, run)
            began, seed, batch = time.monotonic(), derive_seed(recipe.seed, "step", state.step), batches(state.step)
            prompts = source.prompts(batch)  # 1. prompts
            if state.step + 1 < until:
                source.prefetch(batches(state.step + 1))
            with measure_step(parts, batch, prompts, step=state.step, seed=seed, began=began) as measured:
                measured.outcome = take(prompts, step=state.step, seed=seed)
            change_teacher(parts, measured, step=state.step + 1)
            state.step, state.seconds = state.step + 1, state.seconds + measured.seconds
            state.set_aside = dict(source.set_aside)
            place = {"step": state.step, "seconds": state.seconds, "num_set_aside": len(state.set_aside)}
            row = StepMetrics(**measured.row | place | parts.mark_row()).to_json()
            metrics.append(row)
            parts.watch.note_and_warn(row)
            for answer in measured.answers:
                answers.append(SampledAnswer(step=state.step, **answer).to_json())
            progress.show(state.step, measured.row)
            if is_checkpoint_due(parts, state.step):
                _save(parts, state, run)


def take_step(learner: Learner, prompts: Sequence[Prompt], method: Method, *, step: int, seed: int) -> StepOutcome:
    """Answer the prompts of a batch, have the answers judged, and move the weights, in micro-batches that fit memory.

    A batch of which every answer is suspended or masked changes nothing: no update, no weight decay.

    Args:
        learner: the student under training.
        prompts: the whole batch.
        method: says who writes, who judges, and what a token costs.
        step: steps taken before; decides the learning rate.
        seed: of every draw in this step.

    Raises:
        EngineError: a loss or the gradient is not finite; the weights are as they were.
    """
    batches: list[TrainedBatch] = []
    suspended: Suspended = ()
    grad_norm = 0.0
    for pieces in learner.begin(prompts):
        with learner.precision():  # one for all passes, so that one copy of the weights is in the graph
            rollouts, left_out = learner.answer(pieces, method, seed)  # 2. answers
            suspended += left_out
            while rollouts:  # with its backward pass the graph of a micro-batch goes
                batches.append(learner.add_gradient(run_micro_batch(learner, rollouts.pop(0), method)))
    count = count_batch(
        chain.from_iterable(batch.trained_lengths for batch in batches),
        (len(answer) for _, group in suspended for answer in group),
    )
    divisor = learner.normalisation.find_divisor(count, is_last=step + 1 == learner.total_steps)
    for update in range(learner.settings.updates_per_batch if should_step(count) else 0):
        if update > 0:
            batches = [learner.add_gradient_again(batch, method) for batch in batches]
        grad_norm = learner.update(batches, divisor, step=step)  # 5. step
    learner.drop_gradient()
    return StepOutcome(
        batches=tuple(batches),
        suspended=suspended,
        num_scheduled_tokens=count.scheduled,
        divisor=divisor,
        grad_norm=grad_norm,
        learning_rate=learner.learning_rate(step),
        seconds_by_phase=dict(learner.watch.seconds),
        cpu_seconds_by_phase=dict(learner.watch.cpu_seconds),
    )


def run_micro_batch(learner: Learner, rollout: Any, method: Method) -> TrainedBatch:
    """Do everything for a micro-batch between its answers and its backward pass.

    Args:
        learner: the student under training.
        rollout: one of those that `Learner.answer` gives.
        method: says who judges, and what a token costs.

    Returns:
        the batch, its losses with gradient.
    """
    judgement = learner.judge(rollout, method)  # 3. judgement
    return learner.compute_loss(rollout, judgement, method)  # 4. loss


def is_checkpoint_due(parts: RunParts, step: int) -> bool:
    """Whether a checkpoint is saved after `step` steps: on schedule, and at the end of a round."""
    plan = parts.curriculum.plan
    is_end = step in (plan.end(round) for round in range(1, plan.num_rounds + 1))
    return step > 0 and (is_end or is_due(step, parts.recipe.schedule.checkpoint_every))


def make_keep_rule(parts: RunParts, run: RunDirectory) -> KeepRule:
    """Which checkpoints of a run stay. One that was saved at a signal goes as soon as there is a newer one. While the
    student seems to collapse, the best one stays too."""
    best = find_best_checkpoint(run, before=parts.watch.last_sound_step) if parts.watch.is_alarmed else None
    return KeepRule(
        last=parts.recipe.schedule.keep_checkpoints,
        steps=(best.step,) if best else (),
        is_scheduled=lambda step: is_checkpoint_due(parts, step),
    )


def _save(parts: RunParts, state: TrainingState, run: RunDirectory) -> None:
    """Write a checkpoint."""
    state.coupling = parts.gate.coupling.state_dict() if parts.gate else {}
    defaults = parts.recipe.grounding_defaults()
    keep = make_keep_rule(parts, run)
    save_state(run.checkpoints, state, parts.learner, defaults, keep=keep, changing=parts.changing)


def _evaluate(parts: RunParts, step: int, run: RunDirectory) -> float:
    """The student's mIoU on the validation manifest, from the run folder if this step was evaluated before."""
    recipe, path = parts.recipe, evaluation_file(run, step)
    if path.exists():
        return float(read_evaluation(path)["scores"]["miou"])
    evaluation = evaluate(
        parts.models.student,
        parts.data.validation,
        parts.data.validation_source,
        max_new_tokens=recipe.answers.max_new_tokens,
        batch_size=recipe.compute.evaluation_batch_size,
    )
    report = EvaluationReport(**evaluation.to_report(name=path.stem, step=step, split="validation")).to_json()
    write_durably(path, (json.dumps(report, indent=2) + "\n").encode())
    return evaluation.scores.miou


def evaluation_file(run: RunDirectory, step: int) -> Path:
    """Where the evaluation on the validation manifest after `step` steps is."""
    return run.evaluation / f"validation-{step:06d}.json"
